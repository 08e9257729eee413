// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/compile/lowering.h"
#include "graph/graph.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <span>
#include <utility>

namespace takt::cuda {
namespace {

// Beyond FP16's largest number, 65504, with room for what is added: masks hold the lowest number of FP32, which
// must not become infinity.
constexpr float kLargestInFp16 = 6e4F;

graph::Constant limited(const graph::Constant& constant) {
  graph::Constant copy = constant;
  const std::span<float> numbers{reinterpret_cast<float*>(copy.bytes.data()),
                                 copy.bytes.size() / sizeof(float)};
  for (float& number : numbers) {
    if (std::isfinite(number)) number = std::clamp(number, -kLargestInFp16, kLargestInFp16);
  }
  return copy;
}

// Element by element from a dense tensor to where the layout says; both walk their dimensions outside in.
void scatter(std::span<const std::byte> from, const View& layout, std::span<std::byte> to) {
  const std::size_t width = element_bytes(layout.type);
  const std::size_t rank = layout.shape.size();
  std::vector<std::int64_t> index(rank, 0);
  std::int64_t offset = layout.offset;
  for (std::size_t at = 0; at < from.size(); at += width) {
    std::memcpy(to.data() + static_cast<std::size_t>(offset) * width, from.data() + at, width);
    for (std::size_t d = rank; d-- > 0;) {
      offset += layout.strides[d];
      if (++index[d] < layout.shape[d]) break;
      offset -= layout.strides[d] * layout.shape[d];
      index[d] = 0;
    }
  }
}

}  // namespace

Result<std::vector<std::byte>> constant_bytes(const Buffer& buffer) {
  std::vector<std::byte> bytes(buffer.bytes);
  const graph::Constant* constant = buffer.constant.get();
  std::vector<graph::Constant> converted;
  if (constant->type.type != buffer.layout.type) {
    const bool narrows =
        constant->type.type == DataType::fp32 && buffer.layout.type == DataType::fp16;
    if (narrows) converted.push_back(limited(*constant));
    const std::array<const graph::Constant*, 1> inputs{narrows ? &converted.front() : constant};
    Result<std::vector<graph::Constant>> made =
        graph::evaluate(graph::Cast{buffer.layout.type}, inputs);
    if (!made) return std::unexpected(std::move(made).error());
    converted = std::move(*made);
    constant = &converted.front();
  }
  scatter(constant->bytes, buffer.layout, bytes);
  return bytes;
}

}  // namespace takt::cuda
