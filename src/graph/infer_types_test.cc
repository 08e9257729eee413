// SPDX-License-Identifier: Apache-2.0
#include "graph/graph.h"

#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

namespace takt::graph {
namespace {

constexpr auto kF32 = DataType::fp32;
constexpr auto kI64 = DataType::int64;

struct Case {
  std::string what;
  Operator op;
  std::vector<TensorType> inputs;
  std::string expected;  // the outputs' types, or what the error says
};

std::string outcome(const Case& one) {
  const auto types = infer_types(one.op, one.inputs);
  if (!types) return types.error().message;
  std::string text;
  for (const TensorType& type : *types) text += (text.empty() ? "" : " ") + to_string(type);
  return text;
}

Window window(std::vector<std::int64_t> kernel, std::vector<std::int64_t> strides,
              std::vector<std::int64_t> pads) {
  const std::vector<std::int64_t> ones(kernel.size(), 1);
  return {std::move(kernel), std::move(strides), ones, pads, pads};
}

TEST(InferTypes, OfOperatorsAsOnnxDefinesThem) {
  const Window three = window({3, 3}, {2, 2}, {1, 1});
  const std::vector<Case> cases{
      {"comparison", Binary{BinaryKind::less}, {{kI64, {2, 1}}, {kI64, {3}}}, "BOOL[2,3]"},
      {"scalar", Binary{BinaryKind::add}, {{kF32, {}}, {kF32, {0}}}, "FP32[0]"},
      {"exponent", Binary{BinaryKind::pow}, {{kF32, {2}}, {kI64, {}}}, "FP32[2]"},
      {"test", Unary{UnaryKind::is_nan}, {{kF32, {2}}}, "BOOL[2]"},
      {"cast", Cast{DataType::fp16}, {{kF32, {2}}}, "FP16[2]"},
      {"select", Select{}, {{DataType::boolean, {4, 1}}, {kF32, {3}}, {kF32, {}}}, "FP32[4,3]"},
      {"transpose", Transpose{{0, 2, 3, 1}}, {{kF32, {1, 3, 4, 5}}}, "FP32[1,4,5,3]"},
      {"concat", Concat{1}, {{kF32, {1, 2}}, {kF32, {1, 0}}, {kF32, {1, 5}}}, "FP32[1,7]"},
      {"backwards", Slice{{3}, {-1}, {4}}, {{kF32, {4}}}, "FP32[4]"},
      {"nothing", Slice{{9}, {1}, {0}}, {{kF32, {4}}}, "FP32[0]"},
      {"pad", Pad{{1, 0}, {2, 3}, PadMode::constant, 0}, {{kF32, {2, 2}}}, "FP32[5,5]"},
      {"gather", Gather{1}, {{kF32, {2, 9, 4}}, {kI64, {3, 3}}}, "FP32[2,3,3,4]"},
      {"gather one", Gather{0}, {{kF32, {2, 9}}, {kI64, {}}}, "FP32[9]"},
      {"gather nd", GatherNd{1}, {{kF32, {2, 3, 4}}, {kI64, {2, 5, 1}}}, "FP32[2,5,4]"},
      {"conv",
       Conv{three, 1},
       {{kF32, {1, 3, 224, 224}}, {kF32, {64, 3, 3, 3}}},
       "FP32[1,64,112,112]"},
      {"depthwise",
       Conv{three, 8},
       {{kF32, {2, 8, 5, 5}}, {kF32, {8, 1, 3, 3}}, {kF32, {8}}},
       "FP32[2,8,3,3]"},
      {"transposed",
       ConvTranspose{window({2, 2}, {2, 2}, {0, 0}), {0, 0}, 1},
       {{kF32, {1, 8, 5, 5}}, {kF32, {8, 4, 2, 2}}},
       "FP32[1,4,10,10]"},
      {"pool",
       Pool{PoolKind::max, three, {4, 4}, false, 2},
       {{kF32, {1, 8, 7, 7}}},
       "FP32[1,8,4,4]"},
      {"padding alone",
       Pool{PoolKind::average, window({1, 2}, {1, 1}, {0, 2}), {7, 9}, false, 2},
       {{kF32, {1, 8, 7, 7}}},
       "padding of 2 and 2 on dimension 3, expected less than the kernel, which reaches over 2"},
      {"product", MatMul{false, true}, {{kF32, {5, 1, 2, 3}}, {kF32, {4, 7, 3}}}, "FP32[5,4,2,7]"},
      {"reduce", Reduce{ReduceKind::mean, {2, 3}}, {{kF32, {1, 8, 7, 7}}}, "FP32[1,8,1,1]"},
      {"argmax", ArgReduce{true, 1, false}, {{kF32, {4, 10}}}, "INT64[4,1]"},
      {"top", TopK{3, 1, true, true}, {{kF32, {4, 10}}}, "FP32[4,3] INT64[4,3]"},
      {"nms",
       NonMaxSuppression{5, 0.5F, 0, false, false},
       {{kF32, {2, 100, 4}}, {kF32, {2, 3, 100}}},
       "INT64[30,3]"},
      {"quantise",
       Quantize{DataType::int8, 0},
       {{kF32, {4, 2}}, {kF32, {4}}, {DataType::int8, {4}}},
       "INT8[4,2]"},
  };
  for (const Case& one : cases) EXPECT_EQ(outcome(one), one.expected) << one.what;
}

TEST(InferTypes, SaysWhatWasExpectedInstead) {
  const Window three = window({3, 3}, {1, 1}, {0, 0});
  const std::int64_t huge = std::int64_t{1} << 40;
  const std::vector<Case> cases{
      {"types",
       Binary{BinaryKind::add},
       {{kF32, {2}}, {kI64, {2}}},
       "add of FP32 and INT64; expected one type"},
      {"count", MatMul{}, {{kF32, {2, 2}}}, "1 inputs; expected 2"},
      {"logic", Binary{BinaryKind::logical_and}, {{kF32, {2}}, {kF32, {2}}}, "logical_and of FP32"},
      {"integers", Unary{UnaryKind::exp}, {{kI64, {2}}}, "exp of INT64; expected floating point"},
      {"elements",
       Reshape{{3, 2}},
       {{kF32, {5}}},
       "[5] can't become [3,2]: the numbers of elements differ"},
      {"twice",
       Transpose{{0, 0}},
       {{kF32, {1, 2}}},
       "the permutation has no place for each dimension of [1,2] once"},
      {"expand", Expand{{3}}, {{kF32, {2, 3}}}, "[2,3] can't be expanded to [3]"},
      {"axis", Softmax{2, false}, {{kF32, {2, 3}}}, "no axis 2 in [2,3]"},
      {"outside",
       Slice{{2}, {2}, {2}},
       {{kF32, {4}}},
       "2 elements from 2 in steps of 2 in dimension 0 of [4]"},
      {"reflect",
       Pad{{2}, {0}, PadMode::reflect, 0},
       {{kF32, {2}}},
       "padding of 2 and 0 in dimension 0 of [2]"},
      {"channels",
       Conv{three, 2},
       {{kF32, {1, 3, 8, 8}}, {kF32, {4, 3, 3, 3}}},
       "the channels of the input [1,3,8,8] and the weights [4,3,3,3] don't fit 2 groups"},
      {"kernel",
       Conv{three, 1},
       {{kF32, {1, 3, 2, 2}}, {kF32, {4, 3, 3, 3}}},
       "a kernel of 3 is larger than the padded input of 2"},
      {"bias",
       Conv{three, 1},
       {{kF32, {1, 3, 8, 8}}, {kF32, {4, 3, 3, 3}}, {kF32, {3}}},
       "a bias of [3] for 4 channels"},
      {"product", MatMul{}, {{kF32, {2, 3}}, {kF32, {2, 3}}}, "FP32[2,3] times FP32[2,3]"},
      {"top", TopK{11, 0, true, true}, {{kF32, {10}}}, "the first 11 of 10 elements"},
      {"indices",
       Gather{0},
       {{kF32, {2}}, {kF32, {1}}},
       "indices of FP32; expected INT32 or INT64"},
  };
  for (const Case& one : cases) EXPECT_EQ(outcome(one), one.expected) << one.what;
  EXPECT_FALSE(infer_types(Expand{{huge, 1024}}, std::vector<TensorType>{{kF32, {1, 1}}}))
      << "more elements than a tensor may have";
}

// No product or sum of sizes that a file states may overflow.
TEST(InferTypes, RefusesSizesThatOverflow) {
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
  const std::vector<TensorType> vector{{kF32, {4}}};
  EXPECT_FALSE(infer_types(Pad{{kMost}, {kMost}, PadMode::constant, 0}, vector));
  EXPECT_FALSE(infer_types(Slice{{3}, {kMost}, {3}}, vector));
  EXPECT_FALSE(infer_types(Slice{{0}, {1}, {kMost}}, vector));
  EXPECT_FALSE(infer_types(Reshape{{kMost, kMost}}, vector));
  const TensorType wide_and_empty{kF32, {0, std::int64_t{1} << 40}};
  EXPECT_FALSE(infer_types(Concat{1}, std::vector{wide_and_empty, wide_and_empty}));
  const std::vector<TensorType> image{{kF32, {1, 1, 4, 4}}};
  Window wide = window({3, 3}, {1, 1}, {0, 0});
  wide.pads_begin = {kMost, kMost};
  EXPECT_FALSE(infer_types(Pool{PoolKind::max, wide, {kMost, kMost}, false, 2}, image));
}

}  // namespace
}  // namespace takt::graph
