// SPDX-License-Identifier: Apache-2.0
#include "graph/graph.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <utility>
#include <vector>

namespace takt::graph {
namespace {

using ::testing::ElementsAre;

template <typename Element>
Constant constant_of(DataType type, Shape shape, const std::vector<Element>& elements) {
  Constant constant{{type, std::move(shape)},
                    std::vector<std::byte>(elements.size() * sizeof(Element))};
  std::memcpy(constant.bytes.data(), elements.data(), constant.bytes.size());
  return constant;
}

Constant numbers(Shape shape, const std::vector<float>& elements) {
  return constant_of(DataType::fp32, std::move(shape), elements);
}

std::vector<float> floats(const Constant& constant) {
  const auto view = constant.view();
  const auto elements = view.as<float>();
  return {elements.begin(), elements.end()};
}

TEST(GraphBuilder, TypesWhatIsAdded) {
  GraphBuilder builder;
  const ValueId x = builder.add_input("x", {DataType::fp32, {2, 1}});
  const ValueId y = builder.add_input("y", {DataType::fp32, {3}});
  const auto sum = builder.add(Binary{BinaryKind::add}, {x, y});
  ASSERT_TRUE(sum) << sum.error().message;
  EXPECT_EQ(builder.type(*sum), (TensorType{DataType::fp32, {2, 3}}));
  EXPECT_EQ(builder.constant(*sum), nullptr);
}

TEST(GraphBuilder, RefusesWhatAnOperatorCanNotTake) {
  GraphBuilder builder;
  const ValueId x = builder.add_input("x", {DataType::fp32, {2}});
  const ValueId y = builder.add_input("y", {DataType::fp32, {3}});
  const auto sum = builder.add(Binary{BinaryKind::add}, {x, y});
  ASSERT_FALSE(sum);
  EXPECT_EQ(sum.error().message, "[2] and [3] don't broadcast");
}

TEST(GraphBuilder, FoldsWhatIsComputedFromConstants) {
  GraphBuilder builder;
  const ValueId x = builder.add_input("x", {DataType::fp32, {2}});
  const ValueId a = builder.add_constant(numbers({2}, {1, 2}));
  const ValueId b = builder.add_constant(numbers({}, {10}));
  const ValueId folded = builder.add(Binary{BinaryKind::mul}, {a, b}).value();
  ASSERT_NE(builder.constant(folded), nullptr);
  EXPECT_THAT(floats(*builder.constant(folded)), ElementsAre(10, 20));
  const ValueId sum = builder.add(Binary{BinaryKind::add}, {x, folded}).value();
  const Graph graph = std::move(builder).finish({sum});
  EXPECT_EQ(graph.nodes.size(), 1U);
  EXPECT_EQ(graph.values.size(), 3U) << "the constants that were folded are gone";
}

// Weights in 8 bits are the backend's business.
TEST(GraphBuilder, KeepsQuantisationOfConstants) {
  GraphBuilder builder;
  const ValueId weights =
      builder.add_constant(constant_of<std::int8_t>(DataType::int8, {2}, {1, -1}));
  const ValueId scale = builder.add_constant(numbers({}, {0.5}));
  const ValueId zero = builder.add_constant(constant_of<std::int8_t>(DataType::int8, {}, {0}));
  const ValueId real = builder.add(Dequantize{}, {weights, scale, zero}).value();
  EXPECT_EQ(builder.constant(real), nullptr);
}

TEST(GraphBuilder, DropsWhatNoOutputNeedsButNoInput) {
  GraphBuilder builder;
  const ValueId x = builder.add_input("x", {DataType::fp32, {4}});
  builder.add_input("unused", {DataType::int64, {1}});
  builder.set_node_name("dead");
  ASSERT_TRUE(builder.add(Unary{UnaryKind::exp}, {x}));
  builder.set_node_name("alive");
  const ValueId y = builder.add(Unary{UnaryKind::relu}, {x}).value();
  const Graph graph = std::move(builder).finish({y});
  ASSERT_EQ(graph.nodes.size(), 1U);
  EXPECT_EQ(graph.nodes.front().name, "alive");
  ASSERT_EQ(graph.inputs.size(), 2U);
  EXPECT_EQ(graph.value(graph.inputs[1]).name, "unused");
}

TEST(Graph, IsEvaluatedNodeByNode) {
  GraphBuilder builder;
  const ValueId x = builder.add_input("x", {DataType::fp32, {3}});
  const ValueId y = builder.add(Unary{UnaryKind::relu}, {x}).value();
  const ValueId z = builder.add(Binary{BinaryKind::add}, {y, x}).value();
  const Graph graph = std::move(builder).finish({z, y});
  const auto results = evaluate(graph, std::vector{numbers({3}, {-1, 0, 2})});
  ASSERT_TRUE(results) << results.error().message;
  ASSERT_EQ(results->size(), 2U);
  EXPECT_THAT(floats((*results)[0]), ElementsAre(-1, 0, 4));
  EXPECT_THAT(floats((*results)[1]), ElementsAre(0, 0, 2));
}

TEST(Operators, AreDescribedForPeople) {
  EXPECT_EQ(describe(Conv{}), "Conv");
  EXPECT_EQ(describe(Unary{UnaryKind::is_negative_infinity}), "Unary is_negative_infinity");
  EXPECT_EQ(describe(Binary{BinaryKind::logical_xor}), "Binary logical_xor");
  EXPECT_EQ(describe(Reduce{ReduceKind::sum_square, {}}), "Reduce sum_square");
  EXPECT_EQ(describe(Dequantize{}), "Dequantize");
}

}  // namespace
}  // namespace takt::graph
