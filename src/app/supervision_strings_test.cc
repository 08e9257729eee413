// SPDX-License-Identifier: Apache-2.0
// Tensors of strings on their way to a worker process and back.
#include "app/supervision_fixture.h"
#include "core/string_tensor.h"

#include <future>
#include <utility>

namespace takt::supervision_test {
namespace {

using Strings = std::vector<std::string>;
using Outputs = Result<std::vector<Strings>>;

class SupervisionStrings : public Supervision {
 protected:
  // A model of the Triton repository, with further parameters of the simulated device.
  ModelId serve(const std::string& name,
                const std::vector<std::pair<std::string, std::string>>& parameters = {}) {
    fs::copy(fs::path(TAKT_TEST_MODELS) / "triton" / name, folder_ / name,
             fs::copy_options::recursive);
    std::ofstream config(folder_ / name / "config.pbtxt", std::ios::app);
    for (const auto& [key, value] : parameters) {
      config << "parameters { key: \"simulated." << key << "\" value { string_value: \"" << value
             << "\" } }\n";
    }
    config.close();
    Result<ModelId> model = supervisor_->add_worker(spec(name));
    EXPECT_TRUE(model) << model.error().message;
    return model.value_or(ModelId{});
  }
  // A request of one row whose inputs are these.
  InferRequest asking(ModelId model, const std::vector<Strings>& inputs) {
    InferRequest made;
    made.model = model;
    for (const Strings& strings : inputs) {
      Slot slot = *inputs_->acquire(4096);
      std::size_t used = 0;
      for (const std::string& element : strings) {
        used = put_string(slot.bytes(), used, element).value();
      }
      made.inputs.emplace_back(TensorView{DataType::bytes,
                                          {1, static_cast<std::int64_t>(strings.size())},
                                          slot.bytes().first(used)});
      made.holds.push_back(std::move(slot));
    }
    return made;
  }
  // The strings of each output.
  std::future<Outputs> ask(InferRequest request) {
    auto promise = std::make_shared<std::promise<Outputs>>();
    engine_->submit(std::move(request), [this, promise](Result<InferResult> result) {
      if (!result) return promise->set_value(std::unexpected(std::move(result).error()));
      largest_batch_ = std::max(largest_batch_.load(), result->timings.batch_size);
      std::vector<Strings> outputs;
      for (const TensorView& output : result->outputs) {
        StringElements elements(output.bytes);
        Strings& strings = outputs.emplace_back();
        while (const auto element = elements.next()) strings.emplace_back(*element);
      }
      promise->set_value(std::move(outputs));
    });
    return promise->get_future();
  }

  std::atomic<int> largest_batch_ = 0;
};

TEST_F(SupervisionStrings, ComeBackFromAWorkerWhateverTheyHold) {
  start();
  const ModelId model = serve("simple_identity");
  const Strings strings{"", std::string("\0\n\xff", 3), std::string(1000, 'x')};
  const Outputs answer = ask(asking(model, {strings})).get();
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(answer->at(0), strings);
  expect_nothing_left();
}

TEST_F(SupervisionStrings, RequestsOfABatchKeepTheirOwn) {
  start();
  const ModelId model = serve("simple_string", {{"base_us", "10000"}});
  std::vector<std::future<Outputs>> answers;
  answers.reserve(40);
  for (int i = 0; i < 40; ++i) {
    answers.push_back(
        ask(asking(model, {Strings(16, std::to_string(i * i)), Strings(16, std::to_string(i))})));
  }
  for (int i = 0; i < 40; ++i) {
    const Outputs answer = answers[static_cast<std::size_t>(i)].get();
    ASSERT_TRUE(answer) << answer.error().message;
    EXPECT_EQ(answer->at(0), Strings(16, std::to_string(i * i + i)));
    EXPECT_EQ(answer->at(1), Strings(16, std::to_string(i * i - i)));
  }
  EXPECT_GT(largest_batch_, 1);
  expect_nothing_left();
}

TEST_F(SupervisionStrings, OneThatIsNoIntegerFailsAlone) {
  start();
  const ModelId model = serve("simple_string", {{"base_us", "10000"}});
  std::vector<std::future<Outputs>> answers;
  answers.reserve(9);
  for (int i = 0; i < 9; ++i) {
    answers.push_back(ask(asking(model, {Strings(16, i == 4 ? "four" : "4"), Strings(16, "1")})));
  }
  for (std::size_t i = 0; i < answers.size(); ++i) {
    const Outputs answer = answers[i].get();
    ASSERT_EQ(answer.has_value(), i != 4);
    if (answer) continue;
    EXPECT_EQ(answer.error().kind, ErrorKind::invalid_input);
    EXPECT_NE(answer.error().message.find("input 'INPUT0': element 0 is 'four'"), std::string::npos)
        << answer.error().message;
  }
  EXPECT_GT(engine_->stats().retries_alone, 1U);
  expect_nothing_left();
}

TEST_F(SupervisionStrings, ARequestWithTooFewNeverReachesTheWorker) {
  start();
  const ModelId model = serve("simple_string");
  InferRequest request = asking(model, {Strings(16, "1"), Strings(15, "1")});
  std::get<TensorView>(request.inputs[1]).shape = {1, 16};
  const Outputs answer = ask(std::move(request)).get();
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().kind, ErrorKind::invalid_input);
  EXPECT_NE(answer.error().message.find("input 'INPUT1': BYTES[1,16]: expected 16 strings, got 15"),
            std::string::npos)
      << answer.error().message;
  EXPECT_EQ(engine_->stats().batches_running, 0U);
}

TEST_F(SupervisionStrings, AnswersThatLieAreNotBelieved) {
  start();
  const ModelId model = serve("simple_identity", {{"probability.corrupt_output", "1"}});
  const Outputs answer = ask(asking(model, {{"a", "b"}})).get();
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().kind, ErrorKind::corrupt_output);
  EXPECT_NE(answer.error().message.find("output 'OUTPUT0': BYTES[1,2]: expected 2 strings, got 0"),
            std::string::npos)
      << answer.error().message;
}

}  // namespace
}  // namespace takt::supervision_test
