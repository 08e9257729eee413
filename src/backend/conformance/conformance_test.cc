// SPDX-License-Identifier: Apache-2.0
// What every backend must do: one suite, run against each of them.
#include "backend/conformance/conformance_backends.h"
#include "backend/conformance/conformance_fixture.h"
#include "core/string_tensor.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <latch>
#include <ostream>
#include <random>
#include <thread>

namespace takt::conformance {

// GoogleTest prints the parameter of a failed test.
static void PrintTo(const BackendCase& backend, std::ostream* out) {
  *out << backend.name;
}

namespace {

LoadOptions options_for(const BackendCase& backend, const TestModel& model) {
  LoadOptions options = options_of(model);
  options.parameters = backend.parameters;
  options.device = backend.device;
  options.cache_dir = backend.cache_dir;
  return options;
}

class Conformance : public testing::TestWithParam<BackendCase> {
 protected:
  void SetUp() override {
    Result<std::unique_ptr<Backend>> made = GetParam().make();
    if (!made && made.error().kind == ErrorKind::unavailable) GTEST_SKIP() << made.error().message;
    ASSERT_TRUE(made.has_value()) << made.error().message;
    backend_ = std::move(*made);
  }
  std::shared_ptr<const LoadedModel> load(const TestModel& model, int instances = 1,
                                          bool slow = false) {
    LoadOptions options = options_for(GetParam(), model);
    options.instances = instances;
    if (slow) {
      options.parameters.insert(options.parameters.end(), GetParam().slow.begin(),
                                GetParam().slow.end());
    }
    auto loaded = backend_->load({model.file, 1, model_file(model.file)}, options);
    EXPECT_TRUE(loaded.has_value()) << loaded.error().message;
    return loaded ? *loaded : nullptr;
  }
  static std::unique_ptr<Instance> open(const LoadedModel& model, int lane = 0) {
    auto instance = model.open_instance({GetParam().device, lane});
    EXPECT_TRUE(instance.has_value()) << instance.error().message;
    return instance ? std::move(*instance) : nullptr;
  }

  std::unique_ptr<Backend> backend_;
};

// Two executions of one row may differ in rounding, never more.
void expect_same(const std::vector<float>& got, const std::vector<float>& expected) {
  ASSERT_EQ(got.size(), expected.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    ASSERT_NEAR(got[i], expected[i], 1e-4F + 1e-4F * std::abs(expected[i])) << "element " << i;
  }
}

std::vector<float> row_of(const std::vector<float>& rows, std::int64_t row, std::int64_t count) {
  const auto size = static_cast<std::ptrdiff_t>(rows.size()) / count;
  return {rows.begin() + row * size, rows.begin() + (row + 1) * size};
}

void expect_error(const Result<void>& result, ErrorKind kind, std::string_view text) {
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(to_string(result.error().kind), to_string(kind)) << result.error().message;
  EXPECT_NE(result.error().message.find(text), std::string::npos) << result.error().message;
}

TEST_P(Conformance, NamesItselfAndItsVersion) {
  EXPECT_EQ(backend_->name(), GetParam().name);
  EXPECT_FALSE(backend_->version().empty());
}

TEST_P(Conformance, TellsTheSignatureWithoutTheBatchDimension) {
  const auto model = load(conv_net());
  const Signature& signature = model->signature();
  EXPECT_EQ(signature.batch_max, 8);
  ASSERT_EQ(signature.inputs.size(), 1U);
  EXPECT_EQ(signature.inputs[0].name, "image");
  EXPECT_EQ(signature.inputs[0].shape, (Shape{2, 16, 16}));
  ASSERT_EQ(signature.outputs.size(), 2U);
  EXPECT_EQ(signature.outputs[0].name, "map");
  EXPECT_EQ(signature.outputs[0].shape, (Shape{4, 8, 8}));
  EXPECT_EQ(signature.outputs[1].shape, (Shape{5}));
}

TEST_P(Conformance, MemoryIsTellableAndBounded) {
  const ModelMemory memory = load(conv_net())->memory();
  EXPECT_LT(memory.weights_bytes, 1U << 20U);
  EXPECT_LT(memory.instance_bytes, GetParam().instance_bytes_max);
}

TEST_P(Conformance, BatchOfAnySizeGivesTheRowsOfSingleRuns) {
  const auto model = load(conv_net());
  const auto instance = open(*model);
  std::deque<Request> singles;
  for (std::uint64_t i = 0; i < 8; ++i) {
    singles.push_back(make_request(model->signature(), i));
    ASSERT_TRUE(run(*instance, singles.back()).status.has_value());
  }
  for (std::uint64_t size = 1; size <= 8; ++size) {
    std::deque<Request> batch;
    for (std::uint64_t i = 0; i < size; ++i) batch.push_back(make_request(model->signature(), i));
    const BatchOutcome outcome = run(*instance, batch);
    ASSERT_TRUE(outcome.status.has_value()) << outcome.status.error().message;
    for (std::uint64_t i = 0; i < size; ++i) {
      EXPECT_EQ(batch[i].outputs[0].shape, (Shape{1, 4, 8, 8}));
      EXPECT_EQ(batch[i].outputs[1].shape, (Shape{1, 5}));
      expect_same(batch[i].floats(0), singles[i].floats(0));
      expect_same(batch[i].floats(1), singles[i].floats(1));
    }
  }
}

TEST_P(Conformance, RequestOfSeveralRowsIsOnePieceOfTheBatch) {
  const auto model = load(conv_net());
  const auto instance = open(*model);
  std::deque<Request> batch;
  for (const std::int64_t rows : {3, 1, 2}) {
    batch.push_back(make_request(model->signature(), batch.size(), rows));
  }
  ASSERT_TRUE(run(*instance, batch).status.has_value());
  for (std::uint64_t i = 0; i < batch.size(); ++i) {
    EXPECT_EQ(batch[i].outputs[1].shape, (Shape{batch[i].rows, 5}));
    for (std::int64_t row = 0; row < batch[i].rows; ++row) {
      Request single;
      add_tensor(single, model->signature().inputs[0], true,
                 i * 1000 + static_cast<std::uint64_t>(row));
      add_outputs(single, model->signature());
      ASSERT_TRUE(run(*instance, single).status.has_value());
      expect_same(row_of(batch[i].floats(0), row, batch[i].rows), single.floats(0));
      expect_same(row_of(batch[i].floats(1), row, batch[i].rows), single.floats(1));
    }
  }
}

TEST_P(Conformance, OneRequestMayFillTheWholeBatch) {
  const auto model = load(conv_net());
  const auto instance = open(*model);
  Request request = make_request(model->signature(), 1, 8);
  const BatchOutcome outcome = run(*instance, request);
  ASSERT_TRUE(outcome.status.has_value()) << outcome.status.error().message;
  EXPECT_EQ(request.outputs[0].shape, (Shape{8, 4, 8, 8}));
}

TEST_P(Conformance, InputsKeepTheirOrder) {
  const auto model = load(distance());
  const auto instance = open(*model);
  Request there = make_request(model->signature(), 1);
  Request same;
  add_tensor(same, model->signature().inputs[0], true, 7);
  add_tensor(same, model->signature().inputs[1], true, 7);
  add_outputs(same, model->signature());
  ASSERT_TRUE(run(*instance, there).status.has_value());
  ASSERT_TRUE(run(*instance, same).status.has_value());
  EXPECT_NE(there.floats(0), same.floats(0));
}

TEST_P(Conformance, WorksWithoutABatchDimension) {
  const auto model = load(unbatched());
  EXPECT_EQ(model->signature().batch_max, 0);
  const auto instance = open(*model);
  Request request = make_request(model->signature(), 5);
  const BatchOutcome outcome = run(*instance, request);
  ASSERT_TRUE(outcome.status.has_value()) << outcome.status.error().message;
  EXPECT_EQ(request.outputs[0].shape, (Shape{1, 3, 4}));
  std::deque<Request> two;
  two.push_back(make_request(model->signature(), 1));
  two.push_back(make_request(model->signature(), 2));
  expect_error(run(*instance, two).status, ErrorKind::invalid_input, "more than the 1 rows");
}

TEST_P(Conformance, IntegersAndBooleansPass) {
  const auto model = load(integers());
  const auto instance = open(*model);
  std::deque<Request> batch;
  batch.push_back(make_request(model->signature(), 1));
  batch.push_back(make_request(model->signature(), 2));
  const BatchOutcome outcome = run(*instance, batch);
  ASSERT_TRUE(outcome.status.has_value()) << outcome.status.error().message;
  EXPECT_EQ(batch[1].outputs[0].type, DataType::int64);
  EXPECT_EQ(batch[1].outputs[0].bytes_used, 40U);
  EXPECT_EQ(batch[1].outputs[1].type, DataType::boolean);
  EXPECT_EQ(batch[1].outputs[1].bytes_used, 5U);
}

TEST_P(Conformance, OnTheCallersThreadABatchGivesTheSame) {
  const auto model = load(conv_net());
  const auto instance = open(*model);
  Request submitted = make_request(model->signature(), 1, 3);
  Request here = make_request(model->signature(), 1, 3);
  ASSERT_TRUE(run(*instance, submitted).status.has_value());
  const std::vector<Sample> samples{{here.inputs, here.outputs, here.rows}};
  const BatchOutcome outcome = instance->run(samples);
  ASSERT_TRUE(outcome.status.has_value()) << outcome.status.error().message;
  EXPECT_LE(outcome.times.exec_start, outcome.times.exec_end);
  EXPECT_EQ(here.outputs[0].shape, submitted.outputs[0].shape);
  expect_same(here.floats(0), submitted.floats(0));
  expect_same(here.floats(1), submitted.floats(1));
}

TEST_P(Conformance, TimesAreInOrder) {
  const auto model = load(conv_net());
  const auto instance = open(*model);
  Request request = make_request(model->signature(), 1);
  const BatchTimes times = run(*instance, request).times;
  EXPECT_GT(times.exec_start.time_since_epoch().count(), 0);
  EXPECT_LE(times.exec_start, times.compute_start);
  EXPECT_LE(times.compute_start, times.compute_end);
  EXPECT_LE(times.compute_end, times.exec_end);
}

// Many instances, each fed by its own thread with batches of changing size: every output must be
// the one of its own input.
TEST_P(Conformance, OutputsBelongToTheirInputsUnderManyInstances) {
  constexpr int kInstances = 4;
  constexpr std::uint64_t kSeeds = 16;
  const auto model = load(conv_net(), kInstances);
  const auto reference = open(*model);
  std::deque<Request> expected;
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    expected.push_back(make_request(model->signature(), seed));
    ASSERT_TRUE(run(*reference, expected.back()).status.has_value());
  }
  const auto feed = [&](int lane) {
    const auto instance = open(*model, lane);
    std::mt19937 random(static_cast<unsigned>(lane));
    for (int round = 0; round < 40; ++round) {
      std::deque<Request> batch;
      std::vector<std::uint64_t> seeds;
      for (std::size_t i = 0, size = 1 + random() % 8; i < size; ++i) {
        seeds.push_back(random() % kSeeds);
        batch.push_back(make_request(model->signature(), seeds.back()));
      }
      const BatchOutcome outcome = run(*instance, batch);
      ASSERT_TRUE(outcome.status.has_value()) << outcome.status.error().message;
      for (std::size_t i = 0; i < batch.size(); ++i) {
        expect_same(batch[i].floats(0), expected[seeds[i]].floats(0));
        expect_same(batch[i].floats(1), expected[seeds[i]].floats(1));
      }
    }
  };
  std::vector<std::jthread> threads;
  threads.reserve(kInstances);
  for (int lane = 0; lane < kInstances; ++lane) threads.emplace_back(feed, lane);
}

TEST_P(Conformance, CompletionMayStartTheNextBatch) {
  const auto model = load(conv_net());
  const auto instance = open(*model);
  Request request = make_request(model->signature(), 1);
  const std::vector<Sample> samples{request.sample()};
  std::atomic<int> completed{0};
  std::atomic<int> refused{0};
  std::latch finished(1);
  std::function<void()> start = [&] {
    const Result<void> submitted = instance->submit(samples, [&](const BatchOutcome&) {
      if (++completed == 50) {
        finished.count_down();
      } else {
        start();
      }
    });
    if (submitted) return;
    ++refused;
    finished.count_down();
  };
  start();
  finished.wait();
  EXPECT_EQ(refused, 0);
  EXPECT_EQ(completed, 50);
}

TEST_P(Conformance, SecondBatchInFlightIsRefusedAndNeverCompletes) {
  const auto model = load(large_conv_net(), 1, true);
  const auto instance = open(*model);
  std::deque<Request> first;
  first.push_back(make_request(model->signature(), 1));
  Request second = make_request(model->signature(), 2);
  const std::vector<Sample> samples{second.sample()};
  std::atomic<int> completed{0};
  int accepted = 0;
  // The first batch may be over before the second comes, so several tries.
  Result<void> refusal;
  for (int round = 0; round < 50 && refusal.has_value(); ++round) {
    Running running(*instance, first);
    refusal = instance->submit(samples, [&](const BatchOutcome&) { ++completed; });
    accepted += refusal.has_value() ? 1 : 0;
    ASSERT_TRUE(running.outcome().status.has_value());
    while (completed < accepted) std::this_thread::yield();
  }
  expect_error(refusal, ErrorKind::unavailable, "runs a batch");
  EXPECT_EQ(completed, accepted);
}

TEST_P(Conformance, DestructorWaitsForTheRunningBatch) {
  const auto model = load(large_conv_net(), 1, true);
  auto instance = open(*model);
  Request request = make_request(model->signature(), 1);
  const std::vector<Sample> samples{request.sample()};
  std::atomic<int> completed{0};
  ASSERT_TRUE(instance->submit(samples, [&](const BatchOutcome& outcome) {
    EXPECT_TRUE(outcome.status.has_value());
    ++completed;
  }));
  instance.reset();
  EXPECT_EQ(completed, 1);
  EXPECT_EQ(request.outputs[1].bytes_used, 20U);
}

TEST_P(Conformance, InstancesRunInParallel) {
  const auto model = load(large_conv_net(), 2, true);
  const auto a = open(*model, 0);
  const auto b = open(*model, 1);
  bool overlapped = false;
  for (int round = 0; round < 50 && !overlapped; ++round) {
    std::deque<Request> first;
    std::deque<Request> second;
    first.push_back(make_request(model->signature(), 1));
    second.push_back(make_request(model->signature(), 2));
    Running running_a(*a, first);
    Running running_b(*b, second);
    const BatchTimes ta = running_a.outcome().times;
    const BatchTimes tb = running_b.outcome().times;
    overlapped = ta.compute_start < tb.compute_end && tb.compute_start < ta.compute_end;
  }
  EXPECT_TRUE(overlapped);
}

TEST_P(Conformance, InstanceKeepsItsModelAlive) {
  auto model = load(conv_net());
  const Signature signature = model->signature();
  const auto instance = open(*model);
  model.reset();
  backend_.reset();
  Request request = make_request(signature, 1);
  EXPECT_TRUE(run(*instance, request).status.has_value());
}

class ConformanceRefusals : public Conformance {
 protected:
  void SetUp() override {
    Conformance::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    model_ = load(conv_net());
    ASSERT_NE(model_, nullptr);
    instance_ = open(*model_);
    ASSERT_NE(instance_, nullptr);
  }
  // Submits a request that must be refused, and checks that the instance still works.
  void expect_refused(Request& request, std::string_view text) {
    std::vector<Sample> samples{request.sample()};
    std::atomic<int> completed{0};
    expect_error(instance_->submit(samples, [&](const BatchOutcome&) { ++completed; }),
                 ErrorKind::invalid_input, text);
    expect_error(instance_->run(samples).status, ErrorKind::invalid_input, text);
    Request good = make_request(model_->signature(), 1);
    EXPECT_TRUE(run(*instance_, good).status.has_value());
    EXPECT_EQ(completed, 0);
  }
  Request request_of(const TensorSpec& spec) {
    Request request;
    add_tensor(request, spec, true, 1);
    add_outputs(request, model_->signature());
    return request;
  }

  std::shared_ptr<const LoadedModel> model_;
  std::unique_ptr<Instance> instance_;
};

TEST_P(ConformanceRefusals, WrongShape) {
  Request request = request_of({"image", DataType::fp32, {2, 16, 15}});
  expect_refused(request, "input 'image': expected FP32[1,2,16,16], got FP32[1,2,16,15]");
}

TEST_P(ConformanceRefusals, WrongRank) {
  Request request = request_of({"image", DataType::fp32, {2, 256}});
  expect_refused(request, "expected FP32[1,2,16,16]");
}

TEST_P(ConformanceRefusals, WrongType) {
  Request request = request_of({"image", DataType::int64, {2, 16, 16}});
  expect_refused(request, "got INT64[1,2,16,16]");
}

TEST_P(ConformanceRefusals, RowsThatTheTensorDoesNotHave) {
  Request request = make_request(model_->signature(), 1, 2);
  request.rows = 3;
  expect_refused(request, "expected FP32[3,2,16,16]");
}

TEST_P(ConformanceRefusals, BytesThatTheShapeDoesNotHave) {
  Request request = make_request(model_->signature(), 1);
  auto& tensor = std::get<TensorView>(request.inputs[0]);
  tensor.bytes = tensor.bytes.first(tensor.bytes.size() - 4);
  expect_refused(request, "has 2048 bytes, got 2044");
}

TEST_P(ConformanceRefusals, MissingInput) {
  Request request = make_request(model_->signature(), 1);
  request.inputs.clear();
  expect_refused(request, "got 0 inputs, expected 1");
}

TEST_P(ConformanceRefusals, MissingRoomForAnOutput) {
  Request request = make_request(model_->signature(), 1);
  request.outputs.pop_back();
  expect_refused(request, "got room for 1 outputs, expected 2");
}

TEST_P(ConformanceRefusals, RoomThatIsTooSmall) {
  Request request = make_request(model_->signature(), 1);
  request.outputs[0].room = request.outputs[0].room.first(1020);
  expect_refused(request, "output 'map': needs 1024 bytes, the room has 1020");
}

TEST_P(ConformanceRefusals, RoomThatIsNotAligned) {
  Request request = make_request(model_->signature(), 1, 2);
  request.outputs[0].room = request.outputs[0].room.subspan(1);
  expect_refused(request, "aligned");
}

TEST_P(ConformanceRefusals, MoreRowsThanBatchMax) {
  Request request = make_request(model_->signature(), 1, 9);
  expect_refused(request, "more than the 8 rows");
}

TEST_P(ConformanceRefusals, NoRows) {
  Request request = make_request(model_->signature(), 1);
  request.rows = 0;
  expect_refused(request, "rows must be at least 1");
}

TEST_P(ConformanceRefusals, ImagesForATensorInput) {
  Request request = make_request(model_->signature(), 1);
  request.images.push_back(noise_image(16, 16, PixelFormat::gray8, 1));
  request.inputs[0] = ImageStack{{request.images[0].view(), request.images[0].view()}, {}};
  expect_refused(request, "not images");
}

TEST_P(ConformanceRefusals, EmptyBatch) {
  expect_error(instance_->submit({}, [](const BatchOutcome&) {}), ErrorKind::invalid_input,
               "empty");
}

// Backends that take strings.
using ConformanceStrings = Conformance;
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(ConformanceStrings);

std::vector<BackendCase> backends_with_strings() {
  std::vector<BackendCase> backends = conformance_backends();
  std::erase_if(backends, [](const BackendCase& backend) { return !backend.takes_strings; });
  return backends;
}

TEST_P(Conformance, AModelWithStringsIsRefusedUnlessItTakesThem) {
  const TestModel model = strings();
  const auto loaded =
      backend_->load({model.file, 1, model_file(model.file)}, options_for(GetParam(), model));
  EXPECT_EQ(loaded.has_value(), GetParam().takes_strings);
  if (!loaded) {
    EXPECT_EQ(to_string(loaded.error().kind), to_string(ErrorKind::invalid_input));
  }
}

// The strings of each row of an output; all its rows have as many.
std::vector<std::vector<std::string>> rows_of_strings(const Request& request, std::size_t output) {
  const OutputBuffer& buffer = request.outputs[output];
  StringElements elements(buffer.view().bytes);
  const std::size_t count = *element_count(buffer.shape);
  EXPECT_TRUE(check_strings(buffer.view().bytes, count)) << "its shape is " << count << " strings";
  std::vector<std::vector<std::string>> rows(static_cast<std::size_t>(request.rows));
  for (auto& row : rows) {
    for (std::size_t i = 0; i < count / rows.size(); ++i)
      row.emplace_back(elements.next().value_or("missing"));
  }
  return rows;
}

TEST_P(ConformanceStrings, RowsAreThoseOfSingleRuns) {
  const auto model = load(strings());
  const auto instance = open(*model);
  std::deque<Request> batch;
  for (const std::int64_t rows : {3, 1, 2}) {
    batch.push_back(make_request(model->signature(), batch.size(), rows));
  }
  const BatchOutcome outcome = run(*instance, batch);
  ASSERT_TRUE(outcome.status.has_value()) << outcome.status.error().message;
  for (std::uint64_t i = 0; i < batch.size(); ++i) {
    EXPECT_EQ(batch[i].outputs[0].type, DataType::bytes);
    EXPECT_EQ(batch[i].outputs[0].shape, (Shape{batch[i].rows, 3}));
    const auto rows = rows_of_strings(batch[i], 0);
    for (std::uint64_t row = 0; row < rows.size(); ++row) {
      Request single;
      add_tensor(single, model->signature().inputs[0], true, i * 1000 + row);
      add_outputs(single, model->signature());
      ASSERT_TRUE(run(*instance, single).status.has_value());
      EXPECT_EQ(rows[row], rows_of_strings(single, 0).front());
    }
  }
}

TEST_P(ConformanceStrings, BytesThatAreNoStringsAreRefused) {
  const auto model = load(strings());
  const auto instance = open(*model);
  Request request = make_request(model->signature(), 1);
  auto& tensor = std::get<TensorView>(request.inputs[0]);
  tensor.bytes = tensor.bytes.first(tensor.bytes.size() - 1);
  expect_error(run(*instance, request).status, ErrorKind::invalid_input,
               "input 'INPUT0': expected 3 strings, got 2");
}

const auto kName = [](const testing::TestParamInfo<BackendCase>& info) { return info.param.name; };

INSTANTIATE_TEST_SUITE_P(Backends, Conformance, testing::ValuesIn(conformance_backends()), kName);
INSTANTIATE_TEST_SUITE_P(Backends, ConformanceStrings, testing::ValuesIn(backends_with_strings()),
                         kName);
INSTANTIATE_TEST_SUITE_P(Backends, ConformanceRefusals, testing::ValuesIn(conformance_backends()),
                         kName);

// Images through the backend's preprocessing give what the finished tensor gives.
struct ImageCase {
  std::string name;
  TestModel model;
  ImagePreprocess preprocess;
  int images = 1;
};

void PrintTo(const ImageCase& images, std::ostream* out) {
  *out << images.name;
}

using BackendAndImages = std::tuple<BackendCase, ImageCase>;

class ConformanceImages : public testing::TestWithParam<BackendAndImages> {
 protected:
  void SetUp() override {
    Result<std::unique_ptr<Backend>> made = backend_case().make();
    if (!made && made.error().kind == ErrorKind::unavailable) GTEST_SKIP() << made.error().message;
    ASSERT_TRUE(made.has_value()) << made.error().message;
    backend_ = std::move(*made);
    const TestModel& model = image_case().model;
    LoadOptions options = options_for(backend_case(), model);
    load(options, tensors_);
    if (HasFatalFailure()) return;
    options.inputs = {{model.inputs[0].name, image_case().preprocess}};
    load(options, images_);
  }
  static const BackendCase& backend_case() { return std::get<0>(GetParam()); }
  static const ImageCase& image_case() { return std::get<1>(GetParam()); }

  void load(const LoadOptions& options, std::unique_ptr<Instance>& instance) {
    const std::string& file = image_case().model.file;
    const auto model = backend_->load({file, 1, model_file(file)}, options);
    ASSERT_TRUE(model.has_value()) << model.error().message;
    signature_ = (*model)->signature();
    auto opened = (*model)->open_instance({backend_case().device, 0});
    ASSERT_TRUE(opened.has_value()) << opened.error().message;
    instance = std::move(*opened);
  }
  // Width and height of the model's input.
  [[nodiscard]] std::pair<int, int> size() const {
    const Shape& shape = signature_.inputs[0].shape;
    const bool last = image_case().preprocess.channels_last;
    return {static_cast<int>(last ? shape[1] : shape[2]),
            static_cast<int>(last ? shape[0] : shape[1])};
  }
  [[nodiscard]] Request image_request(std::uint64_t seed, int width, int height) const {
    Request request;
    ImageStack stack;
    for (int i = 0; i < image_case().images; ++i) {
      request.images.push_back(noise_image(width, height, image_case().preprocess.color,
                                           seed * 10 + static_cast<std::uint64_t>(i)));
      stack.images.push_back(request.images.back().view());
    }
    request.inputs.emplace_back(std::move(stack));
    add_outputs(request, signature_);
    return request;
  }
  // The outputs that the finished tensor of model-sized images gives.
  [[nodiscard]] Request tensor_result(const std::vector<ImageView>& images) const {
    Request request;
    const std::vector<float> values = preprocessed(images, image_case().preprocess);
    const auto bytes = std::as_bytes(std::span(values));
    request.memory.emplace_back(bytes.begin(), bytes.end());
    Shape shape = signature_.inputs[0].shape;
    shape.insert(shape.begin(), 1);
    request.inputs.emplace_back(TensorView{DataType::fp32, shape, request.memory.back()});
    add_outputs(request, signature_);
    EXPECT_TRUE(run(*tensors_, request).status.has_value());
    return request;
  }

  std::unique_ptr<Backend> backend_;
  Signature signature_;
  std::unique_ptr<Instance> tensors_;
  std::unique_ptr<Instance> images_;
};

TEST_P(ConformanceImages, ImagesOfTheModelsSizeGiveWhatTheirTensorGives) {
  const auto [width, height] = size();
  Request request = image_request(1, width, height);
  const BatchOutcome outcome = run(*images_, request);
  ASSERT_TRUE(outcome.status.has_value()) << outcome.status.error().message;
  const auto& stack = std::get<ImageStack>(request.inputs[0]);
  expect_same(request.floats(0), tensor_result(stack.images).floats(0));
}

TEST_P(ConformanceImages, PlanesThatLieTogetherGiveTheSame) {
  const auto [width, height] = size();
  Request apart = image_request(1, width, height);
  ASSERT_TRUE(run(*images_, apart).status.has_value());
  Request together = image_request(1, width, height);
  std::vector<std::uint8_t> block;
  for (const Image& image : together.images) {
    block.insert(block.end(), image.pixels.begin(), image.pixels.end());
  }
  auto& stack = std::get<ImageStack>(together.inputs[0]);
  for (std::size_t i = 0; i < stack.images.size(); ++i) {
    stack.images[i].pixels = block.data() + i * stack.images[i].byte_size();
  }
  ASSERT_TRUE(run(*images_, together).status.has_value());
  expect_same(together.floats(0), apart.floats(0));
}

// A region of the model's size at a whole pixel is a crop: no pixel value changes on the way.
TEST_P(ConformanceImages, RegionsOfLargerImagesGiveWhatTheirCropsGive) {
  const auto [width, height] = size();
  std::deque<Request> batch;
  for (std::uint64_t i = 0; i < 3; ++i) {
    batch.push_back(image_request(i, width + 9 + static_cast<int>(i), height + 7));
    auto& stack = std::get<ImageStack>(batch.back().inputs[0]);
    stack.region = {static_cast<float>(i), 3, static_cast<float>(width),
                    static_cast<float>(height)};
  }
  const BatchOutcome outcome = run(*images_, batch);
  ASSERT_TRUE(outcome.status.has_value()) << outcome.status.error().message;
  for (std::size_t i = 0; i < batch.size(); ++i) {
    std::vector<ImageView> crops = std::get<ImageStack>(batch[i].inputs[0]).images;
    for (ImageView& crop : crops) {
      crop.pixels = crop.row(3) + i * static_cast<std::size_t>(channel_count(crop.format));
      crop.width = width;
      crop.height = height;
    }
    expect_same(batch[i].floats(0), tensor_result(crops).floats(0));
  }
}

TEST_P(ConformanceImages, RefusesAStackThatDoesNotFit) {
  const auto [width, height] = size();
  const auto refused = [&](Request& request, std::string_view text) {
    expect_error(run(*images_, request).status, ErrorKind::invalid_input, text);
  };
  Request missing = image_request(1, width, height);
  std::get<ImageStack>(missing.inputs[0]).images.pop_back();
  refused(missing, "images, expected");

  Request empty = image_request(1, width, height);
  std::get<ImageStack>(empty.inputs[0]).images[0].pixels = nullptr;
  refused(empty, "no pixels");

  Request region = image_request(1, width, height);
  std::get<ImageStack>(region.inputs[0]).region = {0, 0, NAN, 4};
  refused(region, "region must be finite");

  Request tensor = image_request(1, width, height);
  tensor.inputs.clear();
  add_tensor(tensor, signature_.inputs[0], true, 1);
  refused(tensor, "takes images");
}

ImagePreprocess gray() {
  return {};
}
ImagePreprocess color(PixelFormat format, bool channels_last = false) {
  ImagePreprocess preprocess;
  preprocess.color = format;
  preprocess.mean = {0.485F, 0.456F, 0.406F};
  preprocess.stddev = {0.229F, 0.224F, 0.225F};
  preprocess.channels_last = channels_last;
  return preprocess;
}
TestModel with_channels(std::string file, std::int64_t channels) {
  TestModel model = conv_net();
  model.file = std::move(file);
  model.inputs[0].shape[0] = channels;
  return model;
}
ImagePreprocess two_colors() {
  ImagePreprocess preprocess;
  preprocess.color = PixelFormat::bgr8;
  preprocess.mean = {0.1F, 0.2F, 0.3F, 0.4F, 0.5F, 0.6F};
  return preprocess;
}
TestModel channels_last_model() {
  return {"conv_net_channels_last",
          {{"image", DataType::fp32, {12, 10, 3}}},
          {{"scores", DataType::fp32, {3}}}};
}

const auto kImagesName = [](const testing::TestParamInfo<BackendAndImages>& info) {
  return std::get<0>(info.param).name + "_" + std::get<1>(info.param).name;
};

INSTANTIATE_TEST_SUITE_P(
    Backends, ConformanceImages,
    testing::Combine(testing::ValuesIn(conformance_backends()),
                     testing::Values(ImageCase{"two_gray", conv_net(), gray(), 2},
                                     ImageCase{"rgb", with_channels("conv_net_color", 3),
                                               color(PixelFormat::rgb8), 1},
                                     ImageCase{"two_bgr", with_channels("conv_net_two_colors", 6),
                                               two_colors(), 2},
                                     ImageCase{"rgb_channels_last", channels_last_model(),
                                               color(PixelFormat::rgb8, true), 1})),
    kImagesName);

}  // namespace
}  // namespace takt::conformance
