// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/kernels/compiler_fixture.h"
#include "backend/cuda/kernels/step_code.h"
#include "graph/graph.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

namespace takt::cuda {
namespace {

using testing::HasSubstr;

constexpr auto kF32 = DataType::fp32;
constexpr auto kI64 = DataType::int64;

View dense_view(DataType type, const Shape& shape) {
  return {0, 0, type, shape, dense_strides(shape)};
}

Step top_k(const graph::TopK& op, DataType type, const Shape& shape) {
  Shape kept = shape;
  kept[static_cast<std::size_t>(op.axis)] = op.k;
  const View values = dense_view(type, kept);
  const View indices = dense_view(kI64, kept);
  return {"step",
          StepKind::single,
          {dense_view(type, shape)},
          {{op, {0}, {{type, kept}, {kI64, kept}}}},
          {{1, values}, {2, indices}}};
}

Step suppression(const graph::NonMaxSuppression& op, DataType type, const Shape& scores) {
  const Shape rows{scores[0] * scores[1] * std::min(op.boxes_max, scores[2]), 3};
  return {"step",
          StepKind::single,
          {dense_view(type, {scores[0], scores[2], 4}), dense_view(type, scores)},
          {{op, {0, 1}, {{kI64, rows}}}},
          {{2, dense_view(kI64, rows)}}};
}

StepCode code_of(const Step& step, const std::string& name = "step") {
  const auto code = selection_code(step, name);
  EXPECT_TRUE(code) << code.error().message;
  return code ? *code : StepCode{};
}

TEST(Selection, ShortLanesAreSortedByOneKernelWithoutScratchMemory) {
  const StepCode code = code_of(top_k({5, 1, true, true}, kF32, {16, 1000}));
  ASSERT_EQ(code.calls.size(), 1U);
  EXPECT_EQ(code.calls[0].source.blocks, 16U);
  EXPECT_EQ(code.scratch_bytes, 0U);
}

TEST(Selection, LongLanesAreCutToWhatABlockSorts) {
  const StepCode code = code_of(top_k({300, 1, true, true}, kF32, {2, 8400}));
  ASSERT_EQ(code.calls.size(), 2U);
  EXPECT_EQ(code.calls[0].source.blocks, 2U * 5);
  EXPECT_EQ(code.calls[1].source.blocks, 2U);
  EXPECT_GE(code.scratch_bytes, 2U * 5 * 300 * 8);
}

TEST(Selection, WhatIsTooManyForABlockIsMerged) {
  // Five runs, three merges, and what writes the outputs.
  EXPECT_EQ(code_of(top_k({5000, 1, true, true}, kF32, {2, 8400})).calls.size(), 1U + 3 + 1);
}

TEST(Selection, AnOutputThatNobodyNeedsIsNotWritten) {
  Step step = top_k({5, 1, true, true}, kF32, {16, 1000});
  step.outputs.erase(step.outputs.begin());
  const StepCode code = code_of(step);
  ASSERT_EQ(code.calls.size(), 1U);
  EXPECT_EQ(code.calls[0].operands.size(), 2U);
}

TEST(Selection, NothingToSelectNeedsNoKernel) {
  EXPECT_TRUE(code_of(top_k({0, 1, true, true}, kF32, {16, 1000})).calls.empty());
  EXPECT_TRUE(code_of(suppression({0, 0.5F, 0, false, false}, kF32, {1, 2, 9})).calls.empty());
  EXPECT_TRUE(code_of(suppression({5, 0.5F, 0, false, false}, kF32, {1, 2, 0})).calls.empty());
}

TEST(Selection, EachClassOfAnImageHasABlock) {
  const StepCode code = code_of(suppression({300, 0.45F, 0.25F, true, false}, kF32, {2, 80, 8400}));
  ASSERT_EQ(code.calls.size(), 2U);
  for (const KernelCall& call : code.calls) EXPECT_EQ(call.source.blocks, 160U);
  EXPECT_GE(code.scratch_bytes, 160U * 301 * 4);
}

TEST(Selection, ScoresInDoubleAreRefused) {
  const auto code =
      selection_code(suppression({5, 0.5F, 0, false, false}, DataType::fp64, {1, 2, 9}), "step");
  ASSERT_FALSE(code);
  EXPECT_THAT(code.error().message, HasSubstr("expected FP32 or FP16"));
}

class SelectionFor : public testing::TestWithParam<ComputeCapability> {};

TEST_P(SelectionFor, EveryKernelCompiles) {
  TAKT_SKIP_COMPILING_WHERE_SANITIZED();
  const auto nvrtc = project_compiler();
  ASSERT_TRUE(nvrtc) << nvrtc.error().message;
  std::string source = "#include <takt_kernel.h>\n";
  int steps = 0;
  const auto add = [&](const Step& step) {
    const StepCode code = code_of(step, "k" + std::to_string(steps++));
    for (const KernelCall& call : code.calls) source += call.source.text;
  };
  for (const DataType type :
       {kF32, DataType::fp16, DataType::fp64, DataType::int8, DataType::uint16, DataType::int64,
        DataType::uint64, DataType::boolean}) {
    add(top_k({3, 1, true, true}, type, {2, 10, 3}));
    add(top_k({300, 1, false, true}, type, {2, 5000}));
    add(top_k({3000, 1, true, true}, type, {2, 5000}));
  }
  for (const DataType type : {kF32, DataType::fp16, DataType::bf16}) {
    for (const bool centers : {false, true}) {
      add(suppression({300, 0.45F, 0.25F, true, centers}, type, {2, 80, 8400}));
      add(suppression({300, 0.45F, 0.25F, false, centers}, type, {1, 1, 5}));
    }
  }
  const auto cubin = nvrtc->compile(source, "selection.cu", GetParam());
  ASSERT_TRUE(cubin) << cubin.error().message;
}

INSTANTIATE_TEST_SUITE_P(Capabilities, SelectionFor,
                         testing::Values(ComputeCapability{7, 5}, ComputeCapability{9, 0}),
                         [](const auto& tested) {
                           return "sm_" + std::to_string(tested.param.major) +
                                  std::to_string(tested.param.minor);
                         });

}  // namespace
}  // namespace takt::cuda
