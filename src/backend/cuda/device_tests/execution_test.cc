// SPDX-License-Identifier: Apache-2.0
// A model compiled for the device: its programs and graphs, and the plan file that keeps what was found out.
#include "backend/cuda/device_tests/backend_fixture.h"
#include "backend/cuda/run/compile_model.h"
#include "backend/cuda/run/compiled_model.h"
#include "backend/cuda/run/planned_build.h"

#include <gmock/gmock.h>

#include <fstream>
#include <iterator>
#include <set>
#include <utility>

namespace takt::cuda {
namespace {

namespace fs = std::filesystem;
using conformance::conv_net;
using conformance::Request;
using testing::HasSubstr;

class GpuExecution : public GpuBackendTest {
 protected:
  void SetUp() override {
    GpuBackendTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    Result<OpenedDevice> opened = open_device(
        library_search(folders_of_environment(), fs::read_symlink("/proc/self/exe")), 0);
    TAKT_ASSERT_OK(opened);
    device_ = std::make_shared<const OpenedDevice>(*std::move(opened));
    options_.batches = {1, 4};
    options_.input_shapes = {{"image", {2, 16, 16}}};
    options_.tuning.effort = Effort::fast;
    use_ = {folder_ / "conv_net.taktplan", {}, "conv_net", kTestVersion};
  }

  [[nodiscard]] Result<PlannedModel> build() const {
    return build_with_plan(device_, onnx_, options_, use_, {});
  }
  // With a plan of this process, because tuning takes most of a test's time: the first test that asks makes it.
  void start_with_a_plan() const {
    const fs::path shared = plans_of_this_process() / "execution_test.taktplan";
    if (!fs::exists(shared)) {
      TAKT_ASSERT_OK(build_with_plan(device_, onnx_, options_,
                                     {shared, {}, use_.model_name, use_.takt_version}, {}));
    }
    ASSERT_TRUE(fs::copy_file(shared, use_.file));
  }
  // What the model computes of a request with a tensor, at a batch size of its own.
  [[nodiscard]] Result<void> execute(const Execution& execution, std::int64_t batch,
                                     Request& request) const {
    const auto scope = device_->context->enter();
    if (!scope) return std::unexpected(scope.error());
    const auto& tensor = std::get<TensorView>(request.inputs[0]);
    Result<void> done = copy_to_device(execution.room().input(0), tensor.bytes, execution.stream());
    if (done) done = execution.launch(batch);
    for (std::size_t i = 0; done && i < request.outputs.size(); ++i) {
      OutputBuffer& output = request.outputs[i];
      const DeviceSpan from{execution.room().output(i).address, output.room.size()};
      done = copy_to_host(output.room, from, execution.stream());
      output.shape = conv_net().outputs[i].shape;
      output.shape.insert(output.shape.begin(), request.rows);
      output.bytes_used = output.room.size();
    }
    if (done) done = execution.stream().synchronize();
    return done;
  }
  void expect_right(const PlannedModel& planned) const {
    const Result<Execution> execution = Execution::open(planned.model);
    TAKT_ASSERT_OK(execution);
    for (const std::int64_t batch : options_.batches) {
      Request request = conformance::make_request({conv_net().inputs, conv_net().outputs, 8},
                                                  static_cast<std::uint64_t>(batch), batch);
      TAKT_ASSERT_OK(execute(*execution, batch, request));
      const auto expected = reference_of(conv_net(), request);
      TAKT_ASSERT_OK(expected);
      expect_outputs(request, *expected, 1e-4);
    }
  }

  std::shared_ptr<const OpenedDevice> device_;
  fs::path onnx_ = conformance::model_file("conv_net");
  ModelOptions options_;
  PlanUse use_;
};

TEST_F(GpuExecution, EachBatchSizeGivesWhatTheGraphGives) {
  start_with_a_plan();
  const Result<PlannedModel> planned = build();
  TAKT_ASSERT_OK(planned);
  expect_right(*planned);
}

TEST_F(GpuExecution, TheSmallestProgramThatHasTheRowsIsTaken) {
  start_with_a_plan();
  const Result<PlannedModel> planned = build();
  TAKT_ASSERT_OK(planned);
  const CompiledModel& model = *planned->model;
  const auto* const one = &model.programs().at(1);
  const auto* const four = &model.programs().at(4);
  EXPECT_EQ(model.program_for(1), one);
  EXPECT_EQ(model.program_for(2), four);
  EXPECT_EQ(model.program_for(4), four);
  EXPECT_EQ(model.program_for(5), nullptr);
}

TEST_F(GpuExecution, WeightsOfSeveralBatchSizesLieThereOnce) {
  start_with_a_plan();
  const Result<PlannedModel> two = build();
  TAKT_ASSERT_OK(two);
  options_.batches = {4};
  const Result<PlannedModel> one = build();
  TAKT_ASSERT_OK(one);
  EXPECT_EQ(two->model->weights_bytes(), one->model->weights_bytes());
}

TEST_F(GpuExecution, ABatchSizeThatIsNotReadyIsRefused) {
  start_with_a_plan();
  const Result<PlannedModel> planned = build();
  TAKT_ASSERT_OK(planned);
  const Result<Execution> execution = Execution::open(planned->model);
  TAKT_ASSERT_OK(execution);
  expect_error(execution->launch(3), ErrorKind::internal, {"batch size 3"});
}

TEST_F(GpuExecution, WhatTheFirstBuildTunedTheSecondReuses) {
  const Result<PlannedModel> first = build();
  TAKT_ASSERT_OK(first);
  EXPECT_GT(first->model->tuning().tuned, 0);
  EXPECT_EQ(first->remade, "");
  EXPECT_TRUE(fs::exists(use_.file));
  const Result<PlannedModel> second = build();
  TAKT_ASSERT_OK(second);
  EXPECT_EQ(second->model->tuning().tuned, 0);
  EXPECT_GT(second->model->tuning().reused, 0);
  EXPECT_EQ(second->remade, "");
  expect_right(*second);
}

TEST_F(GpuExecution, WithAPlanNothingNeedsToBeTuned) {
  start_with_a_plan();
  options_.tuning.may_tune = false;
  const Result<PlannedModel> planned = build();
  TAKT_ASSERT_OK(planned);
  expect_right(*planned);
}

TEST_F(GpuExecution, WaysAreTunedForAsManyInstancesAsRunBesideEachOther) {
  TAKT_ASSERT_OK(build());
  options_.tuning.concurrent = 2;
  const Result<PlannedModel> two = build();
  TAKT_ASSERT_OK(two);
  EXPECT_GT(two->model->tuning().tuned, 0);
  EXPECT_EQ(two->remade, "");
  expect_right(*two);
  for (const int concurrent : {1, 2}) {
    options_.tuning.concurrent = concurrent;
    const Result<PlannedModel> again = build();
    TAKT_ASSERT_OK(again);
    EXPECT_EQ(again->model->tuning().tuned, 0) << concurrent;
  }
}

TEST_F(GpuExecution, APlanForAnotherNumberOfInstancesDoesWhereNothingMayBeTuned) {
  const std::pair<int, int> cases[] = {{1, 3}, {3, 1}};
  for (const auto& [tuned_for, wanted] : cases) {
    fs::remove(use_.file);
    options_.tuning.may_tune = true;
    options_.tuning.concurrent = tuned_for;
    TAKT_ASSERT_OK(build());
    options_.tuning.may_tune = false;
    options_.tuning.concurrent = wanted;
    const Result<PlannedModel> planned = build();
    TAKT_ASSERT_OK(planned);
    expect_right(*planned);
  }
}

// Times and code of other conditions are not used, and a person can read why.
TEST_F(GpuExecution, APlanMadeUnderOtherConditionsIsMadeAgainAndSaysWhy) {
  start_with_a_plan();
  use_.takt_version = "0.0.1";
  const Result<PlannedModel> planned = build();
  TAKT_ASSERT_OK(planned);
  EXPECT_THAT(planned->remade, HasSubstr(kTestVersion));
  EXPECT_THAT(planned->remade, HasSubstr("0.0.1"));
  EXPECT_GT(planned->model->tuning().tuned, 0);
  const Result<PlannedModel> again = build();
  TAKT_ASSERT_OK(again);
  EXPECT_EQ(again->remade, "");
  EXPECT_EQ(again->model->tuning().tuned, 0);
}

TEST_F(GpuExecution, APlanThatDoesNotFitIsRefusedWhereNothingMayBeTuned) {
  start_with_a_plan();
  options_.tuning.may_tune = false;
  options_.precision = Precision::fp16;
  expect_error(without_value(build()), ErrorKind::unavailable,
               {use_.file.string(), "precision", "fp16", "takt compile"});
}

TEST_F(GpuExecution, ADamagedPlanIsMadeAgain) {
  start_with_a_plan();
  {
    std::fstream file(use_.file, std::ios::binary | std::ios::in | std::ios::out);
    file.seekp(static_cast<std::streamoff>(fs::file_size(use_.file) / 2));
    file.write("damaged!", 8);
  }
  const Result<PlannedModel> planned = build();
  TAKT_ASSERT_OK(planned);
  EXPECT_THAT(planned->remade, HasSubstr(use_.file.string()));
  EXPECT_GT(planned->model->tuning().tuned, 0);
  expect_right(*planned);
  const Result<PlannedModel> again = build();
  TAKT_ASSERT_OK(again);
  EXPECT_EQ(again->remade, "");
}

TEST_F(GpuExecution, ATruncatedPlanIsMadeAgain) {
  start_with_a_plan();
  fs::resize_file(use_.file, fs::file_size(use_.file) - 1);
  const Result<PlannedModel> planned = build();
  TAKT_ASSERT_OK(planned);
  EXPECT_NE(planned->remade, "");
  expect_right(*planned);
}

TEST_F(GpuExecution, WhatIsKnownIsWrittenBeforeAllIs) {
  use_.write_every = {};
  bool was_there = false;
  const auto look = [&](std::string_view, int, int) {
    was_there = was_there || fs::exists(use_.file);
  };
  const auto planned = build_with_plan(device_, onnx_, options_, use_, look);
  TAKT_ASSERT_OK(planned);
  EXPECT_TRUE(was_there);
  expect_right(*planned);
}

TEST_F(GpuExecution, WithoutAFolderNoPlanIsWritten) {
  use_.file.clear();
  const Result<PlannedModel> planned = build();
  TAKT_ASSERT_OK(planned);
  EXPECT_TRUE(planned->file.empty());
  EXPECT_TRUE(fs::is_empty(folder_));
}

class Stages final : public CompileObserver {
 public:
  void progress(std::string_view stage, int done, int total) override {
    stages.emplace(stage);
    if (done < 0 || done > total) ++wrong;
  }
  std::set<std::string> stages;
  int wrong = 0;
};

class GpuCompile : public GpuBackendTest {
 protected:
  void SetUp() override {
    GpuBackendTest::SetUp();
    options_.precision = Precision::fp32;
    options_.batches = {1, 2};
    options_.effort = Effort::fast;
    options_.cache_dir = folder_;
    options_.takt_version = kTestVersion;
  }

  CompileOptions options_;
  Stages observer_;
};

TEST_F(GpuCompile, AModelIsCompiledMeasuredAndKept) {
  const Result<CompileReport> report =
      compile_model(conformance::model_file("conv_net"), options_, observer_);
  TAKT_ASSERT_OK(report);
  EXPECT_EQ(report->device, gpu_->device.name);
  EXPECT_TRUE(fs::exists(report->plan));
  EXPECT_GT(report->tuned_steps, 0);
  ASSERT_EQ(report->batches.size(), 2U);
  for (std::size_t i = 0; i < 2; ++i) {
    const BatchReport& batch = report->batches[i];
    EXPECT_EQ(batch.batch, options_.batches[i]);
    EXPECT_GT(batch.latency_p50, Duration{});
    EXPECT_GT(batch.weights_bytes, 0U);
    ASSERT_GE(batch.layers.size(), 4U);  // three convolutions and a product
    double share = 0;
    for (const LayerReport& layer : batch.layers) {
      EXPECT_NE(layer.name, "");
      EXPECT_NE(layer.implementation, "");
      EXPECT_GT(layer.microseconds, 0);
      EXPECT_GT(layer.bytes, 0);
      share += layer.share;
    }
    EXPECT_NEAR(share, 1, 1e-6);
  }
  EXPECT_EQ(observer_.wrong, 0);
  EXPECT_TRUE(observer_.stages.contains("measuring"));
  EXPECT_TRUE(observer_.stages.contains("tuning at batch size 2"));

  const Result<CompileReport> again =
      compile_model(conformance::model_file("conv_net"), options_, observer_);
  TAKT_ASSERT_OK(again);
  EXPECT_EQ(again->tuned_steps, 0);
  EXPECT_GT(again->reused_steps, 0);
}

// What `takt compile` is for.
TEST_F(GpuCompile, ItsPlanServesALoadThatMayNotTune) {
  TAKT_ASSERT_OK(compile_model(conformance::model_file("conv_net"), options_, observer_));
  LoadOptions options = options_of(conv_net());
  options.batch_max = 2;
  options.cache_dir = folder_;
  options.parameters.emplace_back("cuda.tune", "false");
  TAKT_ASSERT_OK(load("conv_net", options));
}

TEST_F(GpuCompile, AFileThatIsNoModelIsRefused) {
  expect_error(
      without_value(compile_model(conformance::model_file("garbage"), options_, observer_)),
      ErrorKind::invalid_input, {"garbage.onnx"});
}

}  // namespace
}  // namespace takt::cuda
