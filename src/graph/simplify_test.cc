// SPDX-License-Identifier: Apache-2.0
#include "graph/simplify.h"

#include "graph/constants.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <numbers>
#include <random>
#include <string>
#include <vector>

namespace takt::graph {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr auto kF32 = DataType::fp32;

// A graph of one FP32 input, written step by step.
class Sketch {
 public:
  explicit Sketch(Shape input) : x_(builder_.add_input("x", {kF32, std::move(input)})) {}

  [[nodiscard]] ValueId x() const { return x_; }
  ValueId add(Operator op, std::vector<ValueId> inputs) {
    const Result<ValueId> added = builder_.add(std::move(op), std::move(inputs));
    EXPECT_TRUE(added) << added.error().message;
    return added.value();
  }
  ValueId unary(UnaryKind kind, ValueId a) { return add(Unary{kind}, {a}); }
  ValueId mul(ValueId a, ValueId b) { return add(Binary{BinaryKind::mul}, {a, b}); }
  ValueId plus(ValueId a, ValueId b) { return add(Binary{BinaryKind::add}, {a, b}); }
  ValueId minus(ValueId a, ValueId b) { return add(Binary{BinaryKind::sub}, {a, b}); }
  ValueId over(ValueId a, ValueId b) { return add(Binary{BinaryKind::div}, {a, b}); }
  ValueId power(ValueId a, double exponent) {
    return add(Binary{BinaryKind::pow}, {a, number(exponent)});
  }
  ValueId mean(ValueId a, int axis) { return add(Reduce{ReduceKind::mean, {axis}}, {a}); }

  ValueId number(double value) { return builder_.add_constant(scalar_of(kF32, value)); }
  ValueId weights(Shape shape) {
    std::vector<double> values(static_cast<std::size_t>(*element_count(shape)));
    std::uniform_real_distribution<double> distribution(0.5, 1.5);
    for (double& value : values) value = distribution(random_);
    return builder_.add_constant(
        constant_of(kF32, std::move(shape), std::span<const double>(values)));
  }

  Graph finish(std::vector<ValueId> outputs) && {
    return std::move(builder_).finish(std::move(outputs));
  }

 private:
  GraphBuilder builder_;
  ValueId x_;
  std::mt19937 random_{20240611};
};

std::vector<std::string> operators(const Graph& graph) {
  std::vector<std::string> names;
  for (const Node& node : graph.nodes) names.push_back(describe(node.op));
  return names;
}

Constant random_input(const TensorType& type) {
  std::mt19937 random(7);
  std::normal_distribution<double> distribution(0, 2);
  std::vector<double> values(static_cast<std::size_t>(*element_count(type.shape)));
  for (double& value : values) value = distribution(random);
  return constant_of(type.type, type.shape, std::span<const double>(values));
}

// Simplified, and computing the same as before.
Graph simplified(const Graph& graph) {
  const Result<Graph> result = simplify(graph);
  EXPECT_TRUE(result) << result.error().message;
  const std::vector<Constant> inputs{random_input(graph.value(graph.inputs[0]).type)};
  const auto before = evaluate(graph, inputs);
  const auto after = evaluate(*result, inputs);
  EXPECT_TRUE(before && after);
  EXPECT_EQ(before->size(), after->size());
  for (std::size_t i = 0; i < before->size(); ++i) {
    EXPECT_EQ((*before)[i].type, (*after)[i].type);
    const std::vector<double> expected = numbers_in((*before)[i]);
    const std::vector<double> got = numbers_in((*after)[i]);
    for (std::size_t k = 0; k < expected.size(); ++k) {
      EXPECT_NEAR(got[k], expected[k], 1e-4 * std::max(1.0, std::abs(expected[k])));
    }
  }
  return *result;
}

Conv three_by_three() {
  return {{{3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}}, 1};
}

TEST(Simplify, RecognisesActivationsAsExportersWriteThem) {
  struct Case {
    std::string what;
    std::function<ValueId(Sketch&)> write;
    std::string expected;
  };
  const double root = std::sqrt(2 / std::numbers::pi);
  const std::vector<Case> cases{
      {"sigmoid first", [](Sketch& s) { return s.mul(s.unary(UnaryKind::sigmoid, s.x()), s.x()); },
       "Unary silu"},
      {"sigmoid last", [](Sketch& s) { return s.mul(s.x(), s.unary(UnaryKind::sigmoid, s.x())); },
       "Unary silu"},
      {"gelu of PyTorch",
       [](Sketch& s) {
         const ValueId erf = s.unary(UnaryKind::erf, s.over(s.x(), s.number(std::numbers::sqrt2)));
         return s.mul(s.mul(s.x(), s.plus(erf, s.number(1))), s.number(0.5));
       },
       "Unary gelu"},
      {"gelu with halves first",
       [](Sketch& s) {
         const ValueId erf =
             s.unary(UnaryKind::erf, s.mul(s.x(), s.number(std::numbers::sqrt2 / 2)));
         return s.mul(s.mul(s.number(0.5), s.x()), s.plus(s.number(1), erf));
       },
       "Unary gelu"},
      {"gelu by tanh",
       [root](Sketch& s) {
         const ValueId cube = s.mul(s.number(0.044715), s.power(s.x(), 3));
         const ValueId bent = s.unary(UnaryKind::tanh, s.mul(s.number(root), s.plus(s.x(), cube)));
         return s.mul(s.mul(s.number(0.5), s.x()), s.plus(s.number(1), bent));
       },
       "Unary gelu_tanh"},
      {"hard swish",
       [](Sketch& s) {
         const ValueId gate = s.add(Unary{UnaryKind::hard_sigmoid, 1.0F / 6, 0.5F}, {s.x()});
         return s.mul(s.x(), gate);
       },
       "Unary hard_swish"},
      {"hard swish by clip",
       [](Sketch& s) {
         const ValueId gate = s.add(Unary{UnaryKind::clip, 0, 6}, {s.plus(s.x(), s.number(3))});
         return s.over(s.mul(s.x(), gate), s.number(6));
       },
       "Unary hard_swish"},
      {"mish",
       [](Sketch& s) {
         return s.mul(s.x(), s.unary(UnaryKind::tanh, s.unary(UnaryKind::softplus, s.x())));
       },
       "Unary mish"},
  };
  for (const Case& one : cases) {
    Sketch sketch({2, 5});
    const ValueId y = one.write(sketch);
    EXPECT_THAT(operators(simplified(std::move(sketch).finish({y}))), ElementsAre(one.expected))
        << one.what;
  }
}

// What only looks like an activation stays what it is.
TEST(Simplify, LeavesOtherProductsAlone) {
  Sketch sketch({2, 5});
  const ValueId other = sketch.unary(UnaryKind::exp, sketch.x());
  const ValueId gate = sketch.unary(UnaryKind::sigmoid, other);
  const ValueId y = sketch.mul(sketch.x(), gate);
  EXPECT_THAT(operators(simplified(std::move(sketch).finish({y}))),
              ElementsAre("Unary exp", "Unary sigmoid", "Binary mul"));
}

// A factor that is nearly one is a factor.
TEST(Simplify, KeepsFactorsThatAreNotQuiteOne) {
  Sketch sketch({2, 5});
  const ValueId gate = sketch.unary(UnaryKind::sigmoid, sketch.x());
  const ValueId y = sketch.mul(sketch.mul(sketch.x(), gate), sketch.number(1.00005));
  EXPECT_THAT(operators(simplified(std::move(sketch).finish({y}))),
              ElementsAre("Unary silu", "Binary mul"));
}

// Equal numbers may widen what they multiply.
TEST(Simplify, KeepsTheShapeThatAFactorBrings) {
  Sketch sketch({4});
  const ValueId gate = sketch.unary(UnaryKind::sigmoid, sketch.x());
  const ValueId ones = sketch.add(Expand{{3, 4}}, {sketch.number(1)});
  const ValueId y = sketch.mul(sketch.mul(sketch.x(), gate), ones);
  const Graph graph = simplified(std::move(sketch).finish({y}));
  EXPECT_EQ(graph.value(graph.outputs[0]).type, (TensorType{kF32, {3, 4}}));
}

// Products are looked into a few levels deep only.
TEST(Simplify, IsQuickWithLongChains) {
  Sketch sketch({1});
  ValueId y = sketch.x();
  for (int i = 0; i < 20'000; ++i) y = sketch.mul(y, sketch.x());
  const Result<Graph> graph = simplify(std::move(sketch).finish({y}));
  ASSERT_TRUE(graph) << graph.error().message;
  EXPECT_EQ(graph->nodes.size(), 20'000U);
}

TEST(Simplify, FoldsScalesAndShiftsIntoConvolutions) {
  Sketch sketch({1, 2, 6, 6});
  ValueId y = sketch.add(three_by_three(), {sketch.x(), sketch.weights({4, 2, 3, 3})});
  y = sketch.mul(y, sketch.weights({1, 4, 1, 1}));
  y = sketch.plus(sketch.weights({4, 1, 1}), y);
  y = sketch.minus(y, sketch.number(3));
  y = sketch.over(y, sketch.weights({4, 1, 1}));
  EXPECT_THAT(operators(simplified(std::move(sketch).finish({y}))), ElementsAre("Conv"));
}

TEST(Simplify, KeepsAConvolutionThatOthersNeed) {
  Sketch sketch({1, 2, 6, 6});
  const ValueId conv = sketch.add(three_by_three(), {sketch.x(), sketch.weights({4, 2, 3, 3})});
  const ValueId y = sketch.mul(conv, sketch.weights({4, 1, 1}));
  const Graph graph = simplified(std::move(sketch).finish({y, conv}));
  EXPECT_THAT(operators(graph), ElementsAre("Conv", "Binary mul"));
}

// A factor along the width is none of a channel.
TEST(Simplify, KeepsFactorsOfOtherDimensions) {
  Sketch sketch({1, 2, 4, 4});
  const ValueId conv = sketch.add(three_by_three(), {sketch.x(), sketch.weights({4, 2, 3, 3})});
  const ValueId y = sketch.mul(conv, sketch.weights({4}));
  EXPECT_THAT(operators(simplified(std::move(sketch).finish({y}))),
              ElementsAre("Conv", "Binary mul"));
}

TEST(Simplify, FoldsZerosAroundAnImageIntoTheConvolution) {
  Sketch sketch({1, 2, 5, 5});
  const ValueId padded =
      sketch.add(Pad{{0, 0, 1, 0}, {0, 0, 2, 1}, PadMode::constant, 0}, {sketch.x()});
  const ValueId y = sketch.add(three_by_three(), {padded, sketch.weights({4, 2, 3, 3})});
  const Graph graph = simplified(std::move(sketch).finish({y}));
  ASSERT_THAT(operators(graph), ElementsAre("Conv"));
  EXPECT_THAT(std::get<Conv>(graph.nodes[0].op).window.pads_end, ElementsAre(3, 2));
}

TEST(Simplify, RecognisesLayerNormsWithScaleAndBias) {
  Sketch sketch({2, 3, 8});
  const ValueId centred = sketch.minus(sketch.x(), sketch.mean(sketch.x(), 2));
  const ValueId variance = sketch.mean(sketch.power(centred, 2), 2);
  const ValueId root = sketch.unary(UnaryKind::sqrt, sketch.plus(variance, sketch.number(1e-5)));
  ValueId y = sketch.over(centred, root);
  y = sketch.mul(y, sketch.weights({8}));
  y = sketch.plus(y, sketch.weights({8}));
  EXPECT_THAT(operators(simplified(std::move(sketch).finish({y}))), ElementsAre("LayerNorm"));
}

TEST(Simplify, JoinsWhatOnlyMovesElements) {
  Sketch sketch({2, 3, 4});
  ValueId y = sketch.add(Transpose{{1, 0, 2}}, {sketch.x()});
  y = sketch.add(Transpose{{2, 1, 0}}, {y});
  y = sketch.add(Reshape{{4, 6}}, {y});
  y = sketch.add(Reshape{{24}}, {y});
  EXPECT_THAT(operators(simplified(std::move(sketch).finish({y}))),
              ElementsAre("Transpose", "Reshape"));
}

TEST(Simplify, DropsWhatChangesNothing) {
  Sketch sketch({2, 3});
  ValueId y = sketch.plus(sketch.x(), sketch.number(0));
  y = sketch.mul(sketch.number(1), y);
  y = sketch.add(Transpose{{1, 0}}, {sketch.add(Transpose{{1, 0}}, {y})});
  y = sketch.add(Slice{{0, 0}, {1, 1}, {2, 3}}, {y});
  y = sketch.unary(UnaryKind::relu, y);
  EXPECT_THAT(operators(simplified(std::move(sketch).finish({y}))), ElementsAre("Unary relu"));
}

TEST(Simplify, NeighbouringRowsAreASlice) {
  const auto gathered = [](Shape shape, std::vector<std::int64_t> rows) {
    GraphBuilder builder;
    const ValueId x = builder.add_input("x", {kF32, {2, 5, 3}});
    const ValueId indices = builder.add_constant(
        constant_of(DataType::int64, std::move(shape), std::span<const std::int64_t>(rows)));
    const ValueId y = builder.add(Gather{1}, {x, indices}).value();
    return simplified(std::move(builder).finish({y}));
  };
  EXPECT_THAT(operators(gathered({}, {-2})), ElementsAre("Slice", "Reshape"));
  EXPECT_THAT(operators(gathered({3}, {1, 2, 3})), ElementsAre("Slice"));
  EXPECT_THAT(operators(gathered({2}, {1, 3})), ElementsAre("Gather"));
}

// Dropping a factor must not drop the dimensions that it brings.
TEST(Simplify, KeepsANeutralNumberThatWidens) {
  Sketch sketch({3});
  const ValueId ones = sketch.add(Expand{{2, 3}}, {sketch.number(1)});
  const ValueId y = sketch.mul(sketch.x(), ones);
  EXPECT_THAT(operators(simplified(std::move(sketch).finish({y}))), ElementsAre("Binary mul"));
}

TEST(Simplify, ReadsNarrowTensorsWhereTheyWereExpanded) {
  Sketch sketch({1, 4});
  const ValueId wide = sketch.add(Expand{{3, 4}}, {sketch.x()});
  const ValueId y = sketch.mul(wide, sketch.weights({3, 4}));
  EXPECT_THAT(operators(simplified(std::move(sketch).finish({y}))), ElementsAre("Binary mul"));
}

TEST(Simplify, KeepsOutputsApartWithTheirNames) {
  GraphBuilder builder;
  const ValueId x = builder.add_input("x", {kF32, {4}});
  const ValueId relu = builder.add(Unary{UnaryKind::relu}, {x}).value();
  const ValueId same = builder.add(Reshape{{4}}, {relu}).value();
  const ValueId input = builder.add(Reshape{{4}}, {x}).value();
  builder.set_name(relu, "a");
  builder.set_name(same, "b");
  builder.set_name(input, "c");
  const Graph graph = simplified(std::move(builder).finish({relu, same, input}));
  ASSERT_EQ(graph.outputs.size(), 3U);
  EXPECT_EQ(graph.value(graph.outputs[0]).name, "a");
  EXPECT_EQ(graph.value(graph.outputs[1]).name, "b");
  EXPECT_EQ(graph.value(graph.outputs[2]).name, "c");
  EXPECT_EQ(graph.value(graph.inputs[0]).name, "x");
}

}  // namespace
}  // namespace takt::graph
