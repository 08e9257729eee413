// SPDX-License-Identifier: Apache-2.0
#include "app/compile_options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

namespace takt::app {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

TEST(CompileOptions, AreWhatTheArgumentsSay) {
  CompileArguments arguments;
  arguments.device = "cuda:3";
  arguments.precision = "bf16";
  arguments.batches = {32, 1, 8, 1};
  arguments.workspace = "64MiB";
  arguments.effort = "max";
  arguments.instances = 8;
  arguments.inputs = {"images=1x3x640x640", "a=b=7"};
  arguments.dimensions = {"height=640"};
  arguments.cache = "/cache";
  const Result<cuda::CompileOptions> options = compile_options(arguments);
  ASSERT_TRUE(options) << options.error().message;
  EXPECT_EQ(options->device, 3);
  EXPECT_EQ(options->precision, cuda::Precision::bf16);
  EXPECT_EQ(options->effort, cuda::Effort::max);
  EXPECT_EQ(options->instances, 8);
  EXPECT_EQ(options->workspace_bytes, std::size_t{64} << 20);
  EXPECT_THAT(options->batches, ElementsAre(1, 8, 32));
  EXPECT_THAT(options->input_shapes,
              ElementsAre(Pair("a=b", Shape{7}), Pair("images", Shape{1, 3, 640, 640})));
  EXPECT_THAT(options->dimensions, ElementsAre(Pair("height", 640)));
  EXPECT_EQ(options->cache_dir, "/cache/plans");
}

TEST(CompileOptions, HaveDefaults) {
  const Result<cuda::CompileOptions> options = compile_options({});
  ASSERT_TRUE(options) << options.error().message;
  EXPECT_EQ(options->device, 0);
  EXPECT_EQ(options->precision, cuda::Precision::fp16);
  EXPECT_EQ(options->instances, 2);  // as many as a GPU has lanes by default
  EXPECT_EQ(options->workspace_bytes, std::size_t{1} << 30);
}

struct Wrong {
  const char* what;
  std::function<void(CompileArguments&)> change;
  const char* message;
};

class WrongArguments : public ::testing::TestWithParam<Wrong> {};

TEST_P(WrongArguments, AreRefusedWithAWayOut) {
  CompileArguments arguments;
  GetParam().change(arguments);
  const Result<cuda::CompileOptions> options = compile_options(arguments);
  ASSERT_FALSE(options);
  EXPECT_EQ(options.error().kind, ErrorKind::invalid_input);
  EXPECT_THAT(options.error().message, HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    Compile, WrongArguments,
    ::testing::Values(
        Wrong{"Precision", [](CompileArguments& a) { a.precision = "fp61"; },
              "compile: --precision: 'fp61' is unknown; did you mean 'fp16'?"},
        Wrong{"Effort", [](CompileArguments& a) { a.effort = "maximum"; },
              "compile: --effort: 'maximum' is unknown"},
        Wrong{"Instances", [](CompileArguments& a) { a.instances = 0; },
              "compile: --instances: 0 is no number of instances; expected 1 to 64"},
        Wrong{"ManyInstances", [](CompileArguments& a) { a.instances = 65; }, "expected 1 to 64"},
        Wrong{"Device", [](CompileArguments& a) { a.device = "gpu0"; }, "expected cuda:N"},
        Wrong{"DeviceNumber", [](CompileArguments& a) { a.device = "cuda:-1"; }, "expected cuda:N"},
        Wrong{"Workspace", [](CompileArguments& a) { a.workspace = "1GB"; },
              "compile: --workspace: '1GB'"},
        Wrong{"Batch", [](CompileArguments& a) { a.batches = {8, 0}; },
              "compile: --batch: 0 is no batch size"},
        Wrong{"InputName", [](CompileArguments& a) { a.inputs = {"1x3x640"}; },
              "compile: --input: '1x3x640' names nothing; expected images=1x3x640x640"},
        Wrong{"InputShape", [](CompileArguments& a) { a.inputs = {"images=1x0x640"}; },
              "'images=1x0x640' has no sizes"},
        Wrong{"InputEnd", [](CompileArguments& a) { a.inputs = {"images=1x"}; }, "has no sizes"},
        Wrong{"InputTwice", [](CompileArguments& a) { a.inputs = {"images=1", "images=2"}; },
              "compile: --input: 'images' is given twice"},
        Wrong{"Dimension",
              [](CompileArguments& a) { a.dimensions = {"height=99999999999999999999"}; },
              "compile: --dimension: "}),
    [](const auto& each) { return each.param.what; });

}  // namespace
}  // namespace takt::app
