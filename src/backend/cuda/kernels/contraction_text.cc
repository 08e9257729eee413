// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/kernels/contraction_text.h"

#include "backend/cuda/kernels/index_space.h"
#include "backend/cuda/kernels/pointwise_expressions.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace takt::cuda {
namespace {

constexpr std::string_view kFunction = "__device__ __forceinline__";

// Integers are summed unsigned, so that they wrap around.
std::string_view sum_type(DataType type) {
  if (is_floating(type)) return computed_type(type);
  return element_bytes(type) == 8 ? "unsigned long long" : "unsigned";
}

std::string types_text(const Contraction& contraction) {
  const auto conversion = [](std::string_view name, std::string_view type, DataType stored_as) {
    return fmt::format("{} Sum {}({} x) {{ return static_cast<Sum>({}); }}\n", kFunction, name,
                       type, loaded(stored_as, "x"));
  };
  return fmt::format("using Sum = {};\nusing Input = {};\nusing Weight = {};\nusing Output = {};\n",
                     sum_type(contraction.sum), stored_type(contraction.input.type),
                     stored_type(contraction.weights.type), stored_type(contraction.output.type)) +
         conversion("input_value", "Input", contraction.input.type) +
         conversion("weight_value", "Weight", contraction.weights.type);
}

std::string sizes_text(const Contraction& contraction) {
  const auto stride = [](std::string_view name, std::int64_t value) {
    return fmt::format("constexpr unsigned long long {} = {}ull;\n", name, value);
  };
  const std::int64_t taps = contraction.window ? product(contraction.window->kernel) : 1;
  return constant("kRows", product(contraction.rows)) + constant("kColumns", contraction.columns) +
         constant("kChannels", contraction.channels) + constant("kTaps", taps) +
         constant("kBatches", product(contraction.batch)) +
         stride("kInputChannel", contraction.input.channel) +
         stride("kInputColumn", contraction.input.column) +
         stride("kWeightChannel", contraction.weights.channel) +
         stride("kWeightColumn", contraction.weights.column);
}

std::string sum_of(const std::vector<std::string>& terms) {
  std::string sum;
  for (const std::string& term : terms) sum += (sum.empty() ? "" : " + ") + term;
  return sum.empty() ? "0" : sum;
}

// The offset of what `index` counts in the shape, the last dimension first.
std::string counted_offset(const Shape& shape, const std::vector<std::int64_t>& strides,
                           std::string_view index) {
  std::vector<std::string> terms;
  std::string rest(index);
  for (std::size_t dim = shape.size(); dim-- > 0;) {
    const std::string place = dim == 0 ? rest : fmt::format("({} % {}u)", rest, shape[dim]);
    if (strides[dim] != 0) terms.push_back(fmt::format("{} * {}ull", place, strides[dim]));
    rest = fmt::format("({} / {}u)", rest, shape[dim]);
  }
  return sum_of(terms);
}

std::string row_offset(const std::vector<std::int64_t>& strides, std::size_t count) {
  std::vector<std::string> terms;
  for (std::size_t dim = 0; dim < count; ++dim) {
    if (strides[dim] != 0) terms.push_back(fmt::format("row.at[{}] * {}ull", dim, strides[dim]));
  }
  return sum_of(terms);
}

std::string row_text(const Contraction& contraction) {
  std::string text = fmt::format("struct Row {{ int at[{}]; }};\n{} Row row_of(unsigned p) {{\n",
                                 contraction.rows.size(), kFunction);
  text += "  Row row;\n";
  for (std::size_t dim = contraction.rows.size(); dim-- > 0;) {
    if (dim == 0) {
      text += "  row.at[0] = static_cast<int>(p);\n";
      break;
    }
    text += fmt::format("  row.at[{0}] = static_cast<int>(p % {1}u);\n  p /= {1}u;\n", dim,
                        contraction.rows[dim]);
  }
  return text + "  return row;\n}\n";
}

// The input's place of one spatial dimension; leaves where there is none.
std::string tap_text(const Contraction& contraction, std::size_t dim, std::size_t row_dim) {
  const graph::Window& window = *contraction.window;
  const std::int64_t size = contraction.input_sizes[dim];
  std::string text =
      fmt::format("  const int k{0} = static_cast<int>(tap % {1}u);\n  tap /= {1}u;\n", dim,
                  window.kernel[dim]);
  if (!contraction.transposed) {
    text += fmt::format("  const int y{} = row.at[{}] * {} - {} + k{} * {};\n", dim, row_dim,
                        window.strides[dim], window.pads_begin[dim], dim, window.dilations[dim]);
    return text + fmt::format("  if (y{0} < 0 || y{0} >= {1}) return false;\n", dim, size);
  }
  text += fmt::format("  const int t{} = row.at[{}] + {} - k{} * {};\n", dim, row_dim,
                      window.pads_begin[dim], dim, window.dilations[dim]);
  text += fmt::format(
      "  if (t{0} < 0 || t{0} % {1} != 0) return false;\n  const int y{0} = t{0} / {1};\n", dim,
      window.strides[dim]);
  return text + fmt::format("  if (y{} >= {}) return false;\n", dim, size);
}

std::string input_at_text(const Contraction& contraction) {
  std::string text = fmt::format(
      "{} bool input_at(const Row& row, unsigned tap, unsigned long long& at) {{\n", kFunction);
  const std::vector<std::int64_t>& strides = contraction.input.rows;
  const std::size_t spatial = contraction.window ? contraction.window->kernel.size() : 0;
  const std::size_t first = contraction.rows.size() - spatial;
  for (std::size_t dim = spatial; dim-- > 0;) text += tap_text(contraction, dim, first + dim);
  text += fmt::format("  at = {}", row_offset(strides, first));
  for (std::size_t dim = 0; dim < spatial; ++dim) {
    text += fmt::format(" + y{} * {}ull", dim, strides[first + dim]);
  }
  return text + ";\n  return true;\n}\n";
}

std::string offsets_text(const Contraction& contraction) {
  const auto offset = [](std::string_view name, std::string_view of, const std::string& value) {
    return fmt::format("{} unsigned long long {}(unsigned {}) {{ return {}; }}\n", kFunction, name,
                       of, value);
  };
  const Shape taps = contraction.window ? contraction.window->kernel : Shape{};
  return offset("input_batch", "z",
                counted_offset(contraction.batch, contraction.input.batch, "z")) +
         offset("weight_batch", "z",
                counted_offset(contraction.batch, contraction.weights.batch, "z")) +
         offset("weight_at", "tap", counted_offset(taps, contraction.weights.taps, "tap"));
}

// Whether a row's place is its number times the last stride.
bool is_in_line(const Shape& rows, const std::vector<std::int64_t>& strides) {
  for (std::size_t dim = rows.size() - 1; dim-- > 0;) {
    if (strides[dim] != strides[dim + 1] * rows[dim + 1]) return false;
  }
  return true;
}

// Where a row's results lie, and what else the operators behind the sum read: of a row, and of the one that has this
// number, which saves divisions where rows lie in line.
std::string places_text(const Contraction& contraction) {
  std::string members;
  std::string pointers;
  std::string values;
  std::string numbered;
  const auto add = [&](const std::string& name, std::string_view type, bool written,
                       const ContractionTensor& tensor) {
    members += fmt::format("  unsigned long long {};\n", name);
    pointers += fmt::format("  {}{}* {};\n", written ? "" : "const ", type, name);
    const std::string batch = counted_offset(contraction.batch, tensor.batch, "z");
    const std::string of_row = row_offset(tensor.rows, tensor.rows.size());
    values += fmt::format("  at.{} = {} + {};\n", name, batch, of_row);
    numbered += fmt::format("  at.{} = {} + {};\n", name, batch,
                            is_in_line(contraction.rows, tensor.rows)
                                ? fmt::format("number * {}ull", tensor.rows.back())
                                : of_row);
  };
  for (const ContractionExtra& extra : contraction.extras) {
    add(fmt::format("e{}", extra.input), stored_type(extra.tensor.type), false, extra.tensor);
  }
  add("output", "Output", true, contraction.output);
  return fmt::format(
      "struct Places {{\n{0}}};\nstruct Targets {{\n{1}}};\n"
      "{2} Places places(unsigned z, const Row& row) {{\n  Places at;\n{3}  return at;\n}}\n"
      "{2} Places numbered_places(unsigned z, unsigned number) {{\n  Places at;\n"
      "  [[maybe_unused]] const Row row = row_of(number);\n{4}  return at;\n}}\n",
      members, pointers, kFunction, values, numbered);
}

// The result v of sums[k], from the extras' elements.
std::string value_text(const Contraction& contraction) {
  const std::string_view type = computed_type(contraction.sum);
  const bool approximate = element_bytes(contraction.output.type) == 2;
  std::string sum = fmt::format("static_cast<{}>(sums[k])", type);
  if (contraction.bias) {
    const std::vector<std::string> both{sum, fmt::format("v{}", *contraction.bias)};
    const std::vector<DataType> types{contraction.sum, contraction.sum};
    sum = expression({graph::Binary{graph::BinaryKind::add}, {}, contraction.sum}, types, both,
                     false);
  }
  std::string text = fmt::format("    const {} v{} = {};\n", type, contraction.inputs, sum);
  int last = contraction.inputs;
  for (const PointwiseStep& step : contraction.steps) {
    const std::vector<DataType> types(step.arguments.size(), contraction.sum);
    std::vector<std::string> arguments;
    for (const int argument : step.arguments) arguments.push_back(fmt::format("v{}", argument));
    text += fmt::format("    const {} v{} = {};\n", type, ++last,
                        expression(step, types, arguments, approximate));
  }
  return text + fmt::format("    results.at[k] = {};\n",
                            stored(contraction.output.type, fmt::format("v{}", last)));
}

std::string write_text(const Contraction& contraction, int width) {
  std::string loads;
  std::string elements;
  for (const auto& [input, tensor] : contraction.extras) {
    const bool together =
        width > 1 && width_along(tensor, Along::columns, contraction.columns, width) == width;
    std::string element =
        fmt::format("to.e{0}[at.e{0} + (column + k) * {1}ull]", input, tensor.column);
    if (together) {
      loads += fmt::format(
          "  const auto elements{0} = *reinterpret_cast<const takt::Elements<{1}, {2}>*>(to.e{0} + "
          "at.e{0} + column);\n",
          input, stored_type(tensor.type), width);
      element = fmt::format("elements{}.at[k]", input);
    }
    elements += fmt::format("    const {0} v{1} = static_cast<{0}>({2});\n",
                            computed_type(contraction.sum), input, loaded(tensor.type, element));
  }
  std::string text = fmt::format(
      "constexpr unsigned kWriteWidth = {}u;\n"
      "{} void write(const Sum* sums, const Places& at, unsigned column, const Targets& to) {{\n{}"
      "  takt::Elements<Output, kWriteWidth> results;\n#pragma unroll\n"
      "  for (int k = 0; k < {}; ++k) {{\n",
      width, kFunction, loads, width);
  text += elements + value_text(contraction) + "  }\n";
  if (width > 1) {
    return text +
           "  *reinterpret_cast<takt::Elements<Output, kWriteWidth>*>(to.output + at.output + "
           "column) = results;\n}\n";
  }
  return text + fmt::format("  to.output[at.output + column * {}ull] = results.at[0];\n}}\n",
                            contraction.output.column);
}

// Of the inputs that no operator takes there is a pointer too: the kernel's arguments are the step's. The
// output may lie where an extra does, but not where the factors do.
std::string head_text(const Contraction& contraction, const KernelText& text) {
  std::vector<std::string> types(static_cast<std::size_t>(contraction.inputs), "void");
  types[0] = "Input";
  types[1] = "Weight";
  std::string targets;
  for (const ContractionExtra& extra : contraction.extras) {
    std::string& type = types[static_cast<std::size_t>(extra.input)];
    if (type == "void") type = stored_type(extra.tensor.type);
    targets += fmt::format("in{}, ", extra.input);
  }
  std::string parameters;
  for (std::size_t i = 0; i < types.size(); ++i) {
    const std::string scope = i < 2 ? text.name + "_parts::" : "";
    parameters +=
        fmt::format("const {}{}* {}in{}, ", scope, types[i], i < 2 ? "__restrict__ " : "", i);
  }
  const std::string cluster =
      text.cluster > 1 ? fmt::format("__cluster_dims__({}, 1, 1) ", text.cluster) : "";
  return fmt::format(
      "extern \"C\" __global__ void {4}__launch_bounds__({0}) {1}({2}{1}_parts::Output* out) {{\n"
      "  using namespace {1}_parts;\n  const Targets to{{{3}out}};\n",
      text.threads, text.name, parameters, targets, cluster);
}

}  // namespace

std::string constant(std::string_view name, std::int64_t value) {
  return fmt::format("constexpr unsigned {} = {}u;\n", name, value);
}

int width_along(const ContractionTensor& tensor, Along along, std::int64_t size, int most) {
  const std::int64_t own = along == Along::channels ? tensor.channel : tensor.column;
  const std::int64_t other = along == Along::channels ? tensor.column : tensor.channel;
  const auto allows = [&](std::int64_t width) {
    const std::size_t bytes = element_bytes(tensor.type) * static_cast<std::size_t>(width);
    const auto divides = [width](std::int64_t stride) { return stride % width == 0; };
    return bytes <= kAccessBytesMax && tensor.alignment != 0 && tensor.alignment % bytes == 0 &&
           divides(size) && divides(other) && std::ranges::all_of(tensor.batch, divides) &&
           std::ranges::all_of(tensor.rows, divides) && std::ranges::all_of(tensor.taps, divides);
  };
  if (own != 1) return 1;
  for (int width = most; width > 1; width /= 2) {
    if (allows(width)) return width;
  }
  return 1;
}

std::string kernel_text(const Contraction& contraction, const KernelText& text) {
  return fmt::format("namespace {}_parts {{\n", text.name) + types_text(contraction) +
         sizes_text(contraction) + row_text(contraction) + input_at_text(contraction) +
         offsets_text(contraction) + places_text(contraction) +
         write_text(contraction, text.write_width) + text.constants + "}\n" +
         head_text(contraction, text) + std::string(text.body) + "}\n";
}

}  // namespace takt::cuda
