// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/pointwise.h"

#include "backend/cuda/index_space.h"
#include "backend/cuda/pointwise_expressions.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <numeric>
#include <utility>

namespace takt::cuda {
namespace {

constexpr unsigned kThreads = 256;
constexpr std::size_t kAccessBytesMax = 16;  // of one instruction
constexpr int kWidthMax = 8;
constexpr std::int64_t kNarrowMax = (std::int64_t{1} << 31) - 1;

// A pointer of the kernel, its strides compacted.
struct Tensor {
  const Access* access = nullptr;
  std::vector<std::int64_t> strides;
  std::string name;
};

struct Kernel {
  Shape shape;
  std::vector<Tensor> inputs;
  std::vector<Tensor> outputs;
  int width = 1;
};

bool allows(const Tensor& tensor, const Shape& shape, int width, bool written) {
  const std::int64_t inner = tensor.strides.back();
  if (inner == 0 && !written) return true;
  const std::size_t bytes = element_bytes(tensor.access->type) * static_cast<std::size_t>(width);
  if (inner != 1 || bytes > kAccessBytesMax || shape.back() % width != 0) return false;
  if (tensor.access->alignment % bytes != 0 || tensor.access->alignment == 0) return false;
  return std::all_of(tensor.strides.begin(), tensor.strides.end() - 1,
                     [width](std::int64_t stride) { return stride % width == 0; });
}

int widest(const Kernel& kernel) {
  const auto fits = [&kernel](int width) {
    const auto reads = [&](const Tensor& t) { return allows(t, kernel.shape, width, false); };
    const auto writes = [&](const Tensor& t) { return allows(t, kernel.shape, width, true); };
    return std::ranges::all_of(kernel.inputs, reads) && std::ranges::all_of(kernel.outputs, writes);
  };
  for (int width = kWidthMax; width > 1; width /= 2) {
    if (fits(width)) return width;
  }
  return 1;
}

Kernel plan(const Pointwise& pointwise) {
  IndexSpace space{pointwise.space, {}};
  for (const Access& input : pointwise.inputs) space.strides.push_back(input.strides);
  for (const PointwiseOutput& output : pointwise.outputs) {
    space.strides.push_back(output.access.strides);
  }
  space = compacted(std::move(space));
  Kernel kernel{space.shape, {}, {}, 1};
  for (std::size_t i = 0; i < pointwise.inputs.size(); ++i) {
    kernel.inputs.push_back({&pointwise.inputs[i], space.strides[i], fmt::format("in{}", i)});
  }
  for (std::size_t i = 0; i < pointwise.outputs.size(); ++i) {
    kernel.outputs.push_back({&pointwise.outputs[i].access,
                              space.strides[pointwise.inputs.size() + i], fmt::format("out{}", i)});
  }
  kernel.width = widest(kernel);
  return kernel;
}

std::int64_t last_offset(const Tensor& tensor, const Shape& shape) {
  std::int64_t offset = 0;
  for (std::size_t i = 0; i < shape.size(); ++i) offset += (shape[i] - 1) * tensor.strides[i];
  return offset;
}

std::string parameters(const Kernel& kernel) {
  std::string text;
  for (const Tensor& input : kernel.inputs) {
    text += fmt::format("{}const {}* {}", text.empty() ? "" : ", ", stored_type(input.access->type),
                        input.name);
  }
  for (const Tensor& output : kernel.outputs) {
    text += fmt::format("{}{}* {}", text.empty() ? "" : ", ", stored_type(output.access->type),
                        output.name);
  }
  return text;
}

// i0, i1, ...: where the thread's elements begin in the space.
std::string index_text(const Kernel& kernel) {
  std::string text;
  std::string rest = "t";
  for (std::size_t dim = kernel.shape.size(); dim-- > 0;) {
    const bool inner = dim + 1 == kernel.shape.size();
    const std::int64_t size = inner ? kernel.shape[dim] / kernel.width : kernel.shape[dim];
    const std::string index = dim == 0 ? rest : fmt::format("({} % {}u)", rest, size);
    const std::string scaled =
        inner && kernel.width > 1 ? fmt::format("{} * {}u", index, kernel.width) : index;
    text += fmt::format("  const unsigned i{} = {};\n", dim, scaled);
    if (dim == 0) break;
    text += fmt::format("  const unsigned t{} = {} / {}u;\n", dim, rest, size);
    rest = fmt::format("t{}", dim);
  }
  return text;
}

std::string offset_text(const Tensor& tensor, const Shape& shape) {
  const bool wide = last_offset(tensor, shape) > kNarrowMax;
  std::string text;
  for (std::size_t dim = 0; dim < shape.size(); ++dim) {
    if (tensor.strides[dim] == 0) continue;
    if (!text.empty()) text += " + ";
    text += fmt::format("{}i{} * {}{}", wide ? "(unsigned long long)" : "", dim,
                        tensor.strides[dim], wide ? "ull" : "u");
  }
  return text.empty() ? "0" : text;
}

bool is_vector(const Tensor& tensor, int width) {
  return width > 1 && tensor.strides.back() == 1;
}

std::string vector_type(const Tensor& tensor, int width) {
  return fmt::format("takt::Elements<{}, {}>", stored_type(tensor.access->type), width);
}

std::string load_text(const Kernel& kernel, const Tensor& tensor) {
  const std::string offset = offset_text(tensor, kernel.shape);
  if (!is_vector(tensor, kernel.width)) {
    return fmt::format("  const auto {0}_element = {0}[{1}];\n", tensor.name, offset);
  }
  return fmt::format("  const auto {0}_elements = *reinterpret_cast<const {1}*>({0} + {2});\n",
                     tensor.name, vector_type(tensor, kernel.width), offset);
}

std::string element_text(const Kernel& kernel, const Tensor& tensor) {
  return is_vector(tensor, kernel.width) ? fmt::format("{}_elements.at[k]", tensor.name)
                                         : fmt::format("{}_element", tensor.name);
}

// The values of one element, each from those before it.
std::string value_text(const Pointwise& pointwise, const Kernel& kernel) {
  const bool approximate =
      std::ranges::none_of(pointwise.outputs, [](const PointwiseOutput& output) {
        return output.access.type == DataType::fp32 || output.access.type == DataType::fp64;
      });
  std::string text;
  std::vector<DataType> types;
  const auto define = [&](DataType type, const std::string& value) {
    text += fmt::format("    const {} v{} = {};\n", computed_type(type), types.size(), value);
    types.push_back(type);
  };
  for (const Tensor& input : kernel.inputs) {
    define(input.access->type, loaded(input.access->type, element_text(kernel, input)));
  }
  for (const PointwiseStep& step : pointwise.steps) {
    std::vector<DataType> argument_types;
    std::vector<std::string> arguments;
    for (const int argument : step.arguments) {
      argument_types.push_back(types[static_cast<std::size_t>(argument)]);
      arguments.push_back(fmt::format("v{}", argument));
    }
    define(step.type, expression(step, argument_types, arguments, approximate));
  }
  for (std::size_t i = 0; i < kernel.outputs.size(); ++i) {
    const Tensor& output = kernel.outputs[i];
    text +=
        fmt::format("    {} = {};\n", element_text(kernel, output),
                    stored(output.access->type, fmt::format("v{}", pointwise.outputs[i].value)));
  }
  return text;
}

std::string result_text(const Kernel& kernel, const Tensor& output) {
  return is_vector(output, kernel.width)
             ? fmt::format("  {} {}_elements;\n", vector_type(output, kernel.width), output.name)
             : fmt::format("  {} {}_element;\n", stored_type(output.access->type), output.name);
}

std::string store_text(const Kernel& kernel, const Tensor& output) {
  const std::string offset = offset_text(output, kernel.shape);
  return is_vector(output, kernel.width)
             ? fmt::format("  *reinterpret_cast<{1}*>({0} + {2}) = {0}_elements;\n", output.name,
                           vector_type(output, kernel.width), offset)
             : fmt::format("  {0}[{1}] = {0}_element;\n", output.name, offset);
}

}  // namespace

int vector_width(const Pointwise& pointwise) {
  return plan(pointwise).width;
}

KernelSource pointwise_kernel(const Pointwise& pointwise, const std::string& step) {
  std::string name = kernel_name(step);
  const Kernel kernel = plan(pointwise);
  const std::int64_t count = product(kernel.shape) / kernel.width;
  std::string text = fmt::format(
      "extern \"C\" __global__ void __launch_bounds__({}) {}({}) {{\n"
      "  const unsigned t = blockIdx.x * {}u + threadIdx.x;\n  if (t >= {}u) return;\n",
      kThreads, name, parameters(kernel), kThreads, count);
  text += index_text(kernel);
  for (const Tensor& input : kernel.inputs) text += load_text(kernel, input);
  for (const Tensor& output : kernel.outputs) text += result_text(kernel, output);
  text += fmt::format("#pragma unroll\n  for (int k = 0; k < {}; ++k) {{\n", kernel.width);
  text += value_text(pointwise, kernel) + "  }\n";
  for (const Tensor& output : kernel.outputs) text += store_text(kernel, output);
  text += "}\n";
  const auto blocks = static_cast<unsigned>((count + kThreads - 1) / kThreads);
  return {std::move(name), std::move(text), blocks, kThreads, 1};
}

}  // namespace takt::cuda
