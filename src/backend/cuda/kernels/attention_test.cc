// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/kernels/attention.h"

#include "backend/cuda/device_tests/step_cases.h"
#include "backend/cuda/kernels/compiler_fixture.h"
#include "backend/cuda/kernels/step_code.h"

#include <gtest/gtest.h>

#include <string>

namespace takt::cuda {
namespace {

constexpr auto kF16 = DataType::fp16;
constexpr auto kB16 = DataType::bf16;
constexpr auto kF32 = DataType::fp32;

bool refuses(const Step& step) {
  const Result<StepCode> code = step_code(step, "k");
  return !code && code.error().kind == ErrorKind::invalid_input && !code.error().message.empty();
}

Step step_named(const std::string& name) {
  for (StepCase& one : attention_cases(kF16)) {
    if (one.name == name) return std::move(one.step);
  }
  ADD_FAILURE() << "no case " << name;
  return {};
}

TEST(Attention, IsSupportedForSixteenBitsAndSizesOfTensorCores) {
  EXPECT_TRUE(attention_supported(kF16, {7, 5}, 64, 64));
  EXPECT_TRUE(attention_supported(kF16, {9, 0}, 16, 128));
  EXPECT_FALSE(attention_supported(kB16, {7, 5}, 64, 64));
  EXPECT_TRUE(attention_supported(kB16, {8, 0}, 40, 72));
  EXPECT_FALSE(attention_supported(kF32, {9, 0}, 64, 64));
  EXPECT_FALSE(attention_supported(kF16, {9, 0}, 8, 64));
  EXPECT_FALSE(attention_supported(kF16, {9, 0}, 136, 64));
  EXPECT_FALSE(attention_supported(kF16, {9, 0}, 64, 60));
}

TEST(Attention, IsOneKernelWithoutScratch) {
  const StepCode code = step_code(step_named("of a ViT"), "k").value();
  ASSERT_EQ(code.calls.size(), 1U);
  EXPECT_EQ(code.scratch_bytes, 0U);
  EXPECT_EQ(code.calls[0].operands.size(), 5U);
  EXPECT_EQ(code.calls[0].source.blocks, 2U * 3U * 4U) << "64 queries a block";
}

TEST(Attention, ReadsHeadsThatLieSideBySideSixteenBytesAtOnce) {
  const std::string text = step_code(step_named("of a ViT"), "k")->calls[0].source.text;
  for (const char* const width :
       {"kQueryWidth = 2u", "kKeyWidth = 8u", "kValueWidth = 8u", "kOutputWidth = 2u"}) {
    EXPECT_NE(text.find(width), std::string::npos) << width;
  }
}

TEST(Attention, RefusesWhatDoesNotFit) {
  const Step good = step_named("of Swin's shifted windows");
  EXPECT_FALSE(refuses(good));
  Step step = good;
  step.ops.back().arguments = {2, step.ops.back().arguments[0]};
  EXPECT_TRUE(refuses(step)) << "values times weights";
  step = good;
  step.ops[0].op = graph::MatMul{false, true};
  EXPECT_TRUE(refuses(step)) << "an operand that is transposed by its operator";
  step = good;
  step.ops[1].op = graph::Binary{graph::BinaryKind::sub};
  EXPECT_TRUE(refuses(step)) << "another operator";
  step = good;
  step.ops.end()[-2].op = graph::Softmax{2, false};
  EXPECT_TRUE(refuses(step)) << "softmax over the queries";
  step = good;
  step.inputs[3].strides[3] = 1;
  EXPECT_TRUE(refuses(step)) << "a factor of each key";
  step = good;
  step.inputs[4].shape[3] = 48;
  EXPECT_TRUE(refuses(step)) << "a bias of fewer keys";
  step = good;
  step.inputs[1].type = kF32;
  EXPECT_TRUE(refuses(step)) << "keys of 32 bits";
  step = good;
  step.outputs[0].view.type = DataType::int32;
  EXPECT_TRUE(refuses(step)) << "a result of integers";
  step = good;
  step.inputs.pop_back();
  EXPECT_TRUE(refuses(step)) << "a bias is missing";
  step = good;
  step.outputs[0].value -= 1;
  EXPECT_TRUE(refuses(step)) << "the weights";
}

TEST(Attention, EveryKernelCompilesForEveryCapabilityThatHasItsType) {
  TAKT_SKIP_COMPILING_WHERE_SANITIZED();
  expect_kernels_compile(attention_cases(kF16), {kCapabilityMin, {9, 0}});
  expect_kernels_compile(attention_cases(kB16), {{9, 0}});
}

}  // namespace
}  // namespace takt::cuda
