// SPDX-License-Identifier: Apache-2.0
#include "graph/elements.h"
#include "graph/graph.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace takt::graph {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr std::int64_t kInt64Min = std::numeric_limits<std::int64_t>::min();
constexpr std::int64_t kInt64Max = std::numeric_limits<std::int64_t>::max();

// Two of them are the same number, or both NaN.
MATCHER_P(AreNumbers, expected, "") {
  return testing::ExplainMatchResult(testing::Pointwise(testing::NanSensitiveDoubleEq(), expected),
                                     arg, result_listener);
}

Constant numbers(DataType type, Shape shape, const std::vector<double>& values) {
  return from_doubles({type, std::move(shape)}, values);
}
Constant floats(Shape shape, const std::vector<double>& values) {
  return numbers(DataType::fp32, std::move(shape), values);
}
// Of 64 bits, which a double doesn't hold.
Constant integers(DataType type, const std::vector<std::int64_t>& values) {
  Constant constant = zeros({type, {static_cast<std::int64_t>(values.size())}});
  std::ranges::copy(std::as_bytes(std::span(values)), constant.bytes.begin());
  return constant;
}

Result<std::vector<Constant>> run(const Operator& op, const std::vector<Constant>& inputs) {
  std::vector<const Constant*> pointers;
  for (const Constant& input : inputs) pointers.push_back(&input);
  return evaluate(op, pointers);
}
// The first output.
Constant result_of(const Operator& op, const std::vector<Constant>& inputs) {
  Result<std::vector<Constant>> outputs = run(op, inputs);
  EXPECT_TRUE(outputs) << outputs.error().message;
  return outputs ? std::move(outputs->at(0)) : Constant{};
}
std::vector<double> values_of(const Operator& op, const std::vector<Constant>& inputs) {
  return to_doubles(result_of(op, inputs));
}
std::string message_of(const Operator& op, const std::vector<Constant>& inputs) {
  const Result<std::vector<Constant>> outputs = run(op, inputs);
  if (outputs) return "no error";
  EXPECT_EQ(outputs.error().kind, ErrorKind::invalid_input);
  return outputs.error().message;
}

struct BinaryCase {
  BinaryKind kind;
  DataType type;
  double a, b, expected;
};

TEST(EvaluateBinary, FollowsTheTypeAtItsLimitsAndSigns) {
  using enum BinaryKind;
  const std::vector<BinaryCase> cases{
      {add, DataType::int32, 2147483647, 1, -2147483648.0},
      {sub, DataType::uint8, 0, 1, 255},
      {mul, DataType::int8, 100, 3, 44},
      {div, DataType::int32, -7, 2, -3},
      {div, DataType::int32, -2147483648.0, -1, -2147483648.0},
      {div, DataType::fp32, 1, 0, kInfinity},
      {mod, DataType::int32, -7, 3, 2},
      {mod, DataType::int32, 7, -3, -2},
      {mod, DataType::fp32, -7, 3, 2},
      {mod, DataType::fp32, 5, kInfinity, 5},
      {mod, DataType::fp32, 1, 0, kNan},
      {fmod, DataType::int32, -7, 3, -1},
      {fmod, DataType::int32, -2147483648.0, -1, 0},
      {fmod, DataType::fp32, -7, 3, -1},
      {minimum, DataType::fp32, kNan, 1, kNan},
      {minimum, DataType::fp32, 1, kNan, kNan},
      {maximum, DataType::fp16, kNan, 1, kNan},
      {maximum, DataType::fp16, 1, kNan, kNan},
      {shift_left, DataType::uint8, 129, 1, 2},
      {shift_left, DataType::uint32, 1, 32, 0},
      {shift_right, DataType::uint32, 4294967295.0, 31, 1},
      {shift_right, DataType::uint32, 4294967295.0, 200, 0},
      {pow, DataType::int32, 3, 21, 1870418611},  // modulo 2^32
      {pow, DataType::int32, -1, -3, -1},
      {pow, DataType::int32, 2, -1, 0},
      {prelu, DataType::fp32, -2, 0.25, -0.5},
  };
  for (const auto& [kind, type, a, b, expected] : cases) {
    SCOPED_TRACE(std::string(to_string(kind)) + " of " + std::string(takt::to_string(type)));
    EXPECT_THAT(values_of(Binary{kind}, {numbers(type, {}, {a}), numbers(type, {}, {b})}),
                AreNumbers(std::vector{expected}));
  }
}

TEST(EvaluateBinary, Keeps64BitsExact) {
  using enum BinaryKind;
  const auto on = [](BinaryKind kind, DataType type, std::int64_t a, std::int64_t b) {
    return to_int64s(result_of(Binary{kind}, {integers(type, {a}), integers(type, {b})})).at(0);
  };
  EXPECT_EQ(on(add, DataType::int64, kInt64Max, 1), kInt64Min);
  EXPECT_EQ(on(div, DataType::int64, kInt64Min, -1), kInt64Min);
  EXPECT_EQ(on(div, DataType::uint64, -1, 2), kInt64Max);  // 2^64 - 1
  EXPECT_EQ(on(maximum, DataType::uint64, -1, 1), -1);
  EXPECT_EQ(on(less, DataType::uint64, -1, 1), 0);
  EXPECT_EQ(on(less, DataType::int64, -1, 1), 1);
  EXPECT_EQ(on(equal, DataType::int64, kInt64Max, kInt64Max - 1), 0);
  EXPECT_EQ(on(pow, DataType::int64, 3, 39), 4052555153018976267);
}

TEST(EvaluateBinary, RaisesToAPowerOfAnotherType) {
  EXPECT_THAT(values_of(Binary{BinaryKind::pow},
                        {numbers(DataType::int32, {2}, {2, 9}), floats({2}, {-1, 0.5})}),
              ElementsAre(0, 3));
  EXPECT_THAT(values_of(Binary{BinaryKind::pow},
                        {floats({2}, {2, 9}), numbers(DataType::int64, {2}, {-1, 2})}),
              ElementsAre(0.5, 81));
}

TEST(EvaluateBinary, RefusesToDivideAnIntegerByZero) {
  const Constant a = numbers(DataType::int32, {2}, {1, 2});
  const Constant b = numbers(DataType::int32, {2}, {1, 0});
  for (const BinaryKind kind : {BinaryKind::div, BinaryKind::mod, BinaryKind::fmod}) {
    EXPECT_THAT(message_of(Binary{kind}, {a, b}), HasSubstr("element 1 of the divisor"));
  }
  EXPECT_THAT(message_of(Binary{BinaryKind::pow}, {b, numbers(DataType::int32, {}, {-1})}),
              HasSubstr("division by zero"));
}

TEST(EvaluateBinary, BroadcastsBothSides) {
  EXPECT_THAT(
      values_of(Binary{BinaryKind::sub}, {floats({2, 1}, {10, 20}), floats({3}, {1, 2, 3})}),
      ElementsAre(9, 8, 7, 19, 18, 17));
  EXPECT_EQ(
      result_of(Binary{BinaryKind::add}, {floats({0, 1}, {}), floats({3}, {1, 2, 3})}).type.shape,
      (Shape{0, 3}));
}

TEST(EvaluateUnary, WrapsAroundAndKeepsNan) {
  const Constant smallest = numbers(DataType::int8, {2}, {-128, 5});
  EXPECT_THAT(values_of(Unary{UnaryKind::abs}, {smallest}), ElementsAre(-128, 5));
  EXPECT_THAT(values_of(Unary{UnaryKind::neg}, {smallest}), ElementsAre(-128, -5));
  for (const UnaryKind kind :
       {UnaryKind::relu, UnaryKind::sign, UnaryKind::softplus, UnaryKind::mish, UnaryKind::gelu,
        UnaryKind::hard_sigmoid, UnaryKind::clip}) {
    EXPECT_THAT(values_of(Unary{kind, 1, 2}, {floats({}, {kNan})}), AreNumbers(std::vector{kNan}))
        << to_string(kind);
  }
}

TEST(EvaluateUnary, StaysFiniteFarOut) {
  const Constant far = floats({2}, {-1000, 1000});
  EXPECT_THAT(values_of(Unary{UnaryKind::softplus}, {far}), ElementsAre(0, 1000));
  EXPECT_THAT(values_of(Unary{UnaryKind::sigmoid}, {far}), ElementsAre(0, 1));
  EXPECT_THAT(values_of(Unary{UnaryKind::silu, 1}, {far}), ElementsAre(0, 1000));
  EXPECT_THAT(values_of(Unary{UnaryKind::round}, {floats({3}, {0.5, 1.5, -2.5})}),
              ElementsAre(0, 2, -2));
}

struct CastCase {
  DataType from, to;
  double value, expected;
};

TEST(EvaluateCast, SaturatesWhatIsFloatAndWrapsWhatIsNot) {
  const std::vector<CastCase> cases{
      {DataType::fp32, DataType::int32, -1.9, -1},
      {DataType::fp32, DataType::int8, 1000, 127},
      {DataType::fp32, DataType::uint8, -1, 0},
      {DataType::fp32, DataType::int32, kInfinity, 2147483647},
      {DataType::fp32, DataType::int32, -kInfinity, -2147483648.0},
      {DataType::fp32, DataType::int32, kNan, 0},
      {DataType::fp32, DataType::boolean, 0.25, 1},
      {DataType::fp32, DataType::boolean, kNan, 1},
      {DataType::int32, DataType::int8, 300, 44},
      {DataType::int32, DataType::boolean, 256, 1},
      {DataType::boolean, DataType::fp16, 1, 1},
      {DataType::fp64, DataType::fp16, 65520, kInfinity},
      // Rounded to FP32 first it would be a tie of FP16, and go down to the even 1.
      {DataType::fp64, DataType::fp16, 1 + 0x1p-11 + 0x1p-40, 1 + 0x1p-10},
      {DataType::fp64, DataType::bf16, 1 + 0x1p-8 + 0x1p-40, 1 + 0x1p-7},
      {DataType::fp64, DataType::fp16, 1 + 0x1p-11, 1},
  };
  for (const auto& [from, to, value, expected] : cases) {
    SCOPED_TRACE(std::string(takt::to_string(from)) + " to " + std::string(takt::to_string(to)));
    EXPECT_THAT(values_of(Cast{to}, {numbers(from, {}, {value})}),
                AreNumbers(std::vector{expected}));
  }
}

TEST(EvaluateCast, RoundsLargeIntegersOnce) {
  // As a double it would be a tie of FP32 already.
  const std::int64_t above_tie = (std::int64_t{1} << 62) + (std::int64_t{1} << 38) + 1;
  EXPECT_THAT(values_of(Cast{DataType::fp32}, {integers(DataType::int64, {above_tie, -above_tie})}),
              ElementsAre(0x1p62 + 0x1p39, -0x1p62 - 0x1p39));
  EXPECT_THAT(values_of(Cast{DataType::fp32}, {integers(DataType::uint64, {-1})}),
              ElementsAre(0x1p64));
  EXPECT_THAT(to_int64s(result_of(Cast{DataType::int64}, {floats({2}, {0x1p63, -0x1p63})})),
              ElementsAre(kInt64Max, kInt64Min));
}

TEST(EvaluateInputs, RefusesADamagedConstant) {
  Constant damaged = floats({2, 2}, {1, 2, 3, 4});
  damaged.bytes.resize(12);
  EXPECT_THAT(message_of(Unary{UnaryKind::relu}, {damaged}),
              HasSubstr("input 0: 12 bytes of elements, but FP32[2,2] has 16"));
  damaged.type.shape = {-1, 3};
  EXPECT_NE(message_of(Unary{UnaryKind::relu}, {damaged}), "no error");
}

TEST(EvaluateGather, CountsFromTheEndAndRefusesWhatLiesOutside) {
  const Constant data = floats({2, 2}, {1, 2, 3, 4});
  const auto at = [](std::int64_t index) { return integers(DataType::int64, {index}); };
  EXPECT_THAT(values_of(Gather{0}, {data, at(-1)}), ElementsAre(3, 4));
  for (const std::int64_t index : {std::int64_t{2}, std::int64_t{-3}, kInt64Min}) {
    EXPECT_THAT(
        message_of(Gather{1}, {data, at(index)}),
        HasSubstr("index " + std::to_string(index) + " is out of range for dimension 1 of size 2"));
    EXPECT_THAT(message_of(GatherNd{}, {data, at(index)}), HasSubstr("dimension 0 of size 2"));
    Constant matrix = at(index);
    matrix.type.shape = {1, 1};
    EXPECT_THAT(message_of(GatherElements{0}, {data, matrix}), HasSubstr("dimension 0 of size 2"));
  }
  EXPECT_TRUE(values_of(Gather{0}, {data, integers(DataType::int64, {})}).empty());
}

TEST(EvaluateGather, NamesSlicesOfEachBatch) {
  Constant indices = integers(DataType::int64, {1, -2});
  indices.type.shape = {2, 1};
  EXPECT_THAT(values_of(GatherNd{.batch_dims = 1}, {floats({2, 2}, {1, 2, 3, 4}), indices}),
              ElementsAre(2, 3));
}

TEST(EvaluateSlice, GoesBackwards) {
  const Constant data = floats({2, 3}, {1, 2, 3, 4, 5, 6});
  EXPECT_THAT(values_of(Slice{{1, 2}, {-1, -2}, {2, 2}}, {data}), ElementsAre(6, 4, 3, 1));
  EXPECT_TRUE(values_of(Slice{{0, 0}, {1, 1}, {0, 3}}, {data}).empty());
}

TEST(EvaluatePad, FillsByItsMode) {
  const Constant data = numbers(DataType::int8, {3}, {1, 2, 3});
  const auto padded = [&](PadMode mode, std::int64_t begin, std::int64_t end) {
    return values_of(Pad{{begin}, {end}, mode, 9}, {data});
  };
  EXPECT_THAT(padded(PadMode::constant, 1, 2), ElementsAre(9, 1, 2, 3, 9, 9));
  EXPECT_THAT(padded(PadMode::edge, 2, 1), ElementsAre(1, 1, 1, 2, 3, 3));
  EXPECT_THAT(padded(PadMode::reflect, 2, 2), ElementsAre(3, 2, 1, 2, 3, 2, 1));
  EXPECT_THAT(padded(PadMode::wrap, 4, 1), ElementsAre(3, 1, 2, 3, 1, 2, 3, 1));
  EXPECT_THAT(values_of(Pad{{1}, {1}, PadMode::constant, 7}, {floats({0}, {})}), ElementsAre(7, 7));
}

Window window_of(std::int64_t kernel, std::int64_t stride, std::int64_t begin, std::int64_t end,
                 std::int64_t dilation = 1) {
  return {{kernel}, {stride}, {dilation}, {begin}, {end}};
}

TEST(EvaluatePool, DoesNotCountWhatHangsOverThePadding) {
  const Constant x = floats({1, 1, 4}, {1, 2, 3, 4});
  // Windows at -1, 2 and (beyond the end) 5 would be one too many: the second hangs over.
  const Pool pool{.kind = PoolKind::average, .window = window_of(3, 3, 1, 0), .sizes = {2}};
  EXPECT_THAT(values_of(pool, {x}), ElementsAre(1.5, 3.5));
  Pool counting = pool;
  counting.count_padding = true;
  EXPECT_THAT(values_of(counting, {x}), ElementsAre(1, 3.5));
  counting.window.pads_end = {1};
  EXPECT_THAT(values_of(counting, {x}), ElementsAre(1, static_cast<double>(7.0F / 3)));
}

TEST(EvaluatePool, TakesTheLargestOfWhatIsThere) {
  Pool pool{.kind = PoolKind::max, .window = window_of(2, 2, 0, 0), .sizes = {2}};
  EXPECT_THAT(values_of(pool, {floats({1, 1, 3}, {-3, -2, -1})}), ElementsAre(-2, -1));
  EXPECT_THAT(values_of(pool, {numbers(DataType::int8, {1, 1, 3}, {-3, -2, -1})}),
              ElementsAre(-2, -1));
  EXPECT_THAT(values_of(pool, {floats({1, 1, 3}, {kNan, 1, 2})}),
              AreNumbers(std::vector{kNan, 2.0}));
  pool.kind = PoolKind::lp;
  EXPECT_THAT(values_of(pool, {floats({1, 1, 3}, {3, -4, -1})}), ElementsAre(5, 1));
}

TEST(EvaluateConv, HandlesGroupsStridesAndDilation) {
  const Constant x = floats({1, 2, 4}, {1, 2, 3, 4, 10, 20, 30, 40});
  const Constant w = floats({2, 1, 2}, {1, 10, 1, -1});
  const Constant bias = floats({2}, {0.5, 0});
  const Conv conv{window_of(2, 2, 1, 1, 2), 2};
  EXPECT_THAT(values_of(conv, {x, w, bias}), ElementsAre(20.5, 42.5, -20, -20));
}

TEST(EvaluateConv, IsTheTransposeOfItself) {
  // <conv(x), y> = <x, convtranspose(y)>, in three dimensions.
  const Window window{{2, 1, 3}, {1, 2, 2}, {1, 1, 2}, {1, 0, 2}, {0, 0, 1}};
  std::vector<double> ramp(std::size_t{2} * 3 * 3 * 5);
  for (std::size_t i = 0; i < ramp.size(); ++i) ramp[i] = static_cast<double>(i % 7) - 3;
  const Constant x = floats({1, 2, 3, 3, 5}, ramp);
  const Constant w = floats({3, 2, 2, 1, 3}, std::vector<double>(ramp.begin(), ramp.begin() + 36));
  const std::vector<double> convolved = values_of(Conv{window, 1}, {x, w});
  ASSERT_EQ(convolved.size(), 3U * 3 * 2 * 2);
  const std::vector<double> weights(ramp.begin() + 20, ramp.begin() + 56);
  const Constant y = floats({1, 3, 3, 2, 2}, weights);
  const std::vector<double> transposed = values_of(ConvTranspose{window, {0, 0, 1}, 1}, {y, w});
  ASSERT_EQ(transposed.size(), ramp.size());
  double left = 0;
  double right = 0;
  for (std::size_t i = 0; i < convolved.size(); ++i) left += convolved[i] * weights[i];
  for (std::size_t i = 0; i < ramp.size(); ++i) right += ramp[i] * transposed[i];
  EXPECT_EQ(left, right);
}

TEST(EvaluateMatMul, WrapsAroundInIntegersAndBroadcasts) {
  const Constant a = numbers(DataType::int32, {1, 2}, {2147483647, 1});
  EXPECT_THAT(values_of(MatMul{}, {a, numbers(DataType::int32, {2, 1}, {1, 1})}),
              ElementsAre(-2147483648.0));
  const Constant b = floats({2, 2, 1}, {1, 2, 3, 4});
  EXPECT_THAT(values_of(MatMul{.transpose_b = false}, {floats({1, 2}, {1, 10}), b}),
              ElementsAre(21, 43));
  EXPECT_THAT(values_of(MatMul{true, true}, {floats({2, 1}, {1, 10}), floats({1, 2}, {3, 4})}),
              ElementsAre(43));
  EXPECT_THAT(values_of(MatMul{}, {floats({1, 0}, {}), floats({0, 2}, {})}), ElementsAre(0, 0));
}

struct ReduceCase {
  ReduceKind kind;
  DataType type;
  double expected;
};

TEST(EvaluateReduce, HasAResultForNothing) {
  const std::vector<ReduceCase> cases{
      {ReduceKind::sum, DataType::fp32, 0},
      {ReduceKind::prod, DataType::fp32, 1},
      {ReduceKind::max, DataType::fp16, -kInfinity},
      {ReduceKind::min, DataType::fp32, kInfinity},
      {ReduceKind::max, DataType::int8, -128},
      {ReduceKind::min, DataType::int8, 127},
      {ReduceKind::max, DataType::boolean, 0},
      {ReduceKind::min, DataType::boolean, 1},
      {ReduceKind::mean, DataType::fp32, kNan},
      {ReduceKind::log_sum_exp, DataType::fp32, -kInfinity},
  };
  for (const auto& [kind, type, expected] : cases) {
    EXPECT_THAT(values_of(Reduce{kind, {1}}, {numbers(type, {1, 0}, {})}),
                AreNumbers(std::vector{expected}))
        << to_string(kind) << " of " << takt::to_string(type);
  }
}

TEST(EvaluateReduce, IsExactInIntegersAndKeepsNan) {
  const Constant x = numbers(DataType::int8, {2, 2}, {100, 100, -128, -1});
  EXPECT_THAT(values_of(Reduce{ReduceKind::sum, {1}}, {x}), ElementsAre(-56, 127));
  EXPECT_THAT(values_of(Reduce{ReduceKind::mean, {0, 1}}, {x}), ElementsAre(17));
  EXPECT_THAT(values_of(Reduce{ReduceKind::l1, {0}}, {x}), ElementsAre(-28, 101));
  EXPECT_THAT(values_of(Reduce{ReduceKind::max, {0}}, {floats({3, 1}, {1, kNan, 2})}),
              AreNumbers(std::vector{kNan}));
  EXPECT_THAT(values_of(Reduce{ReduceKind::log_sum_exp, {0}}, {floats({2}, {1000, -1000})}),
              ElementsAre(1000));
}

TEST(EvaluateArgReduce, TakesTheFirstOrLastOfEquals) {
  const Constant x = floats({4}, {1, 3, 3, 1});
  EXPECT_THAT(values_of(ArgReduce{true, 0, false}, {x}), ElementsAre(1));
  EXPECT_THAT(values_of(ArgReduce{true, 0, true}, {x}), ElementsAre(2));
  EXPECT_THAT(values_of(ArgReduce{false, 0, true}, {x}), ElementsAre(3));
  EXPECT_THAT(values_of(ArgReduce{false, 0, false}, {floats({3}, {1, kNan, 0})}), ElementsAre(1));
}

TEST(EvaluateTopK, PutsEqualElementsInTheirOrder) {
  const Constant x = floats({1, 5}, {2, 7, 2, 7, kNan});
  const auto largest = run(TopK{.k = 4, .axis = 1}, {x});
  ASSERT_TRUE(largest) << largest.error().message;
  EXPECT_THAT(to_doubles(largest->at(1)), ElementsAre(4, 1, 3, 0));
  const auto smallest = run(TopK{.k = 3, .axis = 1, .largest = false}, {x});
  ASSERT_TRUE(smallest) << smallest.error().message;
  EXPECT_THAT(to_doubles(smallest->at(0)), ElementsAre(2, 2, 7));
  EXPECT_THAT(to_doubles(smallest->at(1)), ElementsAre(0, 2, 1));
}

TEST(EvaluateNonMaxSuppression, HasOnlyTheRowsThatItSelects) {
  const Constant boxes = floats({1, 3, 4}, {0, 0, 1, 1, 1, 1, 0, 0.1, 5, 5, 6, 6});
  const Constant scores = floats({1, 1, 3}, {0.9, 0.9, 0.1});
  NonMaxSuppression op{.boxes_max = 3, .iou_threshold = 0.5F};
  const Constant selected = result_of(op, {boxes, scores});
  EXPECT_EQ(selected.type, (TensorType{DataType::int64, {2, 3}}));
  EXPECT_THAT(to_doubles(selected), ElementsAre(0, 0, 0, 0, 0, 2));
  op.has_score_threshold = true;
  op.score_threshold = 0.95F;
  EXPECT_EQ(result_of(op, {boxes, scores}).type.shape, (Shape{0, 3}));
}

Resize resize_to(std::int64_t size, double scale, ResizeMode mode, ResizeCoordinates coordinates) {
  return {.mode = mode, .coordinates = coordinates, .sizes = {size}, .scales = {scale}, .roi = {}};
}

TEST(EvaluateResize, ComputesCoordinatesFromTheScaleAndNotTheSize) {
  const Constant x = floats({4}, {1, 2, 3, 4});
  EXPECT_THAT(
      values_of(resize_to(2, 0.6, ResizeMode::linear, ResizeCoordinates::align_corners), {x}),
      ElementsAre(1, static_cast<float>(1 + 3 / 1.4)));
  EXPECT_THAT(values_of(resize_to(2, 0.5, ResizeMode::linear, ResizeCoordinates::half_pixel), {x}),
              ElementsAre(1.5, 3.5));
  EXPECT_THAT(
      values_of(resize_to(1, 0.25, ResizeMode::cubic, ResizeCoordinates::pytorch_half_pixel), {x}),
      ElementsAre(1));
}

TEST(EvaluateResize, ExtrapolatesWhereACropLeavesTheInput) {
  const Constant x = floats({3}, {1, 2, 3});
  Resize op = resize_to(3, 1, ResizeMode::linear, ResizeCoordinates::crop_and_resize);
  op.roi = {-0.5, 0.5};
  op.extrapolation = 10;
  EXPECT_THAT(values_of(op, {x}), ElementsAre(10, 1, 2));
  op.mode = ResizeMode::nearest;
  EXPECT_THAT(values_of(op, {x}), ElementsAre(10, 1, 2));
}

TEST(EvaluateResize, RoundsHalvesAsItIsTold) {
  Resize op = resize_to(4, 2, ResizeMode::nearest, ResizeCoordinates::asymmetric);
  const Constant x = integers(DataType::int64, {kInt64Max, 7});
  const auto sources = [&](ResizeRounding rounding) {
    op.rounding = rounding;
    return to_int64s(result_of(op, {x}));
  };
  EXPECT_THAT(sources(ResizeRounding::round_prefer_floor), ElementsAre(kInt64Max, kInt64Max, 7, 7));
  EXPECT_THAT(sources(ResizeRounding::round_prefer_ceil), ElementsAre(kInt64Max, 7, 7, 7));
  EXPECT_THAT(sources(ResizeRounding::ceil), ElementsAre(kInt64Max, 7, 7, 7));
}

TEST(EvaluateQuantize, RoundsHalvesToEvenAndSaturates) {
  const Constant x = floats({6}, {1, 3, 5, 1000, -1000, kInfinity});
  const Constant scale = numbers(DataType::fp16, {}, {2});
  EXPECT_THAT(values_of(Quantize{DataType::int8, 0}, {x, scale, numbers(DataType::int8, {}, {1})}),
              ElementsAre(1, 3, 3, 127, -128, 127));
  const Constant scales = floats({2}, {1, 0.5});
  const Constant zero_points = numbers(DataType::uint16, {2}, {0, 10});
  EXPECT_THAT(
      values_of(Quantize{DataType::uint16, 1}, {floats({1, 2}, {7, 7}), scales, zero_points}),
      ElementsAre(7, 24));
}

TEST(EvaluateQuantize, IsUndoneInTheScalesType) {
  const Constant x = numbers(DataType::int32, {2}, {2147483647, -3});
  const Constant zero_point = numbers(DataType::int32, {}, {-1});
  const Constant y = result_of(Dequantize{0}, {x, floats({}, {2}), zero_point});
  EXPECT_EQ(y.type.type, DataType::fp32);
  EXPECT_THAT(to_doubles(y), ElementsAre(0x1p32, -4));
}

TEST(EvaluateNormalisation, ScalesBlocksAndGroups) {
  const Constant x = floats({1, 2, 2}, {1, 3, 10, 30});
  const LayerNorm layer{.axis = 2, .epsilon = 0};
  EXPECT_THAT(values_of(layer, {x, floats({2}, {1, 2}), floats({1}, {5})}),
              ElementsAre(4, 7, 4, 7));
  const GroupNorm group{.groups = 2, .epsilon = 0};
  EXPECT_THAT(values_of(group, {x, floats({2}, {1, 2}), floats({2}, {0, 5})}),
              ElementsAre(-1, 1, 3, 7));
  EXPECT_THAT(values_of(Softmax{.axis = 1}, {floats({1, 2, 1}, {1000, 1000})}),
              ElementsAre(0.5, 0.5));
}

// Large dimensions beside one of size 0 are not walked through.
TEST(Evaluate, TakesNoTimeForNothing) {
  constexpr std::int64_t kHuge = std::int64_t{1} << 19;
  const Constant empty = floats({kHuge, kHuge, 0}, {});
  EXPECT_EQ(result_of(Concat{2}, {empty, empty}).type.shape, (Shape{kHuge, kHuge, 0}));
  EXPECT_EQ(result_of(MatMul{}, {floats({kHuge, kHuge, 0, 2}, {}), floats({2, 0}, {})}).type.shape,
            (Shape{kHuge, kHuge, 0, 0}));
  EXPECT_EQ(result_of(Transpose{{2, 0, 1}}, {empty}).type.shape, (Shape{0, kHuge, kHuge}));
}

TEST(EvaluateGraph, ComputesNodeByNodeAndNamesTheOneThatFails) {
  Graph graph;
  const auto scalar = [](double value) { return numbers(DataType::int32, {}, {value}); };
  const TensorType type{DataType::int32, {}};
  graph.values = {{"x", type, nullptr},
                  {"two", type, std::make_shared<const Constant>(scalar(2))},
                  {"sum", type, nullptr},
                  {"ratio", type, nullptr}};
  graph.nodes = {{"add", Binary{BinaryKind::add}, {ValueId{0}, ValueId{1}}, {ValueId{2}}},
                 {"divide", Binary{BinaryKind::div}, {ValueId{1}, ValueId{2}}, {ValueId{3}}}};
  graph.inputs = {ValueId{0}};
  graph.outputs = {ValueId{3}, ValueId{0}};
  const auto run_with = [&](const Constant& x) { return evaluate(graph, std::vector{x}); };
  const auto outputs = run_with(scalar(-1));
  ASSERT_TRUE(outputs) << outputs.error().message;
  EXPECT_THAT(to_doubles(outputs->at(0)), ElementsAre(2));
  EXPECT_THAT(to_doubles(outputs->at(1)), ElementsAre(-1));
  EXPECT_THAT(run_with(scalar(-2)).error().message, HasSubstr("divide: integer division by zero"));
  EXPECT_THAT(run_with(floats({}, {1})).error().message,
              HasSubstr("input 'x' is FP32[]; expected INT32[]"));
}

}  // namespace
}  // namespace takt::graph
