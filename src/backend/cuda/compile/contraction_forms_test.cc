// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/compile/contraction_forms.h"

#include "backend/cuda/compile/host_run.h"
#include "backend/cuda/compile/lowering.h"
#include "graph/constants.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace takt::cuda {
namespace {

using graph::Constant;
using graph::Graph;
using graph::GraphBuilder;
using graph::Operator;
using graph::TensorType;
using graph::UnaryKind;
using graph::ValueId;

constexpr auto kF32 = DataType::fp32;
constexpr auto kWhole = ContractionForm::whole;
constexpr auto kEpilogue = ContractionForm::separate_epilogue;
constexpr auto kBias = ContractionForm::separate_bias;

Constant random_constant(const TensorType& type, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal(0, 0.5);
  std::vector<double> numbers(*element_count(type.shape));
  for (double& number : numbers) number = normal(random);
  return graph::constant_of(type.type, type.shape, std::span<const double>(numbers));
}

enum class ProductKind : std::uint8_t { conv, pixel_conv, conv_transpose, matmul };

struct Layer {
  ProductKind kind{};
  bool bias = false;
  bool residual = false;
  bool activation = false;
  bool activation_first = false;
};

ValueId must(Result<ValueId> added) {
  EXPECT_TRUE(added) << added.error().message;
  return added.value();
}

// x and a residual of its shape are inputs.
Graph graph_of(const Layer& layer) {
  const bool matrix = layer.kind == ProductKind::matmul;
  const Shape shape = matrix ? Shape{2, 3, 8} : Shape{2, 8, 3, 3};
  GraphBuilder builder;
  const ValueId x = builder.add_input("x", {kF32, shape});
  const ValueId residual = builder.add_input("residual", {kF32, shape});
  const std::int64_t kernel = layer.kind == ProductKind::pixel_conv ? 1 : 3;
  const std::int64_t pad = kernel / 2;
  const Shape weights = matrix ? Shape{8, 8} : Shape{8, 8, kernel, kernel};
  std::vector<ValueId> inputs{x, builder.add_constant(random_constant({kF32, weights}, 1))};
  if (layer.bias && !matrix)
    inputs.push_back(builder.add_constant(random_constant({kF32, {8}}, 2)));
  const graph::Window window{{kernel, kernel}, {1, 1}, {1, 1}, {pad, pad}, {pad, pad}};
  const Operator product = matrix ? Operator{graph::MatMul{}}
                           : layer.kind != ProductKind::conv_transpose
                               ? Operator{graph::Conv{window, 1}}
                               : Operator{graph::ConvTranspose{window, {0, 0}, 1}};
  ValueId y = must(builder.add(product, inputs));
  const auto activate = [&] { y = must(builder.add(graph::Unary{UnaryKind::silu, 1, 0}, {y})); };
  if (layer.activation && layer.activation_first) activate();
  if (layer.residual) y = must(builder.add(graph::Binary{graph::BinaryKind::add}, {residual, y}));
  if (layer.activation && !layer.activation_first) activate();
  return std::move(builder).finish({y});
}

// The program with every contraction in this form, where it has it.
Program in_form(Program program, ContractionForm form) {
  std::vector<Step> steps;
  for (const Step& step : program.steps) {
    std::vector<Step> parts;
    if (step.kind == StepKind::contraction) parts = steps_of(step, form);
    if (parts.empty()) parts = {step};
    steps.insert(steps.end(), parts.begin(), parts.end());
  }
  program.steps = std::move(steps);
  return program;
}

std::vector<double> numbers_of(const Program& program, const Graph& graph) {
  std::vector<Constant> inputs;
  inputs.reserve(graph.inputs.size());
  for (const ValueId id : graph.inputs) inputs.push_back(random_constant(graph.value(id).type, 3));
  const auto outputs = run_on_host(program, inputs);
  EXPECT_TRUE(outputs) << outputs.error().message;
  return outputs ? graph::numbers_in(outputs->front()) : std::vector<double>{};
}

const Step& contraction_in(const Program& program) {
  return *std::ranges::find(program.steps, StepKind::contraction, &Step::kind);
}

Program lowered(const Layer& layer) {
  const Result<Program> program = lower(graph_of(layer), {});
  EXPECT_TRUE(program) << program.error().message;
  return program.value();
}

RC_GTEST_PROP(ContractionFormsProperty, EachFormGivesTheWholeStepsResult, ()) {
  const auto flag = [] { return *rc::gen::arbitrary<bool>(); };
  const auto kind = *rc::gen::element(ProductKind::conv, ProductKind::pixel_conv,
                                      ProductKind::conv_transpose, ProductKind::matmul);
  const Layer layer{kind, flag(), flag(), flag(), flag()};
  const Graph graph = graph_of(layer);
  const Program program = lowered(layer);
  const std::vector<double> expected = numbers_of(program, graph);
  for (const ContractionForm form : {kEpilogue, kBias}) {
    const std::vector<double> got = numbers_of(in_form(program, form), graph);
    RC_ASSERT(got.size() == expected.size());
    for (std::size_t i = 0; i < got.size(); ++i) {
      RC_ASSERT(std::abs(got[i] - expected[i]) <= 1e-5 * (1 + std::abs(expected[i])));
    }
  }
}

TEST(ContractionForms, ThoseThatAreNoOtherThanOneBeforeAreEmpty) {
  const Step plain = contraction_in(lowered({ProductKind::conv, false, false, false, false}));
  EXPECT_EQ(steps_of(plain, kWhole).size(), 1U);
  EXPECT_TRUE(steps_of(plain, kEpilogue).empty());
  EXPECT_TRUE(steps_of(plain, kBias).empty());
  const Step bias = contraction_in(lowered({ProductKind::conv, true, false, false, false}));
  EXPECT_TRUE(steps_of(bias, kEpilogue).empty());
  EXPECT_EQ(steps_of(bias, kBias).size(), 2U);
  const Step sum = contraction_in(lowered({ProductKind::conv, false, true, false, false}));
  EXPECT_EQ(steps_of(sum, kEpilogue).size(), 2U);
  EXPECT_TRUE(steps_of(sum, kBias).empty()) << "there is no bias";
}

TEST(ContractionForms, TheRestIsComputedInPlace) {
  const Step whole = contraction_in(lowered({ProductKind::conv, true, true, true, false}));
  for (const ContractionForm form : {kEpilogue, kBias}) {
    const std::vector<Step> parts = steps_of(whole, form);
    ASSERT_EQ(parts.size(), 2U);
    EXPECT_EQ(parts[0].kind, StepKind::contraction);
    EXPECT_EQ(parts[0].ops.size(), 1U);
    EXPECT_EQ(parts[0].inputs.size(), form == kBias ? 2U : 3U);
    EXPECT_EQ(parts[1].kind, StepKind::pointwise);
    EXPECT_EQ(parts[1].inputs.front(), parts[0].outputs.front().view);
    EXPECT_EQ(parts[1].outputs.front().view, whole.outputs.front().view);
  }
}

TEST(ContractionForms, AProblemIsWhatItsTimeDependsOn) {
  const Step step = contraction_in(lowered({ProductKind::conv, true, false, true, false}));
  Step other = step;
  other.name = "elsewhere";
  for (View& view : other.inputs) view.buffer += 7;
  other.inputs[0].offset += 64;  // 256 bytes further on
  EXPECT_EQ(problem_text(other), problem_text(step));
  other.inputs[0].offset += 1;
  EXPECT_NE(problem_text(other), problem_text(step)) << "another alignment";
  other = step;
  other.inputs[0].strides[0] += 8;
  EXPECT_NE(problem_text(other), problem_text(step)) << "other strides";
  other = step;
  std::get<graph::Conv>(other.ops[0].op).window.dilations = {2, 2};
  EXPECT_NE(problem_text(other), problem_text(step)) << "another window";
  other = step;
  std::get<graph::Unary>(other.ops[1].op).alpha = 2;
  EXPECT_NE(problem_text(other), problem_text(step)) << "another activation";
}

TEST(ContractionForms, CountsProductsAndBytes) {
  const Step step = contraction_in(lowered({ProductKind::conv, false, false, false, false}));
  EXPECT_EQ(floating_point_operations(step), 2.0 * (2 * 8 * 3 * 3) * (8 * 3 * 3));
  const double image = 2 * 8 * 3 * 3 * 4;
  EXPECT_EQ(bytes_moved(step), 2 * image + 8 * 8 * 3 * 3 * 4);
  Step broadcast = step;
  broadcast.inputs[0].strides.assign(4, 0);
  EXPECT_EQ(bytes_moved(broadcast), image + 8 * 8 * 3 * 3 * 4 + 4) << "one element, read often";
}

}  // namespace
}  // namespace takt::cuda
