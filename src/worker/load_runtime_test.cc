// SPDX-License-Identifier: Apache-2.0
// From a folder on disk to instances that run, on OpenVINO.
#include "worker/load_runtime.h"

#include "worker/backends.h"
#include "worker/batch_run.h"

#include <gtest/gtest.h>

namespace takt::worker {
namespace {

class LoadRuntime : public testing::Test {
 protected:
  static repository::ModelVersion version_of(const std::string& name, std::int64_t version = 1) {
    const auto root = std::filesystem::path(TAKT_TEST_MODELS) / "repository";
    auto model = repository::scan_model(root, name).value();
    // The policy serves the highest version; here all are wanted.
    if (model.versions.front().version == version) return model.versions.front().result.value();
    repository::ModelVersion other = model.versions.front().result.value();
    const auto folder = root / name / std::to_string(version);
    other.version = version;
    other.onnx_path = folder / "model.onnx";
    other.reference_path = folder / "reference";
    return other;
  }
  Result<ModelRuntime> load(const repository::ModelVersion& version) {
    return load_runtime(*backend_, version, options_);
  }

  std::unique_ptr<Backend> backend_ = make_backend("openvino").value();
  RuntimeOptions options_ = [] {
    RuntimeOptions options;
    options.profile_time_max = std::chrono::milliseconds(20);
    return options;
  }();
};

TEST_F(LoadRuntime, OpensTheInstancesAndSaysWhatTheyAre) {
  options_.instances = 2;
  const auto runtime = load(version_of("good", 2));
  ASSERT_TRUE(runtime) << runtime.error().message;
  EXPECT_EQ(runtime->name, "good");
  EXPECT_EQ(runtime->version, 2);
  EXPECT_EQ(runtime->backend, "openvino");
  EXPECT_EQ(runtime->device, "cpu");
  EXPECT_EQ(runtime->instances.size(), 2U);
  EXPECT_EQ(runtime->signature.batch_max, 8);
  EXPECT_GT(runtime->memory.weights_bytes, 0U);
  EXPECT_EQ(runtime->output_bytes_max, (std::vector<std::size_t>{1024, 20}));
}

TEST_F(LoadRuntime, ProfileHasRisingBatchSizesFromOne) {
  const auto runtime = load(version_of("good"));
  ASSERT_TRUE(runtime) << runtime.error().message;
  std::vector<int> batches;
  for (const LatencyPoint& point : runtime->profile) {
    batches.push_back(point.batch);
    EXPECT_GT(point.p50, Duration::zero());
    EXPECT_GE(point.p99, point.p50);
  }
  EXPECT_EQ(batches, (std::vector<int>{1, 2, 4, 8}));
}

TEST_F(LoadRuntime, ATrustedVersionIsNotMeasuredAgain) {
  options_.trusted = true;
  options_.instances = 3;
  const auto runtime = load(version_of("good"));
  ASSERT_TRUE(runtime) << runtime.error().message;
  EXPECT_EQ(runtime->instances.size(), 3U);
  EXPECT_EQ(runtime->profile.size(), 4U) << "of the first run of each size";
}

TEST_F(LoadRuntime, VersionThatGivesItsReferencesServes) {
  EXPECT_TRUE(load(version_of("good", 1)));
  EXPECT_TRUE(load(version_of("good", 2))) << "two rows, input stored as bytes";
}

// Tells how large the batches are that are asked for.
class WatchedBackend final : public Backend {
 public:
  explicit WatchedBackend(std::unique_ptr<Backend> backend) : backend_(std::move(backend)) {}
  [[nodiscard]] std::string_view name() const noexcept override { return backend_->name(); }
  [[nodiscard]] std::string version() const override { return backend_->version(); }
  [[nodiscard]] Result<std::shared_ptr<const LoadedModel>> load(
      const ModelSource& source, const LoadOptions& options) override {
    batch_max.push_back(options.batch_max);
    return backend_->load(source, options);
  }
  std::vector<int> batch_max;

 private:
  std::unique_ptr<Backend> backend_;
};

// Some backends compile each batch size, which takes minutes.
TEST_F(LoadRuntime, ReferencesAskForNoLargerBatchesThanTheyHave) {
  WatchedBackend watched(std::move(backend_));
  options_.batch_max = 1;
  ASSERT_TRUE(load_runtime(watched, version_of("good", 1), options_));
  EXPECT_EQ(watched.batch_max, (std::vector<int>{1, 1}));
  watched.batch_max.clear();
  ASSERT_TRUE(load_runtime(watched, version_of("good", 2), options_));
  EXPECT_EQ(watched.batch_max, (std::vector<int>{2, 1})) << "a case has two rows";
  watched.batch_max.clear();
  options_.batch_max = 4;
  ASSERT_TRUE(load_runtime(watched, version_of("good", 2), options_));
  EXPECT_EQ(watched.batch_max, (std::vector<int>{4, 4}));
}

TEST_F(LoadRuntime, OneChangedWeightRefusesTheVersion) {
  const auto runtime = load(version_of("changed"));
  ASSERT_FALSE(runtime);
  EXPECT_EQ(runtime.error().kind, ErrorKind::invalid_input);
  for (const char* part :
       {"model 'changed' version 1", "reference/case_0", "output 'map'", "element", "0.01"}) {
    EXPECT_NE(runtime.error().message.find(part), std::string::npos) << runtime.error().message;
  }
}

// References are tensors; they are checked although the instances take images.
TEST_F(LoadRuntime, ReferencesAreCheckedBesideImagePreprocessing) {
  options_.inputs = {{.name = "image", .image = ImagePreprocess{}}};
  EXPECT_FALSE(load(version_of("changed")));
  const auto runtime = load(version_of("good"));
  ASSERT_TRUE(runtime) << runtime.error().message;
  const Image image(16, 16, PixelFormat::gray8, 7);
  const std::vector<InputData> inputs{ImageStack{{image.view(), image.view()}, {}}};
  BatchRun run(runtime->signature, runtime->output_bytes_max);
  run.add(inputs, 1);
  const auto times = run.run(*runtime->instances[0]);
  EXPECT_TRUE(times) << times.error().message;
}

TEST_F(LoadRuntime, OutputsWithoutFixedSizeTakeTheParametersRoom) {
  repository::ModelVersion version = version_of("dynamic");
  const auto runtime = load(version);
  ASSERT_TRUE(runtime) << runtime.error().message;
  EXPECT_EQ(runtime->output_bytes_max, std::vector<std::size_t>{4096});
  version.config.parameters = {{"output_bytes_max", "4 KiB"}};
  const auto refused = load(version);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("output_bytes_max is '4 KiB'"), std::string::npos);
  version.config.parameters.clear();
  EXPECT_EQ(load(version)->output_bytes_max, std::vector<std::size_t>{1 << 20});
}

TEST_F(LoadRuntime, SimulatedModelsTakeTheFilesSignature) {
  backend_ = make_backend("simulated").value();
  repository::ModelVersion version = version_of("good");
  version.reference_path.clear();
  const auto runtime = load(version);
  ASSERT_TRUE(runtime) << runtime.error().message;
  EXPECT_EQ(runtime->signature.outputs[0].shape, (Shape{4, 8, 8}));
}

// Refuses every model, and keeps what it was asked.
class AskedBackend final : public Backend {
 public:
  [[nodiscard]] std::string_view name() const noexcept override { return "asked"; }
  [[nodiscard]] std::string version() const override { return "1"; }
  [[nodiscard]] Result<std::shared_ptr<const LoadedModel>> load(
      const ModelSource& /*source*/, const LoadOptions& options) override {
    asked = options;
    return fail(ErrorKind::unavailable, "no");
  }
  LoadOptions asked;
};

TEST_F(LoadRuntime, TheBackendIsToldOfDeviceInputsAndTuning) {
  AskedBackend backend;
  repository::ModelVersion version = version_of("good");
  version.reference_path.clear();
  version.config.parameters = {{"cuda.precision", "fp16"}};
  const std::vector<std::byte> pool(64);
  options_.device = "cuda:1";
  options_.input_memory = {pool};
  options_.may_tune = false;
  EXPECT_FALSE(load_runtime(backend, version, options_));
  EXPECT_EQ(backend.asked.device, "cuda:1");
  ASSERT_EQ(backend.asked.input_memory.size(), 1U);
  EXPECT_EQ(backend.asked.input_memory[0].data(), pool.data());
  EXPECT_FALSE(backend.asked.may_tune);
  EXPECT_EQ(backend.asked.parameters, version.config.parameters);
}

// The proof opens one instance, but of what will serve.
TEST_F(LoadRuntime, AModelIsProvedAsItIsTunedForAllInstances) {
  AskedBackend backend;
  options_.instances = 3;
  EXPECT_FALSE(load_runtime(backend, version_of("good"), options_));
  EXPECT_EQ(backend.asked.instances, 1);
  EXPECT_EQ(backend.asked.tuned_instances, 3);
}

TEST_F(LoadRuntime, ModelIsNamedInWhatTheBackendSays) {
  options_.precision = "fp16";
  const auto runtime = load(version_of("good"));
  ASSERT_FALSE(runtime);
  EXPECT_TRUE(runtime.error().message.starts_with("model 'good' version "))
      << runtime.error().message;
}

}  // namespace
}  // namespace takt::worker
