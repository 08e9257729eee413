// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/kernels/step_code.h"

#include "backend/cuda/device_tests/step_cases.h"
#include "backend/cuda/kernels/compiler_fixture.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>

namespace takt::cuda {
namespace {

using graph::Unary;
using graph::UnaryKind;

constexpr auto kF16 = DataType::fp16;
constexpr auto kF32 = DataType::fp32;

bool refuses(const Step& step) {
  const Result<StepCode> code = step_code(step, "k");
  return !code && code.error().kind == ErrorKind::invalid_input && !code.error().message.empty();
}

TEST(StepCode, NothingToComputeIsNoKernel) {
  const StepCode code =
      step_code(single_step(graph::Softmax{1, false}, {{kF16, {0, 8}, {}}}, kF16, {}), "k").value();
  EXPECT_TRUE(code.calls.empty());
}

TEST(StepCode, GroupNormOfChannelsSideBySideTakesTwoKernelsAndScratch) {
  const std::vector<Stored> inputs{
      {kF16, {1, 64, 40, 40}, channels_innermost(4)}, {kF32, {64}, {}}, {kF32, {64}, {}}};
  const Step step = single_step(graph::GroupNorm{8, 1e-5}, inputs, kF16, channels_innermost(4));
  const StepCode code = step_code(step, "k").value();
  ASSERT_EQ(code.calls.size(), 2U);
  EXPECT_EQ(code.calls[0].operands.back().kind, OperandKind::scratch);
  EXPECT_EQ(code.scratch_bytes % (8 * 2 * sizeof(float)), 0U) << "a mean and squares of each group";
  EXPECT_GT(code.calls[0].source.blocks, 1U);
}

TEST(StepCode, RefusesWhatDoesNotFit) {
  const Step good = single_step(graph::Softmax{1, false}, {{kF16, {4, 8}, {}}}, kF16, {});
  EXPECT_FALSE(refuses(good));
  Step step = good;
  step.outputs[0].view.shape = {4, 7};
  EXPECT_TRUE(refuses(step)) << "the output's shape";
  step = good;
  step.inputs[0].strides = {8, -1};
  EXPECT_TRUE(refuses(step)) << "a negative stride";
  step = good;
  step.inputs[0].shape = {std::int64_t{1} << 20, std::int64_t{1} << 20};
  step.outputs[0].view.shape = step.inputs[0].shape;
  EXPECT_TRUE(refuses(step)) << "more elements than kernels count";
  step = good;
  step.ops[0].arguments = {3};
  EXPECT_TRUE(refuses(step)) << "an input that there isn't";
  step = good;
  step.outputs.clear();
  EXPECT_TRUE(refuses(step)) << "no output";
  step = good;
  step.ops[0].op = graph::Quantize{DataType::uint8, 1};
  EXPECT_TRUE(refuses(step)) << "an operator without a kernel";
}

TEST(StepCode, RefusesChainsThatDoNotFit) {
  const Unary relu{UnaryKind::relu, 0, 0};
  const Step good = chain_step(StepKind::pointwise, {{kF16, {4, 8}, {}}}, {{relu, {0}}}, kF16, {});
  EXPECT_FALSE(refuses(good));
  Step step = good;
  step.inputs[0].shape = {8};
  step.inputs[0].strides = {1};
  EXPECT_TRUE(refuses(step)) << "an input that isn't broadcast";
  step = good;
  step.ops[0].arguments = {1};
  EXPECT_TRUE(refuses(step)) << "a value that isn't there yet";
  step = good;
  step.outputs[0].value = 2;
  EXPECT_TRUE(refuses(step)) << "an output of no value";
  step = good;
  step.ops[0].op = graph::Transpose{{1, 0}};
  EXPECT_TRUE(refuses(step)) << "an operator that isn't element-wise";
}

TEST(StepCode, TheMeanOfADistributionIsOneKernel) {
  graph::Window window{{1, 1}, {1, 1}, {1, 1}, {0, 0}, {0, 0}};
  const Step good =
      chain_step(StepKind::single, {{kF16, {2, 16, 4, 9}, {}}, {kF32, {1, 16, 1, 1}, {}}},
                 {{graph::Softmax{1, false}, {0}}, {graph::Conv{window, 1}, {2, 1}}}, kF32, {});
  EXPECT_EQ(step_code(good, "k")->calls.size(), 1U);
  Step step = good;
  step.ops[0].op = graph::Softmax{1, true};
  EXPECT_TRUE(refuses(step)) << "a logarithm";
  step = good;
  step.ops[0].op = graph::Softmax{2, false};
  EXPECT_TRUE(refuses(step)) << "another dimension";
  step = good;
  step.ops[1].arguments = {1, 2};
  EXPECT_TRUE(refuses(step)) << "other arguments";
  step = good;
  window.strides = {3, 8};
  window.pads_end = {9, 63};  // of as many pixels, but not those
  step.ops[1].op = graph::Conv{window, 1};
  EXPECT_TRUE(refuses(step)) << "other pixels";
  step = good;
  step.inputs[1].shape[1] = 8;
  EXPECT_TRUE(refuses(step)) << "too few weights";
  step = good;
  step.outputs[0].value = 2;
  EXPECT_TRUE(refuses(step)) << "the distribution itself";
}

TEST(StepCode, EveryKernelCompilesForEveryCapability) {
  TAKT_SKIP_COMPILING_WHERE_SANITIZED();
  expect_kernels_compile(other_cases(), {kCapabilityMin, {9, 0}});
}

}  // namespace
}  // namespace takt::cuda
