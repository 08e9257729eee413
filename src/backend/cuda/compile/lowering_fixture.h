// SPDX-License-Identifier: Apache-2.0
// Graphs for tests of lowering, and the comparison of a lowered model with its graph, both run on the CPU.
// Thread-safe: no; a Net is one test's.
// Owns: a Net its graph until finish().
#pragma once

#include "backend/cuda/compile/lowering.h"
#include "graph/constants.h"
#include "graph/graph.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace takt::cuda {

// Normally distributed; the same for each seed.
[[nodiscard]] graph::Constant random_constant(const graph::TensorType& type, unsigned seed,
                                              double scale = 1);

// A builder that asserts, and numbers its random weights.
class Net {
 public:
  graph::ValueId input(Shape shape) {
    return builder_.add_input("input", {DataType::fp32, std::move(shape)});
  }
  graph::ValueId weights(Shape shape, double scale = 0.2) {
    return builder_.add_constant(
        random_constant({DataType::fp32, std::move(shape)}, ++seed_, scale));
  }
  graph::ValueId add(graph::Operator op, std::vector<graph::ValueId> inputs) {
    builder_.set_node_name("node" + std::to_string(++nodes_));
    Result<graph::ValueId> added = builder_.add(std::move(op), std::move(inputs));
    EXPECT_TRUE(added) << added.error().message;
    return added.value();
  }
  graph::ValueId number(double value) {
    return builder_.add_constant(graph::scalar_of(DataType::fp32, value));
  }
  graph::ValueId conv(graph::ValueId x, std::int64_t channels, std::int64_t kernel,
                      std::int64_t stride = 1, std::int64_t groups = 1) {
    const std::int64_t pad = kernel / 2;
    const graph::Window window{{kernel, kernel}, {stride, stride}, {1, 1}, {pad, pad}, {pad, pad}};
    return add(graph::Conv{window, groups},
               {x, weights({channels, shape(x)[1] / groups, kernel, kernel}), weights({channels})});
  }
  graph::ValueId unary(graph::UnaryKind kind, graph::ValueId x, float alpha = 1) {
    return add(graph::Unary{kind, alpha, 0}, {x});
  }
  graph::ValueId binary(graph::BinaryKind kind, graph::ValueId a, graph::ValueId b) {
    return add(graph::Binary{kind}, {a, b});
  }
  graph::ValueId reshape(graph::ValueId x, Shape to) {
    return add(graph::Reshape{std::move(to)}, {x});
  }
  graph::ValueId transpose(graph::ValueId x, std::vector<int> permutation) {
    return add(graph::Transpose{std::move(permutation)}, {x});
  }
  graph::ValueId slice(graph::ValueId x, int axis, std::int64_t begin, std::int64_t size) {
    graph::Slice slice{std::vector<std::int64_t>(shape(x).size(), 0),
                       std::vector<std::int64_t>(shape(x).size(), 1), shape(x)};
    slice.starts[static_cast<std::size_t>(axis)] = begin;
    slice.sizes[static_cast<std::size_t>(axis)] = size;
    return add(slice, {x});
  }
  graph::ValueId concat(std::vector<graph::ValueId> parts, int axis) {
    return add(graph::Concat{axis}, std::move(parts));
  }
  [[nodiscard]] const Shape& shape(graph::ValueId id) const { return builder_.shape(id); }
  graph::Graph finish(std::vector<graph::ValueId> outputs) {
    return std::move(builder_).finish(std::move(outputs));
  }

 private:
  graph::GraphBuilder builder_;
  unsigned seed_ = 0;
  int nodes_ = 0;
};

[[nodiscard]] std::size_t count(const Program& program, StepKind kind);
// Steps that only move elements.
[[nodiscard]] std::size_t copies(const Program& program);

// Lowers the graph for the newest devices, runs both, and compares; every buffer that is not written holds NaN.
Program expect_same(const graph::Graph& graph, Precision precision = Precision::fp32,
                    double tolerance = 1e-5);

}  // namespace takt::cuda
