// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/compile/fusion.h"

#include "graph/constants.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace takt::cuda {
namespace {

using graph::Binary;
using graph::BinaryKind;
using graph::Graph;
using graph::GraphBuilder;
using graph::Operator;
using graph::Unary;
using graph::UnaryKind;
using graph::ValueId;
using ::testing::ElementsAre;

constexpr auto kF32 = DataType::fp32;

// A builder whose nodes are counted, and every value that isn't a constant is one.
class Net {
 public:
  ValueId input(Shape shape, DataType type = kF32) {
    return builder_.add_input("x" + std::to_string(++inputs_), {type, std::move(shape)});
  }
  ValueId weights(const Shape& shape, DataType type = kF32) {
    const std::vector<double> numbers(*element_count(shape), 0.5);
    return builder_.add_constant(graph::constant_of(type, shape, std::span(numbers)));
  }
  ValueId add(Operator op, std::vector<ValueId> inputs) {
    Result<ValueId> added = builder_.add(std::move(op), std::move(inputs));
    EXPECT_TRUE(added) << added.error().message;
    return added.value();
  }
  // 1x1
  ValueId conv(ValueId x, std::int64_t channels, std::int64_t groups = 1) {
    const Shape& shape = builder_.shape(x);
    const graph::Window window{{1, 1}, {1, 1}, {1, 1}, {0, 0}, {0, 0}};
    const ValueId w = weights({channels, shape[1] / groups, 1, 1}, builder_.type(x).type);
    return add(graph::Conv{window, groups}, {x, w});
  }
  ValueId unary(UnaryKind kind, ValueId x) { return add(Unary{kind, 1, 0}, {x}); }
  ValueId sum(ValueId a, ValueId b) { return add(Binary{BinaryKind::add}, {a, b}); }
  ValueId mul(ValueId a, ValueId b) { return add(Binary{BinaryKind::mul}, {a, b}); }
  Graph finish(std::vector<ValueId> outputs) {
    return std::move(builder_).finish(std::move(outputs));
  }

 private:
  GraphBuilder builder_;
  int inputs_ = 0;
};

using Nodes = std::vector<std::size_t>;

// "contraction 0 1", "pointwise 2", ... in the order of the groups
std::vector<std::string> texts(const Graph& graph) {
  std::vector<std::string> texts;
  for (const Group& group : fuse(graph)) {
    std::string text = group.kind == StepKind::contraction ? "contraction"
                       : group.kind == StepKind::pointwise ? "pointwise"
                                                           : "single";
    for (const std::size_t node : group.nodes) text += " " + std::to_string(node);
    texts.push_back(std::move(text));
  }
  return texts;
}

TEST(Fusion, AContractionTakesOneSumAndOneActivationInEitherOrder) {
  Net net;
  const ValueId x = net.input({1, 16, 4, 4});
  const ValueId a = net.unary(UnaryKind::relu, net.sum(net.conv(x, 16), x));
  const ValueId b = net.sum(net.unary(UnaryKind::silu, net.conv(a, 16)), a);
  EXPECT_THAT(texts(net.finish({b})), ElementsAre("contraction 0 1 2", "contraction 3 4 5"));
}

TEST(Fusion, ASecondSumOrActivationIsAStepOfItsOwn) {
  Net net;
  const ValueId x = net.input({1, 16, 4, 4});
  const ValueId active = net.unary(UnaryKind::relu, net.conv(x, 16));
  const ValueId a = net.unary(UnaryKind::sigmoid, active);
  const ValueId b = net.sum(net.sum(net.conv(a, 16), a), x);
  EXPECT_THAT(texts(net.finish({b})),
              ElementsAre("contraction 0 1", "pointwise 2", "contraction 3 4", "pointwise 5"));
}

TEST(Fusion, OfTwoConvolutionsThatAreAddedTheLaterTakesTheSum) {
  Net net;
  const ValueId x = net.input({1, 16, 4, 4});
  const ValueId first = net.conv(x, 16);
  const ValueId second = net.conv(x, 16);
  EXPECT_THAT(texts(net.finish({net.sum(first, second)})),
              ElementsAre("contraction 0", "contraction 1 2"));
}

TEST(Fusion, WhatOthersNeedTooIsNotTaken) {
  Net net;
  const ValueId x = net.input({1, 16, 4, 4});
  const ValueId y = net.conv(x, 16);
  const ValueId z = net.unary(UnaryKind::relu, y);
  // y is an output, and z is needed twice.
  const ValueId grown = net.unary(UnaryKind::exp, z);
  const ValueId both = net.mul(grown, net.conv(z, 16));
  EXPECT_THAT(texts(net.finish({y, both})),
              ElementsAre("contraction 0", "pointwise 1", "contraction 3", "pointwise 2 4"));
}

TEST(Fusion, ASumWithItselfOrToALargerShapeIsNotAResidual) {
  Net net;
  const ValueId x = net.input({1, 16, 4, 4});
  const ValueId pixels = net.input({1, 16, 1, 1});
  const ValueId y = net.conv(x, 16);
  const ValueId larger = net.sum(net.conv(pixels, 16), x);
  EXPECT_THAT(texts(net.finish({net.sum(y, y), larger})),
              ElementsAre("contraction 0", "contraction 1", "pointwise 2", "pointwise 3"));
}

TEST(Fusion, ProductsOfAFewNumbersAreNotTuned) {
  Net net;
  const ValueId x = net.input({1, 8, 4, 4});
  const ValueId few = net.conv(x, 4);
  const ValueId more = net.conv(x, 5);
  const ValueId exact = net.conv(net.input({1, 8, 4, 4}, DataType::fp64), 8);
  EXPECT_THAT(texts(net.finish({few, more, exact})),
              ElementsAre("single 0", "contraction 1", "single 2"));
}

TEST(Fusion, ElementwiseOperatorsOfAnotherShapeAreAnotherStep) {
  Net net;
  const ValueId row = net.unary(UnaryKind::exp, net.input({4}));
  const ValueId matrix = net.unary(UnaryKind::abs, net.input({3, 4}));
  const ValueId scaled = net.mul(matrix, row);
  const ValueId sums = net.add(graph::Reduce{graph::ReduceKind::sum, {0}}, {scaled});
  EXPECT_THAT(texts(net.finish({net.unary(UnaryKind::neg, sums)})),
              ElementsAre("pointwise 0", "pointwise 1 2", "single 3", "pointwise 4"));
}

TEST(Fusion, ALongChainIsCut) {
  Net net;
  ValueId x = net.input({3});
  for (int i = 0; i < 100; ++i) x = net.unary(UnaryKind::sin, x);
  const std::vector<Group> groups = fuse(net.finish({x}));
  ASSERT_EQ(groups.size(), 2U);
  EXPECT_EQ(groups[1].nodes.size(), 64U);
}

TEST(Fusion, AStepHasAFewInputsOnly) {
  Net net;
  ValueId sum = net.input({3});
  for (int i = 0; i < 50; ++i) sum = net.sum(sum, net.input({3}));
  const Graph graph = net.finish({sum});
  std::vector<std::size_t> inputs;
  for (const Group& group : fuse(graph)) inputs.push_back(group.nodes.size() + 1);
  EXPECT_THAT(inputs, ElementsAre(20, 32));
}

// Small graphs of operators that may be fused, each on values before it.
Graph some_graph() {
  Net net;
  std::vector<ValueId> values{net.input({1, 16, 2, 2}), net.input({1, 16, 2, 2})};
  const auto any = [&] { return *rc::gen::elementOf(values); };
  const int nodes = *rc::gen::inRange(1, 20);
  for (int i = 0; i < nodes; ++i) {
    switch (*rc::gen::inRange(0, 5)) {
      case 0:
        values.push_back(net.conv(any(), 16));
        break;
      case 1:
        values.push_back(net.unary(UnaryKind::relu, any()));
        break;
      case 2:
        values.push_back(net.add(graph::Softmax{1, false}, {any()}));
        break;
      case 3:
        values.push_back(net.mul(any(), any()));
        break;
      default:
        values.push_back(net.sum(any(), any()));
    }
  }
  std::vector<ValueId> outputs{values.back()};
  if (*rc::gen::arbitrary<bool>()) outputs.push_back(any());
  return net.finish(std::move(outputs));
}

RC_GTEST_PROP(FusionProperty, EveryNodeIsInOneGroupBehindWhatItNeeds, ()) {
  const Graph graph = some_graph();
  std::set<std::uint32_t> known;
  for (const ValueId id : graph.inputs) known.insert(id.value);
  std::vector<int> times(graph.nodes.size(), 0);
  for (const Group& group : fuse(graph)) {
    RC_ASSERT(std::ranges::is_sorted(group.nodes));
    std::set<std::uint32_t> made;
    for (const std::size_t n : group.nodes) {
      ++times[n];
      for (const ValueId id : graph.nodes[n].inputs) {
        const bool is_constant = graph.value(id).constant != nullptr;
        RC_ASSERT(is_constant || known.contains(id.value) || made.contains(id.value));
      }
      made.insert(graph.nodes[n].outputs.front().value);
    }
    // Only what the last one computes is seen by others.
    known.insert(graph.nodes[group.nodes.back()].outputs.front().value);
  }
  RC_ASSERT(std::ranges::all_of(times, [](int count) { return count == 1; }));
  for (const ValueId id : graph.outputs) RC_ASSERT(known.contains(id.value));
}

}  // namespace
}  // namespace takt::cuda
