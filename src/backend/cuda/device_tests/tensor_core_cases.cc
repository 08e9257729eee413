// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/compile/contraction_forms.h"
#include "backend/cuda/device_tests/step_cases.h"
#include "backend/cuda/kernels/step_code.h"

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <optional>
#include <utility>

namespace takt::cuda {
namespace {

constexpr auto kF16 = DataType::fp16;
constexpr auto kF32 = DataType::fp32;
constexpr auto kB16 = DataType::bf16;
constexpr ProductDevice kHopper{{9, 0}, 132, 1};
constexpr int kAll = 200;
constexpr double kOperationsMax =
    4e6;  // of the tables' cases; some are large for the sake of other kernels

StepCase convolution(std::string name, const Shape& x, std::int64_t outputs, std::int64_t kernel,
                     std::int64_t stride) {
  const std::int64_t pad = kernel / 2;
  const graph::Window window{{kernel, kernel}, {stride, stride}, {1, 1}, {pad, pad}, {pad, pad}};
  const std::vector<Stored> inputs{{kF16, x, channels_innermost(4)},
                                   {kF16, {outputs, x[1], kernel, kernel}, channels_innermost(4)},
                                   {kF32, {outputs}, {}}};
  const Step step = chain_step(
      StepKind::contraction, inputs,
      {{graph::Conv{window, 1}, {0, 1, 2}}, {graph::Unary{graph::UnaryKind::relu, 0, 0}, {3}}},
      kF16, channels_innermost(4));
  return {std::move(name), step, {}};
}

StepCase product(std::string name, const Shape& a, const Shape& b, DataType type,
                 bool transposed = false) {
  const Step step = chain_step(StepKind::contraction, {{type, a, {}}, {type, b, {}}},
                               {{graph::MatMul{false, transposed}, {0, 1}}}, type, {});
  return {std::move(name), step, {}};
}

// Sums of several chunks in each part, and parts that end within a chunk, or have none.
std::vector<StepCase> long_sums() {
  std::vector<StepCase> cases;
  cases.push_back(convolution("many chunks", {1, 128, 7, 7}, 40, 3, 1));
  cases.push_back(convolution("taps within a chunk", {2, 24, 9, 7}, 72, 3, 2));
  cases.push_back(convolution("few columns", {1, 16, 20, 19}, 16, 3, 1));
  cases.push_back(convolution("one chunk for few columns", {2, 32, 9, 9}, 24, 1, 1));
  cases.push_back(convolution("one tap", {1, 264, 6, 5}, 136, 1, 1));
  cases.push_back(product("tokens", {3, 37, 96}, {96, 80}, kF16));
  cases.push_back(product("tokens of BF16", {70, 576}, {576, 64}, kB16));
  cases.push_back(product("tokens beside transposed ones", {70, 200}, {48, 200}, kF16, true));
  cases.push_back(product("matrices", {2, 3, 33, 64}, {2, 3, 64, 40}, kF16));
  cases.push_back(product("nine chunks in eight parts", {34, 576}, {576, 96}, kF16));
  return cases;
}

// Several tiles below each other, the last one not whole; gaps, residuals, batches and taps that look backwards.
std::vector<StepCase> many_rows() {
  std::vector<StepCase> cases;
  cases.push_back(convolution("many rows", {1, 16, 34, 37}, 40, 3, 1));
  StepCase apart = convolution("images apart", {2, 8, 19, 32}, 24, 3, 1);
  View& images = apart.step.outputs.front().view;
  images.strides[0] += 5 * images.strides[3];
  cases.push_back(std::move(apart));
  cases.push_back(product("many tokens", {1258, 40}, {40, 56}, kF16));
  cases.push_back(product("matrices of many rows", {2, 1100, 24}, {2, 24, 40}, kF16));
  const auto image = channels_innermost(4);
  cases.push_back({"many rows with a residual",
                   chain_step(StepKind::contraction,
                              {{kB16, {2, 24, 23, 26}, image},
                               {kB16, {48, 24, 1, 1}, image},
                               {kB16, {2, 48, 23, 26}, image}},
                              {{graph::Conv{{{1, 1}, {1, 1}, {1, 1}, {0, 0}, {0, 0}}, 1}, {0, 1}},
                               {graph::Binary{graph::BinaryKind::add}, {3, 2}}},
                              kB16, image),
                   {}});
  cases.push_back(
      {"many rows of a transposed window",
       chain_step(
           StepKind::contraction, {{kF16, {1, 16, 17, 37}, image}, {kF16, {16, 24, 2, 2}, image}},
           {{graph::ConvTranspose{{{2, 2}, {2, 2}, {1, 1}, {0, 0}, {0, 0}}, {0, 0}, 1}, {0, 1}}},
           kF16, image),
       {}});
  return cases;
}

// The next of the cases that fits the tiling, from number `next` on; nothing where none does.
std::optional<StepCase> next_case(const std::vector<StepCase>& cases, std::size_t& next,
                                  const ProductTiling& tiling) {
  for (std::size_t tried = 0; tried < cases.size(); ++tried) {
    const StepCase& one = cases[next++ % cases.size()];
    if (std::ranges::count(product_tilings(one.step, kHopper, kAll), tiling) > 0) {
      return StepCase{one.name + " " + to_string(tiling), one.step, tiling};
    }
  }
  return std::nullopt;
}

}  // namespace

std::vector<StepCase> tensor_core_cases() {
  std::vector<StepCase> cases;
  const std::vector<StepCase> sums = long_sums();
  const std::vector<StepCase> rows = many_rows();
  std::size_t next = 0;
  for (const std::vector<StepCase>* const some : {&sums, &rows}) {
    for (const ProductTiling& tiling : all_product_tilings()) {
      if (some == &rows && tiling.splits > 1) continue;
      if (auto one = next_case(*some, next, tiling)) cases.push_back(*std::move(one));
    }
  }
  std::vector<StepCase> others = contraction_cases();
  std::ranges::move(random_contraction_cases(), std::back_inserter(others));
  for (StepCase& one : others) {
    const std::vector<ProductTiling> tilings = product_tilings(one.step, kHopper, kAll);
    if (tilings.empty() || floating_point_operations(one.step) > kOperationsMax) continue;
    one.tiling = tilings[next++ % tilings.size()];
    one.name += " " + to_string(*one.tiling);
    cases.push_back(std::move(one));
  }
  return cases;
}

Result<StepCode> code_of(const StepCase& one, const std::string& name) {
  if (one.tiling) return product_code(one.step, *one.tiling, kHopper.capability, name);
  return step_code(one.step, name);
}

}  // namespace takt::cuda
