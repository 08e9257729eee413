// SPDX-License-Identifier: Apache-2.0
#include "graph/elements.h"
#include "graph/evaluate_kernels.h"
#include "graph/strides.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

namespace takt::graph {
namespace {

// Output element [i0, i1, ...] is the input's at `first` + i0 * strides[0] + i1 * strides[1] + ...
Constant copy_strided(const Constant& input, const TensorType& type, std::int64_t first,
                      const Strides& strides) {
  Constant output = zeros(type);
  with_width(type.type, [&]<typename T>(std::type_identity<T>) {
    const T* source = elements<T>(input).data();
    T* target = elements<T>(output).data();
    for_each_row(type.shape, std::array{strides}, [&](const Row<1>& row) {
      const std::int64_t begin = first + row.offsets[0];
      for (std::int64_t i = 0; i < row.length; ++i) *target++ = source[begin + i * row.steps[0]];
    });
  });
  return output;
}

Result<std::int64_t> position(std::int64_t index, std::int64_t size, std::size_t axis) {
  if (index >= -size && index < size) return index < 0 ? index + size : index;
  return fail(
      ErrorKind::invalid_input,
      fmt::format("index {} is out of range for dimension {} of size {}", index, axis, size));
}

// Negative indices counted from the end.
Result<std::vector<std::int64_t>> positions(const Constant& indices, std::int64_t size, int axis) {
  std::vector<std::int64_t> result = to_int64s(indices);
  for (std::int64_t& index : result) {
    const Result<std::int64_t> resolved = position(index, size, static_cast<std::size_t>(axis));
    if (!resolved) return std::unexpected(resolved.error());
    index = *resolved;
  }
  return result;
}

// Where an element of a padded dimension comes from; `i` counts from the first that isn't padding.
std::int64_t padding_source(std::int64_t i, std::int64_t size, PadMode mode) {
  if (i >= 0 && i < size) return i;
  switch (mode) {
    case PadMode::constant:
      break;
    case PadMode::edge:
      return std::clamp<std::int64_t>(i, 0, size - 1);
    case PadMode::wrap:
      return (i % size + size) % size;
    case PadMode::reflect: {
      // There and back again, without the ends twice.
      const std::int64_t period = std::max<std::int64_t>(2 * (size - 1), 1);
      const std::int64_t phase = (i % period + period) % period;
      return std::min(phase, period - phase) % size;
    }
  }
  return -1;
}

// Of each of the rows of `indices`, the offset of the slice that it names, in elements.
Result<std::vector<std::int64_t>> slice_offsets(const Constant& data, const Constant& indices,
                                                std::size_t batch_dims) {
  const Shape& shape = data.type.shape;
  const Strides strides = dense_strides(shape);
  const std::vector<std::int64_t> numbers = to_int64s(indices);
  const auto depth = static_cast<std::size_t>(indices.type.shape.back());
  const auto rows = product(std::span(indices.type.shape).first(indices.type.shape.size() - 1));
  const std::int64_t batches = product(std::span(shape).first(batch_dims));
  const std::int64_t batch_size = product(std::span(shape).subspan(batch_dims));
  std::vector<std::int64_t> offsets;
  for (std::int64_t row = 0; row < rows; ++row) {
    std::int64_t offset = row / (rows / batches) * batch_size;
    for (std::size_t d = 0; d < depth; ++d) {
      const std::size_t axis = batch_dims + d;
      const std::int64_t index = numbers[static_cast<std::size_t>(row) * depth + d];
      const Result<std::int64_t> resolved = position(index, shape[axis], axis);
      if (!resolved) return std::unexpected(resolved.error());
      offset += *resolved * strides[axis];
    }
    offsets.push_back(offset);
  }
  return offsets;
}

}  // namespace

Constant take(const Constant& input, int axis, std::span<const std::int64_t> sources,
              std::span<const std::byte> fill) {
  const Lanes lanes(input.type.shape, axis);
  TensorType type = input.type;
  type.shape[static_cast<std::size_t>(axis)] = static_cast<std::int64_t>(sources.size());
  Constant output = zeros(std::move(type));
  const std::size_t width = element_bytes(input.type.type);
  const std::size_t block = static_cast<std::size_t>(lanes.inner) * width;
  if (output.bytes.empty()) return output;
  std::byte* target = output.bytes.data();
  for (std::int64_t outer = 0; outer < lanes.outer; ++outer) {
    for (const std::int64_t source : sources) {
      if (source >= 0) {
        const auto index = static_cast<std::size_t>(outer * lanes.length + source);
        std::memcpy(target, input.bytes.data() + index * block, block);
      } else {
        for (std::size_t i = 0; i < block; i += width) std::ranges::copy(fill, target + i);
      }
      target += block;
    }
  }
  return output;
}

Constants compute(const Reshape&, Inputs inputs, Types outputs) {
  return only({outputs[0], inputs[0]->bytes});
}

Constants compute(const Transpose& op, Inputs inputs, Types outputs) {
  const Strides dense = dense_strides(inputs[0]->type.shape);
  Strides strides;
  for (const int axis : op.permutation) strides.push_back(dense[static_cast<std::size_t>(axis)]);
  return only(copy_strided(*inputs[0], outputs[0], 0, strides));
}

Constants compute(const Expand&, Inputs inputs, Types outputs) {
  const Strides strides = broadcast_strides(inputs[0]->type.shape, outputs[0].shape);
  return only(copy_strided(*inputs[0], outputs[0], 0, strides));
}

Constants compute(const Concat& op, Inputs inputs, Types outputs) {
  Constant output = zeros(outputs[0]);
  const Lanes lanes(outputs[0].shape, op.axis);
  const std::size_t width = element_bytes(outputs[0].type);
  std::byte* target = output.bytes.data();
  for (std::int64_t outer = 0; outer < lanes.outer; ++outer) {
    for (const Constant* input : inputs) {
      const Lanes part(input->type.shape, op.axis);
      const std::size_t block = static_cast<std::size_t>(part.length * part.inner) * width;
      if (block == 0) continue;
      std::memcpy(target, input->bytes.data() + static_cast<std::size_t>(outer) * block, block);
      target += block;
    }
  }
  return only(std::move(output));
}

Constants compute(const Slice& op, Inputs inputs, Types outputs) {
  Strides strides = dense_strides(inputs[0]->type.shape);
  std::int64_t first = 0;
  for (std::size_t i = 0; i < strides.size(); ++i) {
    first += op.starts[i] * strides[i];
    strides[i] *= op.steps[i];
  }
  return only(copy_strided(*inputs[0], outputs[0], first, strides));
}

Constants compute(const Pad& op, Inputs inputs, Types) {
  Constant output = *inputs[0];
  const std::vector<std::byte> fill =
      from_doubles({output.type.type, {}}, std::array{op.value}).bytes;
  for (std::size_t d = 0; d < op.begins.size(); ++d) {
    const std::int64_t size = output.type.shape[d];
    if (op.begins[d] == 0 && op.ends[d] == 0) continue;
    std::vector<std::int64_t> sources;
    for (std::int64_t i = -op.begins[d]; i < size + op.ends[d]; ++i) {
      sources.push_back(padding_source(i, size, op.mode));
    }
    output = take(output, static_cast<int>(d), sources, fill);
  }
  return only(std::move(output));
}

Constants compute(const Gather& op, Inputs inputs, Types outputs) {
  const std::int64_t size = inputs[0]->type.shape[static_cast<std::size_t>(op.axis)];
  const Result<std::vector<std::int64_t>> sources = positions(*inputs[1], size, op.axis);
  if (!sources) return std::unexpected(sources.error());
  Constant output = take(*inputs[0], op.axis, *sources, {});
  output.type = outputs[0];
  return only(std::move(output));
}

Constants compute(const GatherElements& op, Inputs inputs, Types outputs) {
  const auto axis = static_cast<std::size_t>(op.axis);
  const std::int64_t size = inputs[0]->type.shape[axis];
  const Result<std::vector<std::int64_t>> sources = positions(*inputs[1], size, op.axis);
  if (!sources) return std::unexpected(sources.error());
  Constant output = zeros(outputs[0]);
  Strides strides = dense_strides(inputs[0]->type.shape);
  const std::int64_t along = std::exchange(strides[axis], 0);
  with_width(outputs[0].type, [&]<typename T>(std::type_identity<T>) {
    const T* data = elements<T>(*inputs[0]).data();
    T* target = elements<T>(output).data();
    auto source = sources->begin();
    for_each_row(outputs[0].shape, std::array{strides}, [&](const Row<1>& row) {
      for (std::int64_t i = 0; i < row.length; ++i) {
        *target++ = data[row.offsets[0] + i * row.steps[0] + *source++ * along];
      }
    });
  });
  return only(std::move(output));
}

Constants compute(const GatherNd& op, Inputs inputs, Types outputs) {
  Constant output = zeros(outputs[0]);
  if (output.bytes.empty()) return only(std::move(output));
  const auto batch_dims = static_cast<std::size_t>(op.batch_dims);
  const auto offsets = slice_offsets(*inputs[0], *inputs[1], batch_dims);
  if (!offsets) return std::unexpected(offsets.error());
  const std::size_t block = output.bytes.size() / offsets->size();
  const std::size_t width = element_bytes(outputs[0].type);
  std::byte* target = output.bytes.data();
  for (const std::int64_t offset : *offsets) {
    std::memcpy(target, inputs[0]->bytes.data() + static_cast<std::size_t>(offset) * width, block);
    target += block;
  }
  return only(std::move(output));
}

}  // namespace takt::graph
