// SPDX-License-Identifier: Apache-2.0
#include "core/tensor.h"

#include <array>

namespace takt {
namespace {

struct TypeRow {
  DataType type;
  std::string_view name;
  std::size_t bytes;
};

// Open Inference Protocol v2, "Tensor Data Types".
constexpr std::array<TypeRow, 14> kTypes{{
    {DataType::boolean, "BOOL", 1},
    {DataType::uint8, "UINT8", 1},
    {DataType::uint16, "UINT16", 2},
    {DataType::uint32, "UINT32", 4},
    {DataType::uint64, "UINT64", 8},
    {DataType::int8, "INT8", 1},
    {DataType::int16, "INT16", 2},
    {DataType::int32, "INT32", 4},
    {DataType::int64, "INT64", 8},
    {DataType::fp16, "FP16", 2},
    {DataType::bf16, "BF16", 2},
    {DataType::fp32, "FP32", 4},
    {DataType::fp64, "FP64", 8},
    {DataType::bytes, "BYTES", 0},
}};

constexpr std::size_t kElementsMax = std::size_t{1} << 40;

}  // namespace

std::string_view to_string(DataType type) noexcept {
  return kTypes[static_cast<std::size_t>(type)].name;
}

Result<DataType> parse_data_type(std::string_view name) {
  std::string_view bare = name;
  if (bare.starts_with("TYPE_")) bare.remove_prefix(5);
  if (bare == "STRING")
    return DataType::bytes;  // config.pbtxt says TYPE_STRING where the protocol says BYTES
  for (const TypeRow& row : kTypes) {
    if (row.name == bare) return row.type;
  }
  return fail(ErrorKind::invalid_input, "unknown data type '" + std::string(name) +
                                            "'; expected a name such as FP32, UINT8 or INT64");
}

std::size_t element_bytes(DataType type) noexcept {
  return kTypes[static_cast<std::size_t>(type)].bytes;
}

std::string to_string(const Shape& shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (i != 0) text += ',';
    text += std::to_string(shape[i]);
  }
  return text + "]";
}

Result<std::size_t> element_count(std::span<const std::int64_t> shape) {
  std::size_t count = 1;
  bool empty = false;
  for (const std::int64_t dim : shape) {
    if (dim < 0)
      return fail(ErrorKind::invalid_input,
                  "negative dimension " + std::to_string(dim) + " in a shape; expected 0 or more");
    if (dim == 0) {
      empty = true;
      continue;
    }
    if (static_cast<std::size_t>(dim) > kElementsMax / count) {
      return fail(ErrorKind::invalid_input, "shape has more than 2^40 elements");
    }
    count *= static_cast<std::size_t>(dim);
  }
  return empty ? 0 : count;
}

Result<std::size_t> byte_size(DataType type, std::span<const std::int64_t> shape) {
  if (type == DataType::bytes)
    return fail(ErrorKind::invalid_input, "a BYTES tensor has no fixed size");
  const Result<std::size_t> count = element_count(shape);
  if (!count) return count;
  return *count * element_bytes(type);
}

}  // namespace takt
