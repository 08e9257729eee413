// SPDX-License-Identifier: Apache-2.0
// What a call is checked for, what the engine is asked then, and how its answer is made.
#include "server/infer_service.h"

#include "server/server_fixture.h"
#include "server/shared_object_fixture.h"

#include <numeric>

namespace takt::server {
namespace {

using server_test::Answer;
using server_test::bytes_of;
using server_test::bytes_of_strings;
using server_test::FakeClient;
using server_test::SharedObject;
using server_test::strings_of;
using server_test::values_of;
using std::chrono::hours;
using std::chrono::microseconds;
using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class InferServiceTest : public server_test::ServerTest {
 protected:
  void give(InferCall& call, const std::string& name, DataType type, const Shape& shape,
            const std::vector<std::byte>& bytes) {
    Slot slot = *service_->room(bytes.size());
    if (!bytes.empty()) std::memcpy(slot.bytes().data(), bytes.data(), bytes.size());
    call.inputs.push_back({name, type, shape, slot.bytes().first(bytes.size()), {}});
    call.slots.push_back(std::move(slot));
  }
  // INPUT0 counts up from 0 and INPUT1 is 1 everywhere.
  InferCall simple(std::int64_t rows = 1) {
    std::vector<std::int32_t> rising(static_cast<std::size_t>(rows) * 16);
    std::iota(rising.begin(), rising.end(), 0);
    InferCall call;
    call.model = "simple";
    give(call, "INPUT0", DataType::int32, {rows, 16}, bytes_of(rising));
    give(call, "INPUT1", DataType::int32, {rows, 16},
         bytes_of(std::vector<std::int32_t>(rising.size(), 1)));
    return call;
  }
  InferCall floats(const std::string& model, const Shape& shape, const std::vector<float>& values) {
    InferCall call;
    call.model = model;
    give(call, "INPUT0", DataType::fp32, shape, bytes_of(values));
    return call;
  }
  InferCall strings(const Shape& shape, const std::vector<std::string>& values) {
    InferCall call;
    call.model = "identity_bytes";
    give(call, "INPUT0", DataType::bytes, shape, bytes_of_strings(values));
    return call;
  }

  ApiResult<InferAnswer> ask(InferCall call) {
    Answer answer;
    service_->submit(std::move(call), answer.completion());
    return std::move(answer.wait());
  }
  ApiError error_of(InferCall call) {
    const auto answer = ask(std::move(call));
    EXPECT_FALSE(answer);
    return answer ? ApiError{} : answer.error();
  }
  void expect_refused(InferCall call, const std::string& message,
                      ApiCode code = ApiCode::invalid_argument) {
    const std::size_t asked = client_->seen().size();
    const ApiError error = error_of(std::move(call));
    EXPECT_EQ(error.code, code) << error.message;
    EXPECT_THAT(error.message, HasSubstr(message));
    EXPECT_EQ(client_->seen().size(), asked) << "the engine was asked";
    EXPECT_EQ(inputs_->in_use(), 0) << "a refused call kept its slots";
  }
  TimePoint deadline_of(InferCall call) {
    EXPECT_TRUE(ask(std::move(call)));
    return client_->last().deadline;
  }
  PriorityClass priority_of(std::uint64_t priority) {
    InferCall call = simple();
    call.priority = priority;
    EXPECT_TRUE(ask(std::move(call)));
    return client_->last().priority;
  }
};

// Answers ------------------------------------------------------------------------------------------

TEST_F(InferServiceTest, AllOutputsComeInTheOrderOfTheSignature) {
  InferCall call = simple();
  call.id = "part 7";
  const auto answer = ask(std::move(call));
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(answer->model, "simple");
  EXPECT_EQ(answer->version, "3") << "the newest";
  EXPECT_EQ(answer->id, "part 7");
  ASSERT_EQ(answer->outputs.size(), 2);
  EXPECT_EQ(answer->outputs[0].name, "OUTPUT0");
  EXPECT_EQ(answer->outputs[0].type, DataType::int32);
  EXPECT_EQ(answer->outputs[0].shape, (Shape{1, 16}));
  EXPECT_EQ(values_of<std::int32_t>(answer->outputs[0].bytes)[15], 16);
  EXPECT_EQ(answer->outputs[1].name, "OUTPUT1");
  EXPECT_EQ(values_of<std::int32_t>(answer->outputs[1].bytes)[15], 14);
}

TEST_F(InferServiceTest, AStatedVersionIsAsked) {
  InferCall call = simple();
  call.version = "1";
  const auto answer = ask(std::move(call));
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->version, "1");
  EXPECT_EQ(client_->last().model, catalog_.find("simple", "1").value()->info.id);
}

TEST_F(InferServiceTest, InputsMayComeInAnyOrder) {
  InferCall call = simple();
  std::swap(call.inputs[0], call.inputs[1]);
  const auto answer = ask(std::move(call));
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(values_of<std::int32_t>(answer->outputs[1].bytes)[15], 14) << "15 - 1, not 1 - 15";
}

TEST_F(InferServiceTest, TheRowsAreThoseOfTheBatchDimension) {
  ASSERT_TRUE(ask(simple(8)));
  EXPECT_EQ(client_->last().rows, 8);
  EXPECT_THAT(client_->last().shapes, ElementsAre(Shape{8, 16}, Shape{8, 16}));
  ASSERT_TRUE(ask(floats("identity_fp32", {3}, {1, 2, 3})));
  EXPECT_EQ(client_->last().rows, 1) << "a model without a batch dimension";
}

TEST_F(InferServiceTest, OutputsAreThoseThatWereAskedForInTheirOrder) {
  InferCall call = simple();
  call.outputs = {{.name = "OUTPUT1", .shared = {}, .binary = true},
                  {.name = "OUTPUT0", .shared = {}}};
  const auto answer = ask(std::move(call));
  ASSERT_TRUE(answer) << answer.error().message;
  ASSERT_EQ(answer->outputs.size(), 2);
  EXPECT_EQ(answer->outputs[0].name, "OUTPUT1");
  EXPECT_TRUE(answer->outputs[0].binary);
  EXPECT_EQ(values_of<std::int32_t>(answer->outputs[0].bytes)[0], -1);
  EXPECT_EQ(answer->outputs[1].name, "OUTPUT0");
  EXPECT_FALSE(answer->outputs[1].binary);

  InferCall one = simple();
  one.outputs = {{.name = "OUTPUT1", .shared = {}}};
  const auto only = ask(std::move(one));
  ASSERT_TRUE(only);
  ASSERT_EQ(only->outputs.size(), 1);
  EXPECT_EQ(only->outputs[0].name, "OUTPUT1");
}

TEST_F(InferServiceTest, AllOutputsAreBinaryWhereTheCallSaysSo) {
  InferCall call = simple();
  call.binary_outputs = true;
  const auto answer = ask(std::move(call));
  ASSERT_TRUE(answer);
  EXPECT_TRUE(answer->outputs[0].binary && answer->outputs[1].binary);
}

TEST_F(InferServiceTest, TheSlotOfTheOutputsIsHeldAsLongAsTheAnswer) {
  auto answer = ask(simple());
  EXPECT_EQ(outputs_->in_use(), 1);
  EXPECT_EQ(inputs_->in_use(), 0);
  answer->hold.reset();
  EXPECT_EQ(outputs_->in_use(), 0);
}

TEST_F(InferServiceTest, AnswersComeFromOtherThreadsAsWell) {
  client_->set_mode(FakeClient::Mode::on_its_thread);
  std::array<Answer, 64> answers;
  for (Answer& answer : answers) service_->submit(simple(), answer.completion());
  for (Answer& answer : answers) {
    ASSERT_TRUE(answer.wait());
    EXPECT_EQ(values_of<std::int32_t>(answer.wait()->outputs[0].bytes)[15], 16);
  }
}

TEST_F(InferServiceTest, ErrorsOfTheEngineComeWithTheirCode) {
  const auto code_for = [this](ErrorKind kind) {
    client_->fail_with({kind, "what it was"});
    const ApiError error = error_of(simple());
    EXPECT_EQ(error.message, "what it was");
    return error.code;
  };
  EXPECT_EQ(code_for(ErrorKind::invalid_input), ApiCode::invalid_argument);
  EXPECT_EQ(code_for(ErrorKind::unavailable), ApiCode::unavailable);
  EXPECT_EQ(code_for(ErrorKind::overloaded), ApiCode::resource_exhausted);
  EXPECT_EQ(code_for(ErrorKind::deadline_exceeded), ApiCode::deadline_exceeded);
  EXPECT_EQ(code_for(ErrorKind::out_of_memory), ApiCode::resource_exhausted);
  EXPECT_EQ(code_for(ErrorKind::device_poisoned), ApiCode::unavailable);
  EXPECT_EQ(code_for(ErrorKind::worker_lost), ApiCode::unavailable);
  EXPECT_EQ(code_for(ErrorKind::corrupt_output), ApiCode::internal);
  EXPECT_EQ(code_for(ErrorKind::cancelled), ApiCode::cancelled);
  EXPECT_EQ(code_for(ErrorKind::internal), ApiCode::internal);
}

TEST_F(InferServiceTest, AnErrorOfTheEngineNamesNoPathOfThisMachine) {
  client_->fail_with(
      {ErrorKind::unavailable, "can't open '/srv/models/simple/1/model.onnx': gone"});
  EXPECT_EQ(error_of(simple()).message, "can't open 'model.onnx': gone");
}

TEST_F(InferServiceTest, EachCodeHasItsStatusInHttpAndGrpc) {
  EXPECT_EQ(http_status(ApiCode::invalid_argument), 400);
  EXPECT_EQ(http_status(ApiCode::not_found), 404);
  EXPECT_EQ(http_status(ApiCode::payload_too_large), 413);
  EXPECT_EQ(http_status(ApiCode::resource_exhausted), 503);
  EXPECT_EQ(http_status(ApiCode::deadline_exceeded), 504);
  EXPECT_EQ(grpc_status(ApiCode::invalid_argument), 3);
  EXPECT_EQ(grpc_status(ApiCode::payload_too_large), 8);
  EXPECT_EQ(grpc_status(ApiCode::internal), 13);
  EXPECT_EQ(to_string(ApiCode::unavailable), "unavailable");
}

// Names and shapes ---------------------------------------------------------------------------------

TEST_F(InferServiceTest, AnUnknownModelOrVersionIsNotFound) {
  InferCall call = simple();
  call.model = "simpel";
  expect_refused(std::move(call), "unknown model: 'simpel'", ApiCode::not_found);
  call = simple();
  call.version = "2";
  expect_refused(std::move(call), "unknown model", ApiCode::not_found);
}

TEST_F(InferServiceTest, AnUnexpectedInputIsRefused) {
  InferCall call = simple();
  call.inputs[1].name = "INPUT2";
  expect_refused(std::move(call), "unexpected inference input 'INPUT2' for model 'simple'");
}

TEST_F(InferServiceTest, AMissingInputIsNamed) {
  InferCall call = simple();
  call.inputs.pop_back();
  expect_refused(std::move(call),
                 "expected 2 inputs but got 1 inputs for model 'simple'. Got input(s) ['INPUT0'], "
                 "but missing required input(s) ['INPUT1']");
  InferCall none;
  none.model = "simple";
  expect_refused(std::move(none),
                 "Got input(s) [], but missing required input(s) "
                 "['INPUT0','INPUT1']");
}

TEST_F(InferServiceTest, ADoubledInputIsRefused) {
  InferCall call = simple();
  call.inputs[1].name = "INPUT0";
  expect_refused(std::move(call), "input 'INPUT0' already exists in request");
}

TEST_F(InferServiceTest, AnotherDatatypeIsRefused) {
  InferCall call = simple();
  call.inputs[0].type = DataType::fp32;
  expect_refused(std::move(call),
                 "inference input 'INPUT0' data-type is 'FP32', but model 'simple' expects "
                 "'INT32'");
}

TEST_F(InferServiceTest, AnotherShapeIsRefused) {
  for (const Shape& shape : {Shape{1, 15}, Shape{16}, Shape{}, Shape{1, 16, 1}, Shape{1, -16},
                             Shape{-1, 16}, Shape{1, std::int64_t{1} << 62}}) {
    InferCall call = simple();
    call.inputs[0].shape = shape;
    expect_refused(std::move(call),
                   "unexpected shape for input 'INPUT0' for model 'simple'. "
                   "Expected [-1,16], got " +
                       takt::to_string(shape));
  }
}

TEST_F(InferServiceTest, AShapeThatNoMemoryHoldsIsRefused) {
  InferCall call = floats("identity_fp32", {1}, {1});
  call.inputs[0].shape = {std::int64_t{1} << 62};
  expect_refused(std::move(call), "input 'INPUT0': shape has more than 2^40 elements");
}

TEST_F(InferServiceTest, TheBytesMustBeThoseOfTheShape) {
  InferCall call = simple();
  call.inputs[1].bytes = call.inputs[1].bytes.first(60);
  expect_refused(std::move(call),
                 "input byte size mismatch for input 'INPUT1' for model 'simple'. Expected 64, got "
                 "60");
  call = floats("identity_fp32", {2}, {1, 2, 3});
  expect_refused(std::move(call), "Expected 8, got 12");
}

TEST_F(InferServiceTest, AllInputsMustHaveTheSameBatchSize) {
  InferCall call = simple(2);
  call.inputs[1].shape = {1, 16};
  call.inputs[1].bytes = call.inputs[1].bytes.first(64);
  expect_refused(std::move(call),
                 "input 'INPUT1' batch size does not match other inputs for 'simple': 1 and 2");
}

TEST_F(InferServiceTest, ABatchHasAtLeastOneRowAndAtMostTheModels) {
  expect_refused(simple(9), "inference request batch-size must be 1 to 8 for 'simple', got 9");
  expect_refused(simple(0), "inference request batch-size must be 1 to 8 for 'simple', got 0");
}

TEST_F(InferServiceTest, AnUnknownOutputIsRefused) {
  InferCall call = simple();
  call.outputs = {{.name = "OUTPUT2", .shared = {}}};
  expect_refused(std::move(call), "unexpected inference output 'OUTPUT2' for model 'simple'");
}

TEST_F(InferServiceTest, ADoubledOutputIsRefused) {
  InferCall call = simple();
  call.outputs = {{.name = "OUTPUT0", .shared = {}}, {.name = "OUTPUT0", .shared = {}}};
  expect_refused(std::move(call), "output 'OUTPUT0' already requested");
}

TEST_F(InferServiceTest, SequencesAreUnimplemented) {
  InferCall call = simple();
  call.sequence = true;
  expect_refused(std::move(call), "sequences are not supported", ApiCode::unimplemented);
}

// Classification -----------------------------------------------------------------------------------

TEST_F(InferServiceTest, ClassesAreTheLargestValuesWithTheirLabels) {
  catalog_.card("scores").labels["OUTPUT0"] = {"good", "scratch", "hole"};
  InferCall call = floats("scores", {2, 3}, {1, 3, 2, 9, 7, 8});
  call.outputs = {{.name = "OUTPUT0", .classes = 2, .shared = {}}};
  const auto answer = ask(std::move(call));
  ASSERT_TRUE(answer) << answer.error().message;
  const AnswerOutput& output = answer->outputs[0];
  EXPECT_EQ(output.type, DataType::bytes);
  EXPECT_EQ(output.shape, (Shape{2, 2}));
  EXPECT_THAT(strings_of(output.bytes), ElementsAre("3.000000:1:scratch", "2.000000:2:hole",
                                                    "9.000000:0:good", "8.000000:2:hole"));
}

TEST_F(InferServiceTest, StringsHaveNoClasses) {
  InferCall call = strings({1, 1}, {"a"});
  call.outputs = {{.name = "OUTPUT0", .classes = 1, .shared = {}}};
  expect_refused(std::move(call), "class result not available for output of strings");
}

TEST_F(InferServiceTest, ClassesDontGoToSharedMemory) {
  InferCall call = floats("scores", {1, 1}, {1});
  call.outputs = {{.name = "OUTPUT0", .classes = 1, .shared = SharedPlace{"region", 0, 64}}};
  expect_refused(std::move(call), "shared memory can't be set for classification output");
}

// Deadlines and priorities -------------------------------------------------------------------------

TEST_F(InferServiceTest, WithoutATimeoutThereIsNoDeadline) {
  EXPECT_EQ(deadline_of(simple()), kNever);
}

TEST_F(InferServiceTest, TheTimeoutIsCountedFromNow) {
  InferCall call = simple();
  call.timeout_us = 2500;
  EXPECT_EQ(deadline_of(std::move(call)), clock_.now() + microseconds(2500));
}

TEST_F(InferServiceTest, TheEarlierOfTimeoutAndTransportCounts) {
  InferCall call = simple();
  call.timeout_us = 2500;
  call.deadline = clock_.now() + milliseconds(1);
  EXPECT_EQ(deadline_of(std::move(call)), clock_.now() + milliseconds(1));
  call = simple();
  call.timeout_us = 500;
  call.deadline = clock_.now() + milliseconds(1);
  EXPECT_EQ(deadline_of(std::move(call)), clock_.now() + microseconds(500));
}

TEST_F(InferServiceTest, TheDefaultDeadlineIsForRequestsThatStateNone) {
  start({.deadline = milliseconds(30)});
  EXPECT_EQ(deadline_of(simple()), clock_.now() + milliseconds(30));
  InferCall call = simple();
  call.timeout_us = 50000;
  EXPECT_EQ(deadline_of(std::move(call)), clock_.now() + milliseconds(50));
  call = simple();
  call.deadline = clock_.now() + milliseconds(70);
  EXPECT_EQ(deadline_of(std::move(call)), clock_.now() + milliseconds(70));
}

TEST_F(InferServiceTest, ATimeoutOfMoreThanADayIsNone) {
  start({.deadline = milliseconds(30)});
  for (const std::uint64_t timeout : {std::uint64_t{90'000'000'000}, ~std::uint64_t{0}}) {
    InferCall call = simple();
    call.timeout_us = timeout;
    EXPECT_EQ(deadline_of(std::move(call)), kNever) << "it has stated one";
  }
  InferCall day = simple();
  day.timeout_us = 86'400'000'000;
  EXPECT_EQ(deadline_of(std::move(day)), clock_.now() + hours(24));
}

TEST_F(InferServiceTest, PrioritiesAreClassesAndThoseBeyondTheLastAreAsTheLast) {
  EXPECT_EQ(priority_of(0), PriorityClass::normal);
  EXPECT_EQ(priority_of(1), PriorityClass::high);
  EXPECT_EQ(priority_of(2), PriorityClass::normal);
  EXPECT_EQ(priority_of(3), PriorityClass::background);
  EXPECT_EQ(priority_of(4), PriorityClass::background);
  EXPECT_EQ(priority_of(~std::uint64_t{0}), PriorityClass::background);
  start({.priorities = {PriorityClass::critical}});
  EXPECT_EQ(priority_of(1), PriorityClass::critical);
  start({.priorities = {}});
  EXPECT_EQ(priority_of(1), PriorityClass::normal);
}

// Limits -------------------------------------------------------------------------------------------

TEST_F(InferServiceTest, NoMoreRequestsAreAnsweredAtOnceThanAllowed) {
  start({.in_flight_max = 2});
  client_->set_mode(FakeClient::Mode::held);
  std::array<Answer, 4> answers;
  for (std::size_t i = 0; i < 3; ++i) service_->submit(simple(), answers[i].completion());
  EXPECT_FALSE(answers[0].given());
  EXPECT_FALSE(answers[1].given());
  ASSERT_TRUE(answers[2].given());
  EXPECT_EQ(answers[2].wait().error().code, ApiCode::resource_exhausted);
  EXPECT_THAT(answers[2].wait().error().message,
              HasSubstr("2 requests are being answered, the most"));
  EXPECT_EQ(service_->in_flight(), 2);
  client_->release(1);
  EXPECT_TRUE(answers[1].wait());
  service_->submit(simple(), answers[3].completion());
  EXPECT_FALSE(answers[3].given()) << "there is room again";
  client_->release();
  client_->release();
  EXPECT_TRUE(answers[0].wait());
  EXPECT_TRUE(answers[3].wait());
}

TEST_F(InferServiceTest, LowerClassesLeaveRoomForMoreUrgentRequests) {
  start({.priorities = {PriorityClass::critical, PriorityClass::background}, .in_flight_max = 8});
  client_->set_mode(FakeClient::Mode::held);
  std::array<Answer, 11> answers;
  const auto submit = [&](std::size_t i, std::uint64_t priority) {
    InferCall call = simple();
    call.priority = priority;
    service_->submit(std::move(call), answers[i].completion());
    return !answers[i].given();
  };
  for (std::size_t i = 0; i < 5; ++i) EXPECT_TRUE(submit(i, 2)) << i;
  EXPECT_FALSE(submit(5, 2)) << "three eighths are left to more urgent ones";
  EXPECT_THAT(answers[5].wait().error().message, HasSubstr("for class background"));
  EXPECT_TRUE(submit(6, 0));
  EXPECT_FALSE(submit(7, 0));
  EXPECT_TRUE(submit(8, 1));
  EXPECT_TRUE(submit(9, 1));
  EXPECT_FALSE(submit(10, 1)) << "eight are being answered";
  for (int i = 0; i < 8; ++i) client_->release();
}

TEST_F(InferServiceTest, RefusedCallsDontCountAsBeingAnswered) {
  start({.in_flight_max = 1});
  for (int i = 0; i < 3; ++i) expect_refused(simple(9), "batch-size");
  EXPECT_TRUE(ask(simple()));
}

TEST_F(InferServiceTest, AnInputIsNoLargerThanARequestMayBe) {
  start({.request_bytes_max = 1000});
  EXPECT_TRUE(service_->room(1000));
  const auto refused = service_->room(1001);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ApiCode::payload_too_large);
  EXPECT_THAT(refused.error().message, HasSubstr("an input of 1001 bytes"));
}

TEST_F(InferServiceTest, WithoutASlotLeftTheServerIsExhausted) {
  start({.request_bytes_max = std::size_t{1} << 40});
  const auto refused = service_->room(std::size_t{1} << 30);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ApiCode::resource_exhausted);
}

TEST_F(InferServiceTest, AWithdrawnRequestIsAnsweredAsCancelled) {
  client_->set_mode(FakeClient::Mode::held);
  Answer answer;
  InferTicket ticket = service_->submit(simple(), answer.completion());
  ticket.cancel();
  ticket.cancel();
  EXPECT_EQ(answer.wait().error().code, ApiCode::cancelled);
  EXPECT_EQ(client_->cancels(), 1) << "the second one had nothing left to withdraw";
  InferTicket{}.cancel();
}

// Shared memory ------------------------------------------------------------------------------------

TEST_F(InferServiceTest, InputsAndOutputsMayLieInSharedMemory) {
  const SharedObject object("takt-test-service", 4096);
  ASSERT_TRUE(regions_.add({"region", object.key(), 64, 1024}));
  object.write(64 + 128, bytes_of(std::vector<float>{1.5, -2, 3}));
  InferCall call;
  call.model = "identity_fp32";
  call.inputs.push_back({"INPUT0", DataType::fp32, {3}, {}, SharedPlace{"region", 128, 12}});
  call.outputs = {{.name = "OUTPUT0", .shared = SharedPlace{"region", 256, 100}}};
  const auto answer = ask(std::move(call));
  ASSERT_TRUE(answer) << answer.error().message;
  ASSERT_TRUE(answer->outputs[0].shared);
  EXPECT_EQ(answer->outputs[0].shared->bytes, 12) << "what was written";
  EXPECT_TRUE(answer->outputs[0].bytes.empty());
  EXPECT_EQ(values_of<float>(object.read(64 + 256, 12)), (std::vector<float>{1.5, -2, 3}));
  EXPECT_TRUE(client_->last().aligned);
}

TEST_F(InferServiceTest, StringsInSharedMemoryMayTakeLessThanTheirPlace) {
  const SharedObject object("takt-test-service", 4096);
  ASSERT_TRUE(regions_.add({"region", object.key(), 0, 4096}));
  const auto bytes = bytes_of_strings({"board", ""});
  object.write(0, bytes);
  InferCall call;
  call.model = "identity_bytes";
  call.inputs.push_back(
      {"INPUT0", DataType::bytes, {1, 2}, {}, SharedPlace{"region", 0, bytes.size()}});
  const auto answer = ask(std::move(call));
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_THAT(strings_of(answer->outputs[0].bytes), ElementsAre("board", ""));
}

TEST_F(InferServiceTest, SharedMemoryOutsideOfItsRegionIsRefused) {
  const SharedObject object("takt-test-service", 4096);
  ASSERT_TRUE(regions_.add({"region", object.key(), 0, 100}));
  const auto with_input = [](const SharedPlace& place) {
    InferCall call;
    call.model = "identity_fp32";
    call.inputs.push_back({"INPUT0", DataType::fp32, {3}, {}, place});
    return call;
  };
  expect_refused(with_input({"other", 0, 12}), "Unable to find shared memory region: 'other'");
  expect_refused(with_input({"region", 89, 12}), "Invalid offset + byte size");
  expect_refused(with_input({"region", ~std::size_t{0}, 12}), "Invalid offset + byte size");
  expect_refused(with_input({"region", 0, 16}), "Expected 12, got 16");
  EXPECT_TRUE(ask(with_input({"region", 88, 12})));
}

TEST_F(InferServiceTest, AnOutputThatDoesntFitItsSharedMemoryIsRefused) {
  const SharedObject object("takt-test-service", 4096);
  ASSERT_TRUE(regions_.add({"region", object.key(), 0, 100}));
  const auto error_with = [&](const SharedPlace& place) {
    InferCall call = floats("identity_fp32", {3}, {1, 2, 3});
    call.outputs = {{.name = "OUTPUT0", .shared = place}};
    const ApiError error = error_of(std::move(call));
    EXPECT_EQ(error.code, ApiCode::invalid_argument);
    return error.message;
  };
  EXPECT_THAT(error_with({"region", 0, 11}), HasSubstr("should be at least 12 bytes"));
  EXPECT_THAT(error_with({"region", 90, 12}), HasSubstr("Invalid offset + byte size"));
  EXPECT_THAT(error_with({"other", 0, 12}), HasSubstr("Unable to find shared memory region"));
}

}  // namespace
}  // namespace takt::server
