// SPDX-License-Identifier: Apache-2.0
// Resize in all its modes. Dimensions that stay as they are cost nothing; where one of them lies innermost,
// as the channels of images in NHWC do, a thread computes several neighbours of it.
#include "backend/cuda/kernels/index_space.h"
#include "backend/cuda/kernels/movement_kernel.h"
#include "backend/cuda/kernels/movement_step.h"
#include "backend/cuda/kernels/pointwise_expressions.h"
#include "backend/cuda/kernels/resize_taps.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace takt::cuda {
namespace {

using graph::Resize;
using graph::ResizeMode;

constexpr std::int64_t kTableNumbersMax = 8192;  // of a dimension, in a kernel's text
constexpr int kUnrolledTapsMax = 4;
constexpr std::size_t kScratchAlignment = 256;

// A dimension that doesn't stay as it is.
struct Resized {
  std::size_t dim = 0;
  ResizeAxis axis;
  int taps = 0;
  std::int64_t repeats = 0;  // nearest: element x is the input's at x / repeats; 0: look it up
  bool may_have_no_source = false;
};

struct Plan {
  const Resize* op = nullptr;
  StepTensor from;
  Target target;
  DataType number = DataType::fp32;  // what is computed in
  std::vector<Resized> resized;
  std::optional<Neighbours> neighbours;
};

std::int64_t repeats_of(const Resize& op, const ResizeAxis& axis) {
  if (op.mode != ResizeMode::nearest || axis.output % axis.input != 0) return 0;
  const std::int64_t repeats = axis.output / axis.input;
  for (std::int64_t x = 0; x < axis.output; ++x) {
    if (nearest_source(op, axis, x) != x / repeats) return 0;
  }
  return repeats;
}

std::optional<Neighbours> neighbours_of(const Plan& plan) {
  const View& view = *plan.from.view;
  const int inner = innermost(plan.target);
  if (inner < 0) return std::nullopt;
  const auto along = static_cast<std::size_t>(inner);
  const bool moves = std::ranges::any_of(
      plan.resized, [along](const Resized& resized) { return resized.dim == along; });
  if (moves || view.strides[along] != 1) return std::nullopt;
  Neighbours neighbours{{}, alignment_bytes(view)};
  for (std::size_t dim = 0; dim < view.shape.size(); ++dim) {
    if (dim != along && view.shape[dim] != 1) neighbours.steps.push_back(view.strides[dim]);
  }
  return neighbours;
}

Result<Plan> plan_of(const Resize& op, const StepTensor& from, const View& output) {
  const View& input = *from.view;
  if (product(input.shape) == 0) {
    return fail(
        ErrorKind::invalid_input,
        fmt::format("{} {} is empty: it can't be resized to {}", takt::to_string(input.type),
                    takt::to_string(input.shape), takt::to_string(output.shape)));
  }
  const bool wide = input.type == DataType::fp64 || !is_floating(input.type);
  Plan plan{&op, from, target_of(output), wide ? DataType::fp64 : DataType::fp32, {}, {}};
  for (std::size_t dim = 0; dim < input.shape.size(); ++dim) {
    Resized resized{dim, resize_axis(op, input.shape, dim), 0, 0, false};
    if (resized.axis.keeps_places()) continue;
    const Result<int> taps = tap_count(op, resized.axis);
    if (!taps) return std::unexpected(taps.error());
    resized.taps = *taps;
    resized.repeats = repeats_of(op, resized.axis);
    // Filters that leave out what is outside may have nothing left.
    resized.may_have_no_source = resized.axis.coordinates.crops || op.exclude_outside;
    plan.resized.push_back(std::move(resized));
  }
  plan.neighbours = neighbours_of(plan);
  return plan;
}

std::string first_name(const std::string& name, const Resized& resized) {
  return fmt::format("{}_first{}", name, resized.dim);
}
std::string weights_name(const std::string& name, const Resized& resized) {
  return fmt::format("{}_weights{}", name, resized.dim);
}

// Tables in global memory: threads look up different places, for which constant memory is slow.
std::string table_text(const Plan& plan, const Resized& resized, const std::string& name) {
  const TapTable table = tap_table(*plan.op, resized.axis, resized.taps);
  std::string text = fmt::format("__device__ const int {}[] = {{{}}};\n", first_name(name, resized),
                                 fmt::join(table.first, ", "));
  if (resized.taps == 0) return text;
  std::string numbers;
  for (const double weight : table.weights) {
    const std::string_view separator = numbers.empty() ? "" : ", ";
    numbers += plan.number == DataType::fp64
                   ? fmt::format("{}{:.17g}", separator, weight)
                   : fmt::format("{}{:.8e}f", separator, static_cast<float>(weight));
  }
  return text + fmt::format("__device__ const {} {}[] = {{{}}};\n", computed_type(plan.number),
                            weights_name(name, resized), numbers);
}

std::size_t aligned(std::size_t bytes) {
  return (bytes + kScratchAlignment - 1) / kScratchAlignment * kScratchAlignment;
}

// Where a kernel finds its tables: in its text, or in scratch memory that kernels before it fill.
struct Tables {
  std::string declarations;
  std::vector<std::string> parameters;
  std::vector<Operand> operands;
};

Tables tables_of(const Plan& plan, const std::string& name, StepCode& code) {
  const std::string kernel = kernel_name(name);
  Tables tables;
  const auto take = [&](std::size_t bytes) {
    tables.operands.push_back(scratch_at(code.scratch_bytes));
    code.scratch_bytes += aligned(bytes);
    return tables.operands.back();
  };
  for (const Resized& resized : plan.resized) {
    if (resized.repeats > 0) continue;
    if (resized.axis.output * (resized.taps + 1) <= kTableNumbersMax) {
      tables.declarations += table_text(plan, resized, kernel);
      continue;
    }
    const auto places = static_cast<std::size_t>(resized.axis.output);
    KernelCall call{tap_kernel(*plan.op, resized.axis, resized.taps, plan.number,
                               fmt::format("{}_taps{}", name, resized.dim)),
                    {take(places * sizeof(std::int32_t))}};
    tables.parameters.push_back(fmt::format("const int* {}", first_name(kernel, resized)));
    if (resized.taps > 0) {
      const auto numbers = places * static_cast<std::size_t>(resized.taps);
      call.operands.push_back(take(numbers * element_bytes(plan.number)));
      tables.parameters.push_back(
          fmt::format("const {}* {}", computed_type(plan.number), weights_name(kernel, resized)));
    }
    code.calls.push_back(std::move(call));
  }
  return tables;
}

// The terms of an element's offset in the input, that of each resized dimension named `place`<dim>.
std::vector<IndexTerm> source_terms(const Plan& plan, std::string_view place) {
  const View& view = *plan.from.view;
  std::vector<IndexTerm> terms = terms_of(view.shape, view.strides);
  for (const Resized& resized : plan.resized) {
    terms[resized.dim].index = fmt::format("{}{}", place, resized.dim);
  }
  return terms;
}

// first<dim> of each resized dimension, and whether all of them have a source.
std::string first_text(const Plan& plan, const std::string& kernel, std::string& inside) {
  std::string text;
  for (const Resized& resized : plan.resized) {
    const std::string value =
        resized.repeats > 0
            ? fmt::format("static_cast<unsigned>(i{}) / {}u", resized.dim, resized.repeats)
            : fmt::format("{}[i{}]", first_name(kernel, resized), resized.dim);
    text += fmt::format("    const int first{} = {};\n", resized.dim, value);
    if (!resized.may_have_no_source) continue;
    inside += fmt::format("{}first{} != {}", inside.empty() ? "" : " && ", resized.dim, kNoSource);
  }
  return text;
}

// Of mode nearest, or where no dimension changes.
KernelSource nearest_kernel(const Plan& plan, const Tables& tables, const std::string& name) {
  Movement movement;
  movement.target = plan.target;
  movement.from = plan.from.view->type;
  movement.declarations = tables.declarations;
  movement.parameters = tables.parameters;
  movement.neighbours = plan.neighbours;
  movement.source = first_text(plan, kernel_name(name), movement.inside);
  movement.source +=
      fmt::format("    const auto at = {};\n", offset_text(0, source_terms(plan, "first")));
  movement.fill = constant_element(plan.target.type, plan.op->extrapolation);
  return movement_kernel(movement, name);
}

std::string rounded_sum(const Plan& plan) {
  const DataType type = plan.target.type;
  if (is_floating(type)) {
    return stored(type, fmt::format("static_cast<{}>(sum[k])", computed_type(type)));
  }
  if (type == DataType::boolean) return "static_cast<unsigned char>(rint(sum[k]) != 0)";
  return fmt::format("takt::saturate<{}>(rint(sum[k]))", stored_type(type));
}

// Loops over the taps of each resized dimension; in the innermost, elements are weighted and summed.
std::string sum_text(const Plan& plan, const std::string& kernel, int width) {
  std::string text;
  std::string weight;
  for (const Resized& resized : plan.resized) {
    if (resized.taps <= kUnrolledTapsMax) text += "#pragma unroll\n";
    text += fmt::format(
        "    for (int k{0} = 0; k{0} < {1}; ++k{0}) {{\n"
        "    const int at{0} = min(max(first{0} + k{0}, 0), {2});\n"
        "    const {3} weight{0} = {4}{5}[static_cast<unsigned>(i{0}) * {1}ull + k{0}];\n",
        resized.dim, resized.taps, resized.axis.input - 1, computed_type(plan.number),
        weight.empty() ? "" : weight + " * ", weights_name(kernel, resized));
    weight = fmt::format("weight{}", resized.dim);
  }
  const DataType type = plan.from.view->type;
  // What has no weight adds nothing, even if it is infinite.
  text += fmt::format(
      "    const auto elements = *reinterpret_cast<const takt::Elements<{0}, {1}>*>(in + {2});\n"
      "#pragma unroll\n    for (int k = 0; k < {1}; ++k) {{\n"
      "      const {3} x = static_cast<{3}>({4});\n      sum[k] += {5} * ({5} != 0 ? x : 0);\n"
      "    }}\n    ",
      stored_type(type), width, offset_text(0, source_terms(plan, "at")),
      computed_type(plan.number), loaded(type, "elements.at[k]"), weight);
  return text + std::string(plan.resized.size(), '}') + "\n";
}

// Of the modes linear and cubic.
KernelSource smooth_kernel(const Plan& plan, const Tables& tables, const std::string& name) {
  std::string kernel = kernel_name(name);
  const AccessWidth access = access_width(plan.target, plan.from.view->type, plan.neighbours);
  const int width = access.reads_together ? access.elements : 1;
  const std::int64_t threads = product(plan.target.shape) / width;
  std::string parameters = fmt::format("const {}* in", stored_type(plan.from.view->type));
  for (const std::string& parameter : tables.parameters) parameters += ", " + parameter;
  parameters += fmt::format(", {}* out", stored_type(plan.target.type));
  std::string inside;
  std::string text = tables.declarations + thread_text(kernel, parameters, threads);
  text += index_text(plan.target, width, "t") + first_text(plan, kernel, inside);
  text += fmt::format("  const bool inside = {};\n  {} sum[{}] = {{}};\n  if (inside) {{\n{}  }}\n",
                      inside.empty() ? "true" : inside, computed_type(plan.number), width,
                      sum_text(plan, kernel, width));
  text += fmt::format(
      "  takt::Elements<{0}, {1}> results;\n#pragma unroll\n  for (int k = 0; k < {1}; ++k) {{\n"
      "    results.at[k] = inside ? {2} : {3};\n  }}\n"
      "  *reinterpret_cast<takt::Elements<{0}, {1}>*>(out + {4}) = results;\n}}\n",
      stored_type(plan.target.type), width, rounded_sum(plan),
      constant_element(plan.target.type, plan.op->extrapolation), offset_text(plan.target));
  return {std::move(kernel), std::move(text), movement_blocks(threads), kMovementThreads, 1};
}

Result<void> check_sizes(const Resize& op, const View& input) {
  constexpr std::int64_t kMax = 1 << 30;  // so that kernels may count beyond either end
  const auto too_large = [](std::int64_t size) { return size > kMax; };
  if (std::ranges::none_of(input.shape, too_large) && std::ranges::none_of(op.sizes, too_large)) {
    return {};
  }
  return fail(ErrorKind::invalid_input,
              "a dimension of more than 2^30 elements, which takt doesn't resize");
}

}  // namespace

Result<StepCode> resize_code(const Step& step, const std::string& name) {
  const Result<CheckedStep> checked = checked_step(step);
  if (!checked) return std::unexpected(checked.error());
  const auto* const op = std::get_if<Resize>(checked->op);
  if (op == nullptr) {
    return fail(ErrorKind::invalid_input,
                fmt::format("{} is no Resize", graph::describe(*checked->op)));
  }
  StepCode code;
  for (const StepResult& output : checked->outputs) {
    if (product(output.tensor.view->shape) == 0) continue;
    if (Result<void> fits = check_sizes(*op, *checked->arguments[0].view); !fits) {
      return std::unexpected(std::move(fits).error());
    }
    const Result<Plan> plan = plan_of(*op, checked->arguments[0], *output.tensor.view);
    if (!plan) return std::unexpected(plan.error());
    const std::string kernel =
        code.calls.empty() ? name : fmt::format("{}_{}", name, code.calls.size());
    const Tables tables = tables_of(*plan, kernel, code);
    const bool moves = op->mode == ResizeMode::nearest || plan->resized.empty();
    KernelSource source =
        moves ? nearest_kernel(*plan, tables, kernel) : smooth_kernel(*plan, tables, kernel);
    std::vector<Operand> operands{plan->from.operand};
    operands.insert(operands.end(), tables.operands.begin(), tables.operands.end());
    operands.push_back(output.tensor.operand);
    code.calls.push_back({std::move(source), std::move(operands)});
  }
  return code;
}

}  // namespace takt::cuda
