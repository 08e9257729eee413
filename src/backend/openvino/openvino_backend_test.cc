// SPDX-License-Identifier: Apache-2.0
// What is particular to OpenVINO; what every backend must do is in the conformance suite.
#include "backend/openvino/openvino_backend.h"

#include "backend/conformance/conformance_fixture.h"
#include "backend/openvino/compile.h"
#include "backend/openvino/openvino_instance.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <fstream>

namespace takt {
namespace {

using namespace conformance;

class OpenVino : public testing::Test {
 protected:
  Result<std::shared_ptr<const LoadedModel>> load(const std::string& file,
                                                  const LoadOptions& options) {
    return backend_->load({"pcb", 3, model_file(file)}, options);
  }
  void expect_refused(const std::string& file, const LoadOptions& options,
                      std::initializer_list<std::string_view> texts) {
    const auto model = load(file, options);
    ASSERT_FALSE(model.has_value()) << file << " was loaded";
    EXPECT_EQ(to_string(model.error().kind), "invalid_input") << model.error().message;
    EXPECT_TRUE(model.error().message.starts_with(model_file(file).string() + ": "))
        << model.error().message;
    for (const std::string_view text : texts) {
      EXPECT_NE(model.error().message.find(text), std::string::npos) << model.error().message;
    }
    EXPECT_EQ(model.error().message.find(".cpp:"), std::string::npos) << model.error().message;
  }
  static LoadOptions batches_of(int batch_max) {
    LoadOptions options;
    options.batch_max = batch_max;
    return options;
  }
  // Scores of the conv net for one seeded request.
  std::vector<float> scores(const LoadedModel& model) {
    auto instance = model.open_instance({"cpu", 0});
    Request request = make_request(model.signature(), 1);
    EXPECT_TRUE(run(**instance, request).status.has_value());
    return request.floats(1);
  }

  std::unique_ptr<Backend> backend_ = make_openvino_backend().value();
};

Result<ov_backend::CompilableModel> compilable(const LoadOptions& options) {
  return ov_backend::CompilableModel::read(std::make_shared<ov::Core>(),
                                           {"pcb", 1, model_file(conv_net().file)}, options);
}

int a_cpu() {
  return ::sched_getcpu();
}

// A core of its own for each lane means something only when inference stays on that thread.
TEST_F(OpenVino, TiedInstancesRunOnTheThreadThatAsks) {
  LoadOptions options = options_of(conv_net());
  options.instances = 2;
  options.instance_cpus = {{a_cpu()}, {a_cpu()}};
  const auto model = load("conv_net", options);
  ASSERT_TRUE(model.has_value()) << model.error().message;
  auto instance = (*model)->open_instance({"cpu", 0});
  const auto threads = [] {
    return std::distance(std::filesystem::directory_iterator("/proc/self/task"), {});
  };
  Request request = make_request((*model)->signature(), 1);
  ASSERT_TRUE(run(**instance, request).status.has_value());
  const auto before = threads();
  auto second = (*model)->open_instance({"cpu", 1});
  ASSERT_TRUE(run(**second, request).status.has_value());
  EXPECT_EQ(threads(), before + 1) << "its own thread, and none of the library's";
}

// What an instance does after it ran out of memory.
TEST_F(OpenVino, AnswersTheSameAfterItsCachesWereFreed) {
  LoadOptions options = options_of(conv_net());
  options.batch_max = 4;
  const auto model = compilable(options);
  ASSERT_TRUE(model.has_value()) << model.error().message;
  const auto rules = std::make_shared<const BatchRules>(model->rules());
  const auto all = std::make_shared<ov_backend::Compilations>(model->compile().value());
  const auto instance = ov_backend::OpenVinoInstance::open(all->first(), all, rules, {}, 0).value();
  for (const std::int64_t rows : {4, 1}) {
    Request before = make_request(rules->signature, 1, rows);
    ASSERT_TRUE(run(*instance, before).status.has_value());
    all->release_memory();
    Request after = make_request(rules->signature, 1, rows);
    ASSERT_TRUE(run(*instance, after).status.has_value());
    EXPECT_TRUE(std::ranges::equal(before.floats(1), after.floats(1)));
  }
}

// Its tensors stay bound from batch to batch, and large ones of a request take their place.
TEST_F(OpenVino, AnswersTheSameWhateverItRanBefore) {
  LoadOptions options = options_of(conv_net());
  options.batch_max = 16;
  const auto model = load("conv_net", options);
  ASSERT_TRUE(model.has_value()) << model.error().message;
  const auto used = (*model)->open_instance({"cpu", 0}).value();
  std::uint64_t seed = 0;
  for (const std::int64_t rows : {1, 3, 2, 16, 3, 1, 16, 16, 1, 1, 2, 2, 5}) {
    Request here = make_request((*model)->signature(), ++seed, rows);
    Request alone = make_request((*model)->signature(), seed, rows);
    ASSERT_TRUE(run(*used, here).status.has_value());
    const auto fresh = (*model)->open_instance({"cpu", 0}).value();
    ASSERT_TRUE(run(*fresh, alone).status.has_value());
    EXPECT_TRUE(std::ranges::equal(here.floats(1), alone.floats(1))) << rows << " rows";
  }
}

#ifndef TAKT_SANITIZED  // sanitizers bring their own allocator
std::size_t resident_bytes() {
  std::size_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages >> pages;
  return pages * 4096;
}

TEST_F(OpenVino, FreedCachesGoBackToTheSystem) {
  const auto model = compilable(options_of(conv_net()));
  ASSERT_TRUE(model.has_value()) << model.error().message;
  const ov_backend::Compilations all(model->compile().value());
  constexpr std::size_t kBlocks = 16384;
  constexpr std::size_t kBlockBytes = 4000;  // small ones, which stay with the allocator when freed
  std::vector<std::vector<char>> blocks;
  for (std::size_t i = 0; i < kBlocks; ++i) blocks.emplace_back(kBlockBytes, 'x');
  blocks.erase(blocks.begin(), blocks.end() - 1);  // the last one pins the end of the heap
  const std::size_t before = resident_bytes();
  all.release_memory();
  EXPECT_LT(resident_bytes() + kBlocks * kBlockBytes / 2, before);
}
#endif

TEST_F(OpenVino, NamesTheFileThatIsMissing) {
  expect_refused("missing", {}, {"missing.onnx", "does not exist"});
}
TEST_F(OpenVino, RefusesAnEmptyFile) {
  expect_refused("empty", {}, {"is empty"});
}
TEST_F(OpenVino, RefusesATruncatedFile) {
  expect_refused("truncated", {}, {"damaged or truncated", "export or copy the model again"});
}
TEST_F(OpenVino, RefusesWhatIsNotOnnx) {
  expect_refused("garbage", {}, {"ONNX"});
  expect_refused("text", {}, {"ONNX"});
}
TEST_F(OpenVino, NamesTheOperatorThatIsNotSupported) {
  expect_refused("custom_operator", batches_of(4), {"com.example.FancyAttention", "opset 17"});
}
TEST_F(OpenVino, NamesTheNodeWhoseShapesContradict) {
  expect_refused("wrong_shapes", batches_of(4), {"MatMul", "First input dimension=4"});
}
TEST_F(OpenVino, RefusesABatchThatTheModelHoldsFixed) {
  expect_refused("hard_coded_batch", batches_of(4),
                 {"output 'out' stays [1,12]", "max_batch_size"});
  EXPECT_TRUE(load("hard_coded_batch", {}).has_value());
}
TEST_F(OpenVino, RefusesDimsThatContradictTheFile) {
  LoadOptions options = options_of(conv_net());
  options.input_specs[0].shape = {3, 16, 16};
  expect_refused("conv_net", options, {"input 'image'", "declared as [3,16,16]", "[?,2,16,16]"});
  options = options_of(conv_net());
  options.input_specs[0].type = DataType::fp16;
  expect_refused("conv_net", options, {"declared as FP16", "says FP32"});
  options = options_of(conv_net());
  options.input_specs[0].name = "imag";
  expect_refused("conv_net", options, {"'image'", "not declared", "did you mean 'imag'"});
  options = options_of(conv_net());
  options.output_specs[1].shape = {6};
  expect_refused("conv_net", options, {"output 'scores'", "declared as FP32[6]", "FP32[5]"});
}
TEST_F(OpenVino, RefusesWhatItCannotDo) {
  LoadOptions precision = batches_of(1);
  precision.precision = "fp16";
  expect_refused("conv_net", precision, {"precision 'fp16'", "use fp32"});
  LoadOptions cpus = batches_of(1);
  cpus.cpus = {0};
  cpus.threads_per_instance = 2;
  expect_refused("conv_net", cpus, {"threads_per_instance: 1"});
  LoadOptions parameter = batches_of(1);
  parameter.parameters = {{"openvino.streams", "2"}};
  expect_refused("conv_net", parameter, {"openvino.streams"});
}
TEST_F(OpenVino, RefusesStrings) {
  const std::string file = "triton/simple_identity/1/model";
  LoadOptions options = batches_of(8);
  options.input_specs = {{"INPUT0", DataType::bytes, {-1}}};
  options.output_specs = {{"OUTPUT0", DataType::bytes, {-1}}};
  expect_refused(file, options, {"'INPUT0' holds strings", "export the model without them"});
  options.input_specs[0].type = DataType::fp32;
  expect_refused(file, options, {"'OUTPUT0' holds strings"});
  expect_refused(file, batches_of(8), {"element type string can't be passed"});
}

TEST_F(OpenVino, RefusesADeviceThatItDoesNotHave) {
  const auto instance = (*load("conv_net", batches_of(1)))->open_instance({"cuda:0", 0});
  ASSERT_FALSE(instance.has_value());
  EXPECT_EQ(instance.error().kind, ErrorKind::unavailable);
}

TEST_F(OpenVino, ReadsTheSignatureFromTheFileWhenNothingIsDeclared) {
  const auto model = load("conv_net", batches_of(2));
  ASSERT_TRUE(model.has_value()) << model.error().message;
  EXPECT_EQ((*model)->signature().outputs[0].shape, (Shape{4, 8, 8}));
}

TEST_F(OpenVino, FixesSizesThatTheFileLeavesOpen) {
  LoadOptions options = options_of(conv_net());
  options.inputs = {{"image", ImagePreprocess{}}};
  const auto model = load("conv_net_any_size", options);
  ASSERT_TRUE(model.has_value()) << model.error().message;
  EXPECT_EQ((*model)->signature().outputs[0].shape, (Shape{4, 8, 8}));
  options.input_specs.clear();
  options.output_specs.clear();
  expect_refused("conv_net_any_size", options, {"input 'image'", "state dims in config.pbtxt"});
}

TEST_F(OpenVino, FreesAFixedBatchOfOne) {
  const auto fixed = load("conv_net_batch1", batches_of(4));
  ASSERT_TRUE(fixed.has_value()) << fixed.error().message;
  auto instance = (*fixed)->open_instance({"cpu", 0});
  Request request = make_request((*fixed)->signature(), 1, 4);
  EXPECT_TRUE(run(**instance, request).status.has_value());
}

TEST_F(OpenVino, ComputesWhatTheOperatorsSay) {
  const auto model = load("distance", batches_of(4));
  auto instance = (*model)->open_instance({"cpu", 0});
  Request request = make_request((*model)->signature(), 9);
  ASSERT_TRUE(run(**instance, request).status.has_value());
  const auto board = std::get<TensorView>(request.inputs[0]).as<float>();
  const auto golden = std::get<TensorView>(request.inputs[1]).as<float>();
  double sum = 0;
  for (std::size_t i = 0; i < board.size(); ++i) {
    sum += std::pow(static_cast<double>(board[i]) - static_cast<double>(golden[i]), 2);
  }
  EXPECT_NEAR(request.floats(0)[0], std::sqrt(sum), 1e-3);
}

TEST_F(OpenVino, OneChangedWeightChangesTheOutput) {
  EXPECT_NE(scores(**load("conv_net", batches_of(1))),
            scores(**load("conv_net_nudged", batches_of(1))));
}

TEST_F(OpenVino, TiedInstancesHaveTheirOwnWeights) {
  LoadOptions options = batches_of(1);
  options.instance_cpus = {{a_cpu()}};
  const auto tied = load("conv_net", options);
  const auto shared = load("conv_net", batches_of(1));
  EXPECT_EQ((*tied)->memory().instance_bytes, (*shared)->memory().weights_bytes);
  EXPECT_EQ((*tied)->memory().weights_bytes, 0U);
}

TEST_F(OpenVino, CountsTheWeights) {
  const auto single = load("conv_net", batches_of(1));
  const auto batched = load("conv_net", batches_of(8));
  const std::size_t floats = 8 * 2 * 9 + 8 * 8 * 9 + 4 * 8 * 9 + 4 * 5;
  EXPECT_GE((*single)->memory().weights_bytes, floats * 4);
  EXPECT_LT((*single)->memory().weights_bytes, floats * 4 + 1024);
  // Batches have a compilation of their own.
  EXPECT_EQ((*batched)->memory().weights_bytes, 2 * (*single)->memory().weights_bytes);
}

class DynamicOutput : public OpenVino {
 protected:
  // Four rows of six numbers, the first `count` of them not zero.
  BatchOutcome positions(std::size_t count, std::size_t room_bytes) {
    std::vector<float> values(24);
    std::fill_n(values.begin(), count, 1.0F);
    request_ = Request{};
    const auto bytes = std::as_bytes(std::span(values));
    request_.memory.emplace_back(bytes.begin(), bytes.end());
    request_.inputs.emplace_back(TensorView{DataType::fp32, {4, 6}, request_.memory.back()});
    auto& room = request_.memory.emplace_back(room_bytes);
    request_.outputs.push_back({room, DataType::int64, {}, 0});
    return run(*instance_, request_);
  }
  std::shared_ptr<const LoadedModel> model_ = load("dynamic_output", {}).value();
  std::unique_ptr<Instance> instance_ = model_->open_instance({"cpu", 0}).value();
  Request request_;
};

TEST_F(DynamicOutput, SaysItsShapeAndBytesEachTime) {
  EXPECT_EQ(model_->signature().outputs[0].shape, (Shape{2, -1}));
  for (const std::size_t count : {7U, 3U, 0U, 24U}) {
    const BatchOutcome outcome = positions(count, 1024);
    ASSERT_TRUE(outcome.status.has_value()) << outcome.status.error().message;
    EXPECT_EQ(request_.outputs[0].shape, (Shape{2, static_cast<std::int64_t>(count)}));
    EXPECT_EQ(request_.outputs[0].bytes_used, count * 16);
  }
}

TEST_F(DynamicOutput, ThatDoesNotFitIsCorruptAndSaysRoomAndNeed) {
  const BatchOutcome outcome = positions(9, 64);
  ASSERT_FALSE(outcome.status.has_value());
  EXPECT_EQ(outcome.status.error().kind, ErrorKind::corrupt_output);
  for (const auto* text : {"'positions'", "needs 144 bytes", "room has 64"}) {
    EXPECT_NE(outcome.status.error().message.find(text), std::string::npos)
        << outcome.status.error().message;
  }
  EXPECT_TRUE(positions(4, 64).status.has_value()) << "the instance must still work";
}

class ModelCache : public OpenVino {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::path(testing::TempDir()) /
              ("takt-cache-" + std::to_string(::getpid()) + "-" +
               testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::remove_all(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  [[nodiscard]] LoadOptions cached() const {
    LoadOptions options = batches_of(4);
    options.cache_dir = folder_;
    return options;
  }
  [[nodiscard]] std::vector<std::filesystem::path> blobs() const {
    std::vector<std::filesystem::path> found;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder_)) {
      if (entry.is_regular_file()) found.push_back(entry.path());
    }
    return found;
  }
  std::filesystem::path folder_;
};

TEST_F(ModelCache, SecondLoadUsesWhatTheFirstCompiled) {
  const std::vector<float> first = scores(**load("conv_net", cached()));
  const auto made = blobs();
  ASSERT_EQ(made.size(), 2U) << "one for batch 1, one for larger batches";
  const auto written = std::filesystem::last_write_time(made[0]);
  backend_ = make_openvino_backend().value();
  EXPECT_EQ(scores(**load("conv_net", cached())), first);
  EXPECT_EQ(blobs(), made);
  EXPECT_EQ(std::filesystem::last_write_time(made[0]), written);
}

TEST_F(ModelCache, TellsModelsApartThatDifferInOneWeight) {
  const std::vector<float> first = scores(**load("conv_net", cached()));
  EXPECT_NE(scores(**load("conv_net_nudged", cached())), first);
}

TEST_F(ModelCache, DamagedEntriesAreMadeAgain) {
  const std::vector<float> first = scores(**load("conv_net", cached()));
  for (const auto& blob : blobs()) {
    std::filesystem::resize_file(blob, std::filesystem::file_size(blob) / 2);
  }
  backend_ = make_openvino_backend().value();
  const auto again = load("conv_net", cached());
  ASSERT_TRUE(again.has_value()) << again.error().message;
  EXPECT_EQ(scores(**again), first);
}

TEST_F(ModelCache, FolderThatCannotBeMadeIsNamed) {
  std::filesystem::create_directories(folder_);
  std::ofstream(folder_ / "file") << "x";
  LoadOptions options = cached();
  options.cache_dir = folder_ / "file" / "cache";
  expect_refused("conv_net", options, {"cache_dir", "file/cache"});
}

}  // namespace
}  // namespace takt
