// SPDX-License-Identifier: Apache-2.0
// Kernels that move and resize, beside the reference evaluator.
#include "backend/cuda/device_tests/movement_fixture.h"

#include <vector>

namespace takt::cuda {
namespace {

using graph::Constant;
using graph::PadMode;
using graph::ResizeCoordinates;
using graph::ResizeMode;
using graph::ResizeRounding;

constexpr auto kF16 = DataType::fp16;
constexpr auto kF32 = DataType::fp32;
constexpr auto kI32 = DataType::int32;
constexpr auto kI64 = DataType::int64;

class GpuMovement : public StepTest {
 protected:
  void expect_moved(const graph::Operator& op, const std::vector<Constant>& inputs) {
    expect_reference(movement_code, op, inputs);
  }
};

const Shape kImage{2, 16, 5, 6};

TEST_F(GpuMovement, StridedCopiesAreThoseOfTheReference) {
  for (const DataType type : {kF32, DataType::uint8, kI64, DataType::boolean}) {
    const Constant x = random_numbers({type, kImage}, 1);
    expect_moved(graph::Transpose{{0, 2, 3, 1}}, {x});
    expect_moved(graph::Transpose{{3, 1, 0, 2}}, {x});
    expect_moved(graph::Reshape{{2, 4, 4, 30}}, {x});
    expect_moved(graph::Reshape{{6, 160}}, {x});
    expect_moved(graph::Reshape{kImage}, {x});
    expect_moved(graph::Slice{{0, 8, 1, 0}, {1, 1, 1, 1}, {2, 8, 3, 6}}, {x});
    expect_moved(graph::Slice{{1, 15, 4, 0}, {-1, -2, -1, 3}, {2, 8, 5, 2}}, {x});
  }
  expect_moved(graph::Expand{{3, 2, 16, 5, 6}}, {random_numbers({kF32, {2, 16, 1, 6}}, 2)});
  expect_moved(graph::Expand{{4, 3}}, {random_numbers({kF32, {}}, 2)});
}

TEST_F(GpuMovement, InputsAreJoinedOneBehindTheOther) {
  const Constant a = random_numbers({kF32, {2, 8, 3, 4}}, 1);
  const Constant b = random_numbers({kF32, {2, 3, 3, 4}}, 2);
  const Constant empty = random_numbers({kF32, {2, 0, 3, 4}}, 3);
  expect_moved(graph::Concat{1}, {a, empty, b, a});
  expect_moved(graph::Concat{3}, {a, a});
  expect_moved(graph::Concat{0}, {b, b, b});
}

TEST_F(GpuMovement, PaddingIsThatOfTheReferenceInEveryMode) {
  const Constant x = random_numbers({kF32, kImage}, 1);
  for (const PadMode mode : {PadMode::constant, PadMode::reflect, PadMode::edge, PadMode::wrap}) {
    expect_moved(graph::Pad{{0, 0, 1, 2}, {0, 0, 3, 0}, mode, 0.5}, {x});
    expect_moved(graph::Pad{{1, 3, 0, 5}, {0, 5, 4, 1}, mode, -2}, {x});
    expect_moved(graph::Pad{{2}, {3}, mode, 3}, {random_numbers({kI32, {4}}, 2)});
  }
  expect_moved(graph::Pad{{7, 0}, {9, 2}, PadMode::wrap, 0}, {random_numbers({kF32, {3, 4}}, 3)});
  expect_moved(graph::Pad{{1, 0}, {1, 0}, PadMode::constant, 9},
               {random_numbers({kF32, {0, 4}}, 3)});
}

// What a network for images begins with.
TEST_F(GpuMovement, ThreePlanesBecomeEightChannels) {
  const Constant x = random_numbers({kF32, {2, 3, 33, 40}}, 1);
  const graph::Pad pad{{0, 0, 0, 0}, {0, 5, 0, 0}, PadMode::constant, 0};
  expect_reference(movement_code, pad, {x}, {TensorLayout::dense, kF32},
                   {TensorLayout::channels_last, kF16});
}

TEST_F(GpuMovement, IndicesCountFromEitherEnd) {
  const Constant x = random_numbers({kF32, kImage}, 1);
  for (const DataType type : {kI32, kI64}) {
    expect_moved(graph::Gather{1}, {x, integers(type, {2, 2}, {0, -1, 15, 3})});
    expect_moved(graph::Gather{2}, {x, integers(type, {3}, {4, -5, 0})});
    expect_moved(graph::Gather{3}, {x, integers(type, {}, {-2})});
    const Constant small = random_numbers({kF32, {2, 3}}, 2);
    expect_moved(graph::GatherElements{1}, {small, integers(type, {2, 3}, {2, 0, -1, 1, 1, -3})});
    expect_moved(graph::GatherElements{0}, {small, integers(type, {1, 3}, {1, -1, 0})});
    expect_moved(graph::GatherNd{0}, {x, integers(type, {2, 2}, {0, -1, 1, 3})});
    expect_moved(graph::GatherNd{1}, {x, integers(type, {2, 3, 1}, {0, -1, 5, 2, 3, 15})});
    expect_moved(graph::GatherNd{0}, {small, integers(type, {2, 2}, {0, -1, 1, 0})});
  }
}

TEST_F(GpuMovement, AnIndexOutsideReadsTheNearerEnd) {
  const Constant x = random_numbers({kF32, {4, 2}}, 1);
  const Constant outside = integers(kI64, {4}, {-100, 4, 3, -5});
  const Constant inside = integers(kI64, {4}, {0, 3, 3, 0});
  Step step{"test", StepKind::single, {}, {{graph::Gather{0}, {0, 1}, {x.type}}}, {}};
  step.inputs = {Storage{}.view_of(x.type, 0), Storage{}.view_of(inside.type, 1)};
  step.outputs = {{2, Storage{}.view_of(x.type, 2)}};
  const auto clamped = outputs_of(movement_code, step, {x, outside});
  const auto expected = outputs_of(movement_code, step, {x, inside});
  TAKT_ASSERT_OK(clamped);
  TAKT_ASSERT_OK(expected);
  EXPECT_EQ((*clamped)[0].bytes, (*expected)[0].bytes);
}

class GpuResize : public StepTest {
 protected:
  // The scales that the sizes give.
  static graph::Resize resize(ResizeMode mode, ResizeCoordinates coordinates, const Shape& from,
                              const Shape& to) {
    graph::Resize op;
    op.mode = mode;
    op.coordinates = coordinates;
    op.sizes = to;
    for (std::size_t dim = 0; dim < from.size(); ++dim) {
      op.scales.push_back(static_cast<double>(to[dim]) / static_cast<double>(from[dim]));
    }
    op.roi.assign(from.size(), 0.1);
    op.roi.resize(2 * from.size(), 1.2);
    for (std::size_t dim = 0; dim < 2; ++dim) {
      op.roi[dim] = 0;
      op.roi[from.size() + dim] = 1;
    }
    return op;
  }
  void expect_resized(const graph::Resize& op, const Constant& x) {
    expect_reference(resize_code, op, {x});
  }
};

constexpr ResizeCoordinates kCoordinates[] = {
    ResizeCoordinates::half_pixel,         ResizeCoordinates::half_pixel_symmetric,
    ResizeCoordinates::pytorch_half_pixel, ResizeCoordinates::align_corners,
    ResizeCoordinates::asymmetric,         ResizeCoordinates::crop_and_resize};

TEST_F(GpuResize, ImagesBecomeTwiceAsLarge) {
  const Constant x = random_numbers({kF32, {2, 16, 5, 7}}, 1);
  const Shape to{2, 16, 10, 14};
  graph::Resize nearest =
      resize(ResizeMode::nearest, ResizeCoordinates::asymmetric, x.type.shape, to);
  nearest.rounding = ResizeRounding::floor;
  expect_resized(nearest, x);
  for (const auto coordinates : {ResizeCoordinates::half_pixel, ResizeCoordinates::align_corners}) {
    expect_resized(resize(ResizeMode::linear, coordinates, x.type.shape, to), x);
  }
}

TEST_F(GpuResize, EveryModeIsThatOfTheReference) {
  const Constant x = random_numbers({kF32, {1, 8, 6, 9}}, 1);
  for (const auto mode : {ResizeMode::nearest, ResizeMode::linear, ResizeMode::cubic}) {
    for (const auto coordinates : kCoordinates) {
      graph::Resize op = resize(mode, coordinates, x.type.shape, {1, 8, 9, 4});
      op.extrapolation = -3;
      for (const auto rounding : {ResizeRounding::round_prefer_floor, ResizeRounding::ceil}) {
        op.rounding = rounding;
        op.exclude_outside = rounding == ResizeRounding::ceil;
        op.antialias = rounding == ResizeRounding::ceil && mode != ResizeMode::nearest;
        const Storage last{TensorLayout::channels_last, kF16};
        expect_reference(resize_code, op, {x}, {TensorLayout::dense, kF32},
                         {TensorLayout::dense, kF32});
        expect_reference(resize_code, op, {x}, last, last);
      }
    }
  }
}

TEST_F(GpuResize, AnyRankAndIntegersAreResized) {
  const Constant volume = random_numbers({kF32, {1, 2, 3, 4, 5}}, 1);
  expect_resized(
      resize(ResizeMode::linear, ResizeCoordinates::half_pixel, volume.type.shape, {1, 2, 5, 3, 7}),
      volume);
  const Constant bytes = random_numbers({DataType::uint8, {1, 3, 4, 4}}, 2);
  expect_resized(
      resize(ResizeMode::cubic, ResizeCoordinates::half_pixel, bytes.type.shape, {1, 3, 9, 7}),
      bytes);
  const Constant channels = random_numbers({kF32, {2, 8, 3}}, 3);
  expect_resized(
      resize(ResizeMode::linear, ResizeCoordinates::half_pixel, channels.type.shape, {2, 16, 3}),
      channels);
  expect_resized(resize(ResizeMode::cubic, ResizeCoordinates::half_pixel, channels.type.shape,
                        channels.type.shape),
                 channels);
}

// Tables that are too long for a kernel's text are computed on the device.
TEST_F(GpuResize, LongDimensionsAreThoseOfTheReferenceToo) {
  const Constant x = random_numbers({kF32, {1, 1, 7001}}, 1);
  for (const auto mode : {ResizeMode::nearest, ResizeMode::linear, ResizeMode::cubic}) {
    for (const auto coordinates : kCoordinates) {
      for (const std::int64_t size : {9001, 5000}) {
        graph::Resize op = resize(mode, coordinates, x.type.shape, {1, 1, size});
        op.antialias = mode != ResizeMode::nearest && size < 7001;
        op.exclude_outside = op.antialias;
        expect_reference(resize_code, op, {x}, {TensorLayout::dense, kF32},
                         {TensorLayout::dense, kF32});
      }
    }
  }
}

}  // namespace
}  // namespace takt::cuda
