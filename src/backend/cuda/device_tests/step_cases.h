// SPDX-License-Identifier: Apache-2.0
// Steps for tests of generated kernels: made from operators and layouts, with their inputs' bytes and what
// the reference evaluator says about them.
// Thread-safe: pure functions.
// Owns: plain values.
#pragma once

#include "backend/cuda/compile/program.h"
#include "backend/cuda/kernels/step_code.h"
#include "graph/graph.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace takt::cuda {

struct StepCase {
  std::string name;  // what it is about
  Step step;
  std::optional<ProductTiling> tiling = std::nullopt;  // by product_code() instead of step_code()
};

// Dimensions from the outermost in memory to the innermost; behind each row of the innermost `gap` elements
// that belong to others, and as many before the first.
struct Layout {
  std::vector<int> order;  // empty: 0, 1, 2, ...
  std::int64_t gap = 0;
};
[[nodiscard]] Layout channels_innermost(std::size_t rank, std::int64_t gap = 0);

struct Stored {
  DataType type = DataType::fp32;
  Shape shape;
  Layout layout;
};
[[nodiscard]] View view_of(const Stored& tensor);

// A step of kind single. The output's shape is what the operator gives.
[[nodiscard]] Step single_step(graph::Operator op, const std::vector<Stored>& inputs, DataType type,
                               const Layout& layout);
// An operator of a chain and its arguments; those before the first of `inputs` in the chain are inputs.
struct Link {
  graph::Operator op;
  std::vector<int> arguments;
};
// One output, the last operator's, where `outputs` names no others.
[[nodiscard]] Step chain_step(StepKind kind, const std::vector<Stored>& inputs,
                              const std::vector<Link>& links, DataType type, const Layout& layout,
                              const std::vector<int>& outputs = {});

[[nodiscard]] std::vector<StepCase> contraction_cases();             // a table
[[nodiscard]] std::vector<StepCase> random_contraction_cases();      // many small ones
[[nodiscard]] std::vector<StepCase> attention_cases(DataType type);  // of products
[[nodiscard]] std::vector<StepCase>
tensor_core_cases();                                // contractions; for compute capability 9.0
[[nodiscard]] std::vector<StepCase> other_cases();  // of the other families that step_code.h names

// By the way that the case names. Errors: those of step_code() and product_code().
[[nodiscard]] Result<StepCode> code_of(const StepCase& one, const std::string& name);

// The bytes that a buffer needs which begins where the view's offset counts from.
[[nodiscard]] std::size_t buffer_bytes(const View& view);
// The same for each seed; what the views don't reach is NaN, or all ones.
[[nodiscard]] std::vector<std::vector<std::byte>> input_bytes(const Step& step, unsigned seed);
inline constexpr std::byte kUnwritten{0xcd};  // what the outputs' buffers hold before the step
// What is wrong with the outputs' buffers: empty if they are what the reference computes from the inputs
// (floating point in FP64), and nothing beside them is written.
[[nodiscard]] std::string difference(const Step& step,
                                     const std::vector<std::vector<std::byte>>& inputs,
                                     const std::vector<std::vector<std::byte>>& outputs);

}  // namespace takt::cuda
