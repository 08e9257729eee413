// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/compile/lowering_fixture.h"

#include "backend/cuda/compile/host_run.h"
#include "graph/constants.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <span>

namespace takt::cuda {

using graph::Constant;
using graph::Graph;
using graph::TensorType;
using graph::ValueId;

Constant random_constant(const TensorType& type, unsigned seed, double scale) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal(0, scale);
  std::vector<double> numbers(*element_count(type.shape));
  for (double& number : numbers) number = normal(random);
  return graph::constant_of(type.type, type.shape, std::span<const double>(numbers));
}

std::size_t count(const Program& program, StepKind kind) {
  return static_cast<std::size_t>(std::ranges::count(program.steps, kind, &Step::kind));
}

std::size_t copies(const Program& program) {
  return static_cast<std::size_t>(std::ranges::count_if(program.steps, [](const Step& step) {
    return step.kind == StepKind::pointwise && step.ops.empty();
  }));
}

Program expect_same(const Graph& graph, Precision precision, double tolerance) {
  const Result<Program> program = lower(graph, {precision, {}, 0, {9, 0}});
  EXPECT_TRUE(program) << program.error().message;
  if (!program) return {};
  std::vector<Constant> inputs;
  inputs.reserve(graph.inputs.size());
  for (const ValueId id : graph.inputs) inputs.push_back(random_constant(graph.value(id).type, 99));
  const auto expected = graph::evaluate(graph, inputs);
  EXPECT_TRUE(expected) << expected.error().message;
  const auto got = run_on_host(*program, inputs);
  EXPECT_TRUE(got) << got.error().message;
  if (!got || !expected) return *program;
  for (std::size_t i = 0; i < expected->size(); ++i) {
    EXPECT_EQ((*got)[i].type, (*expected)[i].type);
    const std::vector<double> g = graph::numbers_in((*got)[i]);
    const std::vector<double> e = graph::numbers_in((*expected)[i]);
    double largest = 1;
    for (const double number : e) largest = std::max(largest, std::abs(number));
    for (std::size_t k = 0; k < e.size(); ++k) {
      if (std::abs(g[k] - e[k]) <= tolerance * largest) continue;
      ADD_FAILURE() << "output " << i << ", element " << k << ": " << g[k] << ", expected " << e[k];
      break;
    }
  }
  return *program;
}

}  // namespace takt::cuda
