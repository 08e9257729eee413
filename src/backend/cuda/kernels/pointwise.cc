// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/kernels/pointwise.h"

#include "backend/cuda/kernels/index_space.h"
#include "backend/cuda/kernels/pointwise_expressions.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <numeric>
#include <optional>
#include <utility>

namespace takt::cuda {
namespace {

constexpr unsigned kThreads = 256;
constexpr int kWidthMax = 8;
constexpr std::int64_t kNarrowMax = (std::int64_t{1} << 31) - 1;
constexpr std::int64_t kTileSide = 32;
constexpr std::int64_t kTileElements = kTileSide * kTileSide;
constexpr unsigned kTileThreads = 128;
constexpr std::size_t kTilesMax = 3;  // shared memory of eight bytes each is 25 KiB

// A pointer of the kernel, its strides compacted.
struct Tensor {
  const Access* access = nullptr;
  std::vector<std::int64_t> strides;
  std::string name;
  bool is_staged = false;  // comes through a tile in shared memory
};

// A block of the two dimensions in which the input's and the output's neighbours lie. Inputs that are staged
// are read along `across` and then taken along the last dimension.
struct Tile {
  std::size_t across = 0;
  std::int64_t across_size = 0;
  std::int64_t inner_size = 0;
  // Elements from one row of the tile to the next: odd, so that threads meet few banks twice.
  [[nodiscard]] std::int64_t pitch() const { return across_size | 1; }
};

struct Kernel {
  Shape shape;
  std::vector<Tensor> inputs;
  std::vector<Tensor> outputs;
  int width = 1;
  std::optional<Tile> tile;
};

bool allows(const Tensor& tensor, const Shape& shape, int width, bool written) {
  const std::int64_t inner = tensor.strides.back();
  if (tensor.is_staged || (inner == 0 && !written)) return true;
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

// The dimension in which the tensor's elements lie side by side, if it isn't the last one.
std::optional<std::size_t> other_inner(const Tensor& tensor) {
  if (tensor.strides.back() <= 1) return {};
  const auto one = std::ranges::find(tensor.strides, 1);
  if (one == tensor.strides.end()) return {};
  return static_cast<std::size_t>(one - tensor.strides.begin());
}

// Sides of about kTileElements together, neither longer than its dimension.
Tile tile_of(const Shape& shape, std::size_t across) {
  const std::int64_t rows = shape[across];
  const std::int64_t columns = shape.back();
  Tile tile{across, std::min(rows, kTileSide), std::min(columns, kTileSide)};
  const auto others = [](std::int64_t side) {
    return kTileElements / side / kTileSide * kTileSide;
  };
  if (tile.inner_size < kTileSide) tile.across_size = std::min(rows, others(tile.inner_size));
  if (tile.across_size < kTileSide) tile.inner_size = std::min(columns, others(tile.across_size));
  return tile;
}

// Neighbours of an input that fills the space aren't the output's: each is walked in its own order.
void stage_inputs(Kernel& kernel) {
  std::optional<std::size_t> across;
  for (const Tensor& input : kernel.inputs) {
    const bool fills = std::ranges::find(input.strides, 0) == input.strides.end();
    if (!across && fills) across = other_inner(input);
  }
  if (!across || kernel.outputs.back().strides.back() != 1) return;
  std::size_t staged = 0;
  for (Tensor& input : kernel.inputs) {
    if (staged == kTilesMax || other_inner(input) != across) continue;
    input.is_staged = true;
    ++staged;
  }
  kernel.tile = tile_of(kernel.shape, *across);
}

Kernel plan(const Pointwise& pointwise) {
  IndexSpace space{pointwise.space, {}};
  for (const Access& input : pointwise.inputs) space.strides.push_back(input.strides);
  for (const PointwiseOutput& output : pointwise.outputs) {
    space.strides.push_back(output.access.strides);
  }
  space = compacted(std::move(space));
  Kernel kernel{space.shape, {}, {}, 1, {}};
  for (std::size_t i = 0; i < pointwise.inputs.size(); ++i) {
    kernel.inputs.push_back({&pointwise.inputs[i], space.strides[i], fmt::format("in{}", i)});
  }
  for (std::size_t i = 0; i < pointwise.outputs.size(); ++i) {
    kernel.outputs.push_back({&pointwise.outputs[i].access,
                              space.strides[pointwise.inputs.size() + i], fmt::format("out{}", i)});
  }
  stage_inputs(kernel);
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
  return width > 1 && tensor.strides.back() == 1 && !tensor.is_staged;
}

std::string vector_type(const Tensor& tensor, int width) {
  return fmt::format("takt::Elements<{}, {}>", stored_type(tensor.access->type), width);
}

std::string load_text(const Kernel& kernel, const Tensor& tensor) {
  if (tensor.is_staged) return "";
  const std::string offset = offset_text(tensor, kernel.shape);
  if (!is_vector(tensor, kernel.width)) {
    return fmt::format("  const auto {0}_element = {0}[{1}];\n", tensor.name, offset);
  }
  return fmt::format("  const auto {0}_elements = *reinterpret_cast<const {1}*>({0} + {2});\n",
                     tensor.name, vector_type(tensor, kernel.width), offset);
}

std::string element_text(const Kernel& kernel, const Tensor& tensor) {
  if (tensor.is_staged) {
    return fmt::format("{}_tile[(column + k) * {}u + row]", tensor.name, kernel.tile->pitch());
  }
  return is_vector(tensor, kernel.width) ? fmt::format("{}_elements.at[k]", tensor.name)
                                         : fmt::format("{}_element", tensor.name);
}

// The values of one element, each from those before it.
std::string value_text(const Pointwise& pointwise, const Kernel& kernel) {
  const bool approximate =
      std::ranges::all_of(pointwise.outputs, [](const PointwiseOutput& output) {
        return output.access.type == DataType::fp16 || output.access.type == DataType::bf16;
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

// The elements of one thread, from where i0, i1, ... say.
std::string elements_text(const Pointwise& pointwise, const Kernel& kernel) {
  std::string text;
  for (const Tensor& input : kernel.inputs) text += load_text(kernel, input);
  for (const Tensor& output : kernel.outputs) text += result_text(kernel, output);
  text += fmt::format("#pragma unroll\n  for (int k = 0; k < {}; ++k) {{\n", kernel.width);
  text += value_text(pointwise, kernel) + "  }\n";
  for (const Tensor& output : kernel.outputs) text += store_text(kernel, output);
  return text;
}

std::int64_t parts(std::int64_t size, std::int64_t part) {
  return (size + part - 1) / part;
}

// Elements that move together from a staged input.
int staged_width(const Kernel& kernel, const Tensor& tensor) {
  Tensor turned = tensor;
  turned.is_staged = false;
  std::swap(turned.strides[kernel.tile->across], turned.strides.back());
  Shape shape = kernel.shape;
  std::swap(shape[kernel.tile->across], shape.back());
  for (int width = kWidthMax; width > 1; width /= 2) {
    if (kernel.tile->across_size % width == 0 && allows(turned, shape, width, false)) return width;
  }
  return 1;
}

// A loop over the tile in which a thread has `row` and `column` of it, and the indices of the space. Threads
// side by side walk along the rows, `width` elements each, or along the columns.
std::string tile_loop(const Kernel& kernel, bool along_rows, int width, const std::string& body) {
  const Tile& tile = *kernel.tile;
  const std::size_t inner = kernel.shape.size() - 1;
  const std::int64_t side = (along_rows ? tile.across_size : tile.inner_size) / width;
  const std::int64_t slots = tile.across_size * tile.inner_size / width;
  std::string text = fmt::format(
      "#pragma unroll\n  for (unsigned s = 0; s < {0}u; ++s) {{\n"
      "    const unsigned slot = s * {1}u + threadIdx.x;\n"
      "    const unsigned {2} = slot % {3}u * {4}u;\n    const unsigned {5} = slot / {3}u;\n"
      "    const unsigned i{6} = first_row + row;\n    const unsigned i{7} = first_column + "
      "column;\n",
      parts(slots, kTileThreads), kTileThreads, along_rows ? "row" : "column", side, width,
      along_rows ? "column" : "row", tile.across, inner);
  std::string outside;
  const auto leave_if = [&outside](const std::string& condition) {
    outside += (outside.empty() ? "" : " || ") + condition;
  };
  if (slots % kTileThreads != 0) leave_if(fmt::format("slot >= {}u", slots));
  const auto leave_behind = [&](std::size_t dim, std::int64_t part) {
    if (kernel.shape[dim] % part != 0) leave_if(fmt::format("i{} >= {}u", dim, kernel.shape[dim]));
  };
  leave_behind(tile.across, tile.across_size);
  leave_behind(inner, tile.inner_size);
  if (!outside.empty()) text += fmt::format("    if ({}) continue;\n", outside);
  return text + body + "  }\n";
}

std::string staging_text(const Kernel& kernel, const Tensor& tensor) {
  const int width = staged_width(kernel, tensor);
  const std::string body = fmt::format(
      "    const auto elements = *reinterpret_cast<const {0}*>({1} + {2});\n"
      "#pragma unroll\n    for (unsigned k = 0; k < {3}u; ++k) {{\n"
      "      {1}_tile[column * {4}u + row + k] = {5};\n    }}\n",
      vector_type(tensor, width), tensor.name, offset_text(tensor, kernel.shape), width,
      kernel.tile->pitch(), loaded(tensor.access->type, "elements.at[k]"));
  return tile_loop(kernel, true, width, body);
}

// The block's place in the space: i0, i1, ... of the dimensions that the tile doesn't walk, and its corner.
std::string tile_place_text(const Kernel& kernel) {
  const Tile& tile = *kernel.tile;
  std::string text = "  unsigned rest = blockIdx.x;\n";
  for (std::size_t dim = kernel.shape.size(); dim-- > 0;) {
    const bool inner = dim + 1 == kernel.shape.size();
    const std::int64_t side = inner ? tile.inner_size : tile.across_size;
    const bool tiled = inner || dim == tile.across;
    const std::int64_t count = tiled ? parts(kernel.shape[dim], side) : kernel.shape[dim];
    const std::string name = inner ? "first_column" : tiled ? "first_row" : fmt::format("i{}", dim);
    text += fmt::format("  const unsigned {0} = rest % {1}u{2};\n  rest /= {1}u;\n", name, count,
                        tiled ? fmt::format(" * {}u", side) : "");
  }
  return text;
}

KernelSource tiled_kernel(const Pointwise& pointwise, const Kernel& kernel, std::string name) {
  const Tile& tile = *kernel.tile;
  std::string text = fmt::format("extern \"C\" __global__ void __launch_bounds__({}) {}({}) {{\n",
                                 kTileThreads, name, parameters(kernel));
  text += tile_place_text(kernel);
  for (const Tensor& input : kernel.inputs) {
    if (!input.is_staged) continue;
    text += fmt::format("  __shared__ {} {}_tile[{}];\n", computed_type(input.access->type),
                        input.name, tile.inner_size * tile.pitch());
    text += staging_text(kernel, input);
  }
  text += "  __syncthreads();\n";
  text += tile_loop(kernel, false, kernel.width, elements_text(pointwise, kernel)) + "}\n";
  std::int64_t blocks = product(kernel.shape) / kernel.shape[tile.across] / kernel.shape.back();
  blocks *= parts(kernel.shape[tile.across], tile.across_size);
  blocks *= parts(kernel.shape.back(), tile.inner_size);
  return {std::move(name), std::move(text), static_cast<unsigned>(blocks), kTileThreads, 1};
}

}  // namespace

int vector_width(const Pointwise& pointwise) {
  return plan(pointwise).width;
}

KernelSource pointwise_kernel(const Pointwise& pointwise, const std::string& step) {
  std::string name = kernel_name(step);
  const Kernel kernel = plan(pointwise);
  if (kernel.tile) return tiled_kernel(pointwise, kernel, std::move(name));
  const std::int64_t count = product(kernel.shape) / kernel.width;
  std::string text = fmt::format(
      "extern \"C\" __global__ void __launch_bounds__({}) {}({}) {{\n"
      "  const unsigned t = blockIdx.x * {}u + threadIdx.x;\n  if (t >= {}u) return;\n",
      kThreads, name, parameters(kernel), kThreads, count);
  text += index_text(kernel) + elements_text(pointwise, kernel) + "}\n";
  const auto blocks = static_cast<unsigned>(parts(count, kThreads));
  return {std::move(name), std::move(text), blocks, kThreads, 1};
}

}  // namespace takt::cuda
