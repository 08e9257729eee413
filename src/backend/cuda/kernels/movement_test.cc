// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/kernels/compiler_fixture.h"
#include "backend/cuda/kernels/movement_kernel.h"
#include "backend/cuda/kernels/step_code.h"
#include "graph/graph.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace takt::cuda {
namespace {

using graph::PadMode;
using testing::HasSubstr;

constexpr auto kF16 = DataType::fp16;
constexpr auto kF32 = DataType::fp32;

View dense_view(DataType type, const Shape& shape) {
  return {0, 0, type, shape, dense_strides(shape)};
}

// NHWC, of an NCHW shape.
View channels_last(DataType type, const Shape& nchw) {
  return {0, 0, type, nchw, {nchw[1] * nchw[2] * nchw[3], 1, nchw[3] * nchw[1], nchw[1]}};
}

Step step_of(graph::Operator op, std::vector<View> inputs, const View& output) {
  Step step{"step", StepKind::single, std::move(inputs), {}, {}};
  const auto value = static_cast<int>(step.inputs.size());
  step.ops.push_back({std::move(op), {}, {{output.type, output.shape}}});
  for (int i = 0; i < value; ++i) step.ops[0].arguments.push_back(i);
  step.outputs.push_back({value, output});
  return step;
}

TEST(Movement, ThreePlanesBecomePixelsOfSixteenBytes) {
  const Step pad = step_of(graph::Pad{{0, 0, 0, 0}, {0, 5, 0, 0}, PadMode::constant, 0},
                           {dense_view(kF32, {1, 3, 64, 80})}, channels_last(kF16, {1, 8, 64, 80}));
  const auto code = movement_code(pad, "pad");
  ASSERT_TRUE(code) << code.error().message;
  ASSERT_EQ(code->calls.size(), 1U);
  EXPECT_EQ(code->calls[0].source.blocks, 64U * 80 / kMovementThreads) << "a thread for each pixel";
  EXPECT_EQ(code->scratch_bytes, 0U);
}

TEST(Movement, IsAsWideAsBothSidesAllow) {
  const Target target = target_of(channels_last(kF16, {2, 16, 5, 6}));
  EXPECT_EQ(access_width(target, kF16, Neighbours{{480, 96, 16}, 256}).elements, 8);
  EXPECT_TRUE(access_width(target, kF16, Neighbours{{480, 96, 16}, 256}).reads_together);
  EXPECT_EQ(access_width(target, kF16, Neighbours{{480, 96, 20}, 256}).elements, 4);
  const AccessWidth apart = access_width(target, kF16, Neighbours{{480, 96, 15}, 256});
  EXPECT_EQ(apart.elements, 8) << "written together all the same";
  EXPECT_FALSE(apart.reads_together);
  EXPECT_EQ(access_width(target_of(channels_last(kF16, {2, 3, 5, 6})), kF16, {}).elements, 1);
}

TEST(Movement, OffsetsHave64BitsOnlyWhereTheyNeedThem) {
  const IndexTerm small{"i0", 1000, 2000};
  const IndexTerm large{"i1", 3000, 1000000};
  EXPECT_EQ(offset_text(5, std::vector{small}), "5 + static_cast<int>(i0) * 2000");
  EXPECT_EQ(offset_text(5, std::vector{small, large}), "5ll + i0 * 2000ll + i1 * 1000000ll");
}

TEST(Movement, InputsAreJoinedByAKernelEachAndEmptyOnesByNone) {
  const Step concat = step_of(
      graph::Concat{1},
      {dense_view(kF32, {1, 2, 4}), dense_view(kF32, {1, 0, 4}), dense_view(kF16, {1, 3, 4})},
      dense_view(kF32, {1, 5, 4}));
  const auto code = movement_code(concat, "concat");
  ASSERT_TRUE(code) << code.error().message;
  ASSERT_EQ(code->calls.size(), 2U);
  EXPECT_NE(code->calls[0].source.name, code->calls[1].source.name);
  EXPECT_EQ(code->calls[1].operands[0].index, 2);
}

TEST(Movement, WhatIsEmptyNeedsNoKernel) {
  const Step slice = step_of(graph::Slice{{0, 0}, {1, 1}, {0, 4}}, {dense_view(kF32, {3, 4})},
                             dense_view(kF32, {0, 4}));
  const auto code = movement_code(slice, "slice");
  ASSERT_TRUE(code) << code.error().message;
  EXPECT_TRUE(code->calls.empty());
}

void expect_refused(const Step& step, const std::string& part) {
  const auto code = movement_code(step, "step");
  ASSERT_FALSE(code);
  EXPECT_EQ(code.error().kind, ErrorKind::invalid_input);
  EXPECT_THAT(code.error().message, HasSubstr(part));
}

TEST(Movement, StepsThatDoNotFitTheirViewsAreRefused) {
  const View x = dense_view(kF32, {3, 4});
  const Step good = step_of(graph::Transpose{{1, 0}}, {x}, dense_view(kF32, {4, 3}));
  ASSERT_TRUE(movement_code(good, "step"));
  Step bad = good;
  bad.outputs[0].view = x;
  expect_refused(bad, "expected FP32[4,3]");
  bad = good;
  bad.outputs[0].view.type = DataType::int32;
  expect_refused(bad, "INT32");
  bad = good;
  bad.outputs[0].view.strides = {0, 1};
  expect_refused(bad, "can't be written");
  bad = good;
  bad.inputs[0].strides.pop_back();
  expect_refused(bad, "a stride for each dimension");
  bad = good;
  bad.ops[0].arguments = {1};
  expect_refused(bad, "argument 1");
  bad = good;
  bad.outputs[0].value = 5;
  expect_refused(bad, "value 5");
  expect_refused(
      step_of(graph::Gather{0}, {dense_view(kF32, {0, 4}), dense_view(DataType::int64, {2})},
              dense_view(kF32, {2, 4})),
      "no element that an index could name");
  expect_refused(step_of(graph::Unary{graph::UnaryKind::relu}, {x}, x), "moves no elements");
  expect_refused(step_of(graph::Reshape{{1 << 16, 1 << 16}}, {dense_view(kF16, {1 << 16, 1 << 16})},
                         dense_view(kF16, {1 << 16, 1 << 16})),
                 "smaller batches");
}

class MovementFor : public testing::TestWithParam<ComputeCapability> {};

TEST_P(MovementFor, EveryKernelCompiles) {
  TAKT_SKIP_COMPILING_WHERE_SANITIZED();
  const auto nvrtc = project_compiler();
  ASSERT_TRUE(nvrtc) << nvrtc.error().message;
  std::string source = "#include <takt_kernel.h>\n";
  int steps = 0;
  const auto add = [&](const graph::Operator& op, const std::vector<View>& inputs,
                       const View& output) {
    const auto code = movement_code(step_of(op, inputs, output), "k" + std::to_string(steps++));
    ASSERT_TRUE(code) << graph::describe(op) << ": " << code.error().message;
    for (const KernelCall& call : code->calls) source += call.source.text;
  };
  const Shape shape{2, 16, 4, 6};
  const View indices = dense_view(DataType::int64, {3});
  const View places = dense_view(DataType::int32, {2, 3});
  for (const DataType type : {kF32, kF16, DataType::bf16, DataType::fp64, DataType::int8,
                              DataType::int64, DataType::uint32, DataType::boolean}) {
    const DataType to = is_floating(type) ? kF16 : type;
    const View x = channels_last(type, shape);
    for (const auto mode : {PadMode::constant, PadMode::reflect, PadMode::edge, PadMode::wrap}) {
      add(graph::Pad{{0, 0, 1, 2}, {0, 0, 1, 2}, mode, 1.5}, {x},
          channels_last(to, {2, 16, 6, 10}));
      add(graph::Pad{{0, 1, 0, 0}, {0, 7, 0, 0}, mode, 1e30}, {x},
          channels_last(to, {2, 24, 4, 6}));
    }
    add(graph::Slice{{1, 15, 0, 5}, {-1, -2, 1, -1}, {2, 8, 4, 6}}, {x},
        channels_last(to, {2, 8, 4, 6}));
    add(graph::Gather{2}, {x, indices}, channels_last(to, {2, 16, 3, 6}));
    add(graph::GatherNd{0}, {x, places}, dense_view(to, {2, 6}));
    add(graph::GatherElements{1}, {dense_view(type, {2, 5}), places}, dense_view(to, {2, 3}));
    add(graph::Concat{1}, {x, channels_last(to, shape)}, channels_last(to, {2, 32, 4, 6}));
    add(graph::Transpose{{0, 2, 3, 1}}, {x}, dense_view(to, {2, 4, 6, 16}));
    add(graph::Reshape{{2, 384}}, {x}, dense_view(to, {2, 384}));
    add(graph::Expand{{5, 3}}, {dense_view(type, {})}, dense_view(to, {5, 3}));
  }
  const auto cubin = nvrtc->compile(source, "movement.cu", GetParam());
  ASSERT_TRUE(cubin) << cubin.error().message;
}

INSTANTIATE_TEST_SUITE_P(Capabilities, MovementFor,
                         testing::Values(ComputeCapability{7, 5}, ComputeCapability{9, 0}),
                         [](const auto& tested) {
                           return "sm_" + std::to_string(tested.param.major) +
                                  std::to_string(tested.param.minor);
                         });

}  // namespace
}  // namespace takt::cuda
