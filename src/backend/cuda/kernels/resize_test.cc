// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/kernels/compiler_fixture.h"
#include "backend/cuda/kernels/movement_kernel.h"
#include "backend/cuda/kernels/resize_taps.h"
#include "backend/cuda/kernels/step_code.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

namespace takt::cuda {
namespace {

using graph::Resize;
using graph::ResizeCoordinates;
using graph::ResizeMode;
using graph::ResizeRounding;
using testing::DoubleEq;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr auto kF16 = DataType::fp16;
constexpr auto kF32 = DataType::fp32;

Resize resize(ResizeMode mode, ResizeCoordinates coordinates, const Shape& from, const Shape& to) {
  Resize op;
  op.mode = mode;
  op.coordinates = coordinates;
  op.sizes = to;
  for (std::size_t dim = 0; dim < from.size(); ++dim) {
    op.scales.push_back(static_cast<double>(to[dim]) / static_cast<double>(from[dim]));
  }
  op.roi.assign(from.size(), 0);
  op.roi.resize(2 * from.size(), 1.5);
  return op;
}

// Of one dimension.
TapTable table_of(const Resize& op, std::int64_t input) {
  const ResizeAxis axis = resize_axis(op, {input}, 0);
  return tap_table(op, axis, tap_count(op, axis).value());
}

TEST(ResizeTaps, LinearTakesTheNeighboursByTheirDistance) {
  const TapTable table =
      table_of(resize(ResizeMode::linear, ResizeCoordinates::half_pixel, {2}, {4}), 2);
  EXPECT_EQ(table.taps, 2);
  EXPECT_THAT(table.first, ElementsAre(-1, 0, 0, 1)) << "those outside stand for the ends";
  EXPECT_THAT(table.weights, ElementsAre(0.25, 0.75, 0.75, 0.25, 0.25, 0.75, 0.75, 0.25));
}

TEST(ResizeTaps, AlignedCornersMeetTheEnds) {
  const TapTable table =
      table_of(resize(ResizeMode::linear, ResizeCoordinates::align_corners, {3}, {5}), 3);
  EXPECT_THAT(table.first, ElementsAre(-1, 0, 0, 1, 1));
  EXPECT_THAT(table.weights, ElementsAre(0, 1, 0.5, 0.5, 0, 1, 0.5, 0.5, 0, 1));
}

TEST(ResizeTaps, CubicWeighsFourElements) {
  const TapTable table =
      table_of(resize(ResizeMode::cubic, ResizeCoordinates::half_pixel, {4}, {8}), 4);
  EXPECT_EQ(table.taps, 4);
  EXPECT_EQ(table.first[3], 0);
  EXPECT_THAT(std::vector(table.weights.begin() + 12, table.weights.begin() + 16),
              ElementsAre(DoubleEq(-0.10546875), DoubleEq(0.87890625), DoubleEq(0.26171875),
                          DoubleEq(-0.03515625)));
}

TEST(ResizeTaps, AnAntialiasingFilterIsWiderAndAddsUpToOne) {
  Resize op = resize(ResizeMode::linear, ResizeCoordinates::half_pixel, {8}, {2});
  op.antialias = true;
  const TapTable table = table_of(op, 8);
  EXPECT_EQ(table.taps, 8);
  double sum = 0;
  for (int k = 0; k < table.taps; ++k) sum += table.weights[static_cast<std::size_t>(k)];
  EXPECT_THAT(sum, DoubleEq(1));
}

TEST(ResizeTaps, WhatIsLeftOutHasNoWeight) {
  Resize op = resize(ResizeMode::linear, ResizeCoordinates::half_pixel, {2}, {4});
  op.exclude_outside = true;
  EXPECT_THAT(table_of(op, 2).weights, ElementsAre(0, 1, 0.75, 0.25, 0.25, 0.75, 1, 0));
}

TEST(ResizeTaps, ACropBeyondTheInputHasNoSource) {
  const Resize op = resize(ResizeMode::nearest, ResizeCoordinates::crop_and_resize, {3}, {4});
  EXPECT_THAT(table_of(op, 3).first, ElementsAre(0, 1, 2, kNoSource));
}

TEST(ResizeTaps, HalvesAreRoundedAsTheModelSays) {
  Resize op = resize(ResizeMode::nearest, ResizeCoordinates::asymmetric, {2}, {4});
  op.rounding = ResizeRounding::round_prefer_floor;
  EXPECT_THAT(table_of(op, 2).first, ElementsAre(0, 0, 1, 1));
  op.rounding = ResizeRounding::round_prefer_ceil;
  EXPECT_THAT(table_of(op, 2).first, ElementsAre(0, 1, 1, 1));
}

TEST(ResizeTaps, NumbersThatLeadNowhereAreRefused) {
  Resize op = resize(ResizeMode::linear, ResizeCoordinates::half_pixel, {2}, {4});
  op.scales[0] = std::numeric_limits<double>::denorm_min();
  const auto places = tap_count(op, resize_axis(op, {2}, 0));
  ASSERT_FALSE(places);
  EXPECT_THAT(places.error().message, HasSubstr("no finite places"));
  op.scales[0] = 1e-12;
  op.antialias = true;
  const auto taps = tap_count(op, resize_axis(op, {2}, 0));
  ASSERT_FALSE(taps);
  EXPECT_THAT(taps.error().message, HasSubstr("an antialiasing filter"));
}

View channels_last(DataType type, const Shape& nchw) {
  return {0, 0, type, nchw, {nchw[1] * nchw[2] * nchw[3], 1, nchw[3] * nchw[1], nchw[1]}};
}
View dense_view(DataType type, const Shape& shape) {
  return {0, 0, type, shape, dense_strides(shape)};
}

Step step_of(const Resize& op, const View& input, const View& output) {
  return {
      "step", StepKind::single, {input}, {{op, {0}, {{output.type, output.shape}}}}, {{1, output}}};
}

TEST(ResizeCode, ChannelsSideBySideAreComputedEightAtATime) {
  const Shape from{1, 64, 20, 20};
  const Shape to{1, 64, 40, 40};
  for (const auto mode : {ResizeMode::nearest, ResizeMode::linear}) {
    Resize op = resize(mode, ResizeCoordinates::asymmetric, from, to);
    op.rounding = ResizeRounding::floor;
    const auto code =
        resize_code(step_of(op, channels_last(kF16, from), channels_last(kF16, to)), "up");
    ASSERT_TRUE(code) << code.error().message;
    ASSERT_EQ(code->calls.size(), 1U);
    EXPECT_EQ(code->calls[0].source.blocks, 64U / 8 * 40 * 40 / kMovementThreads);
    const std::string& text = code->calls[0].source.text;
    EXPECT_EQ(text.find("_first") == std::string::npos, mode == ResizeMode::nearest)
        << "twice as large needs no table\n"
        << text;
  }
}

TEST(ResizeCode, LongTablesAreMadeOnTheDeviceAndTheTextStaysShort) {
  const Shape from{1, 1, 100000};
  const Shape to{1, 1, 250000};
  const Resize op = resize(ResizeMode::cubic, ResizeCoordinates::half_pixel, from, to);
  const auto code = resize_code(step_of(op, dense_view(kF32, from), dense_view(kF32, to)), "long");
  ASSERT_TRUE(code) << code.error().message;
  ASSERT_EQ(code->calls.size(), 2U);
  EXPECT_GE(code->scratch_bytes, 250000U * 5 * 4);
  for (const KernelCall& call : code->calls) EXPECT_LT(call.source.text.size(), 5000U);
}

class ResizeFor : public testing::TestWithParam<ComputeCapability> {};

TEST_P(ResizeFor, EveryKernelCompiles) {
  TAKT_SKIP_COMPILING_WHERE_SANITIZED();
  const auto nvrtc = project_compiler();
  ASSERT_TRUE(nvrtc) << nvrtc.error().message;
  std::string source = "#include <takt_kernel.h>\n";
  int steps = 0;
  const auto add = [&](const Resize& op, const View& input, const View& output) {
    const auto code = resize_code(step_of(op, input, output), "k" + std::to_string(steps++));
    ASSERT_TRUE(code) << code.error().message;
    for (const KernelCall& call : code->calls) source += call.source.text;
  };
  const Shape from{1, 8, 5, 6};
  const Shape to{1, 8, 7, 4};
  for (const auto mode : {ResizeMode::nearest, ResizeMode::linear, ResizeMode::cubic}) {
    for (const auto coordinates :
         {ResizeCoordinates::half_pixel, ResizeCoordinates::half_pixel_symmetric,
          ResizeCoordinates::pytorch_half_pixel, ResizeCoordinates::align_corners,
          ResizeCoordinates::asymmetric, ResizeCoordinates::crop_and_resize}) {
      Resize op = resize(mode, coordinates, from, to);
      add(op, channels_last(kF16, from), channels_last(kF16, to));
      op.exclude_outside = true;
      op.antialias = mode != ResizeMode::nearest;
      add(op, dense_view(kF32, from), channels_last(DataType::bf16, to));
      Resize wide = resize(mode, coordinates, {1, 9000}, {1, 8193});
      wide.exclude_outside = true;
      add(wide, dense_view(kF32, {1, 9000}), dense_view(kF16, {1, 8193}));
      add(wide, dense_view(DataType::int8, {1, 9000}), dense_view(DataType::int8, {1, 8193}));
    }
    const Resize op = resize(mode, ResizeCoordinates::half_pixel, from, to);
    for (const auto type : {DataType::fp64, DataType::boolean, DataType::uint64, DataType::int32}) {
      add(op, dense_view(type, from), dense_view(type, to));
    }
  }
  const auto cubin = nvrtc->compile(source, "resize.cu", GetParam());
  ASSERT_TRUE(cubin) << cubin.error().message;
}

INSTANTIATE_TEST_SUITE_P(Capabilities, ResizeFor,
                         testing::Values(ComputeCapability{7, 5}, ComputeCapability{9, 0}),
                         [](const auto& tested) {
                           return "sm_" + std::to_string(tested.param.major) +
                                  std::to_string(tested.param.minor);
                         });

}  // namespace
}  // namespace takt::cuda
