// SPDX-License-Identifier: Apache-2.0
// Tensors as views: element type, shape and a span of bytes that somebody else owns.
// Thread-safe: plain values; the bytes follow the rules of their owner.
// Owns: names and shapes, never the elements.
#pragma once

#include "core/result.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace takt {

// Names and sizes follow the Open Inference Protocol (v2), "Tensor Data Types".
enum class DataType : std::uint8_t {
  boolean,
  uint8,
  uint16,
  uint32,
  uint64,
  int8,
  int16,
  int32,
  int64,
  fp16,
  bf16,
  fp32,
  fp64,
  bytes
};

[[nodiscard]] std::string_view to_string(DataType type) noexcept;  // "FP32", "UINT8", ...
[[nodiscard]] Result<DataType> parse_data_type(
    std::string_view name);  // the same names; also "TYPE_FP32"
[[nodiscard]] std::size_t element_bytes(DataType type) noexcept;  // 0 for bytes (variable length)
[[nodiscard]] constexpr bool is_floating(DataType type) noexcept {
  return type == DataType::fp16 || type == DataType::bf16 || type == DataType::fp32 ||
         type == DataType::fp64;
}
[[nodiscard]] constexpr bool is_integer(DataType type) noexcept {  // BOOL is none
  return !is_floating(type) && type != DataType::boolean && type != DataType::bytes;
}

// Row-major, outermost dimension first; -1 stands for "any" in a signature, never in a tensor.
using Shape = std::vector<std::int64_t>;

[[nodiscard]] std::string to_string(const Shape& shape);  // "[1,3,640,640]"
// Product of the dimensions; invalid_input on a negative dimension or when the product exceeds
// 2^40.
[[nodiscard]] Result<std::size_t> element_count(std::span<const std::int64_t> shape);
// Bytes of a dense tensor; invalid_input as above, or for bytes.
[[nodiscard]] Result<std::size_t> byte_size(DataType type, std::span<const std::int64_t> shape);

// One input or output of a model; -1 where a dimension is open. Whether the batch dimension is part
// of `shape` says who holds it: in a Signature (core/inference.h) it is not.
struct TensorSpec {
  std::string name;
  DataType type = DataType::fp32;
  Shape shape;

  friend bool operator==(const TensorSpec&, const TensorSpec&) = default;
};

struct TensorView {
  DataType type = DataType::fp32;
  Shape shape;
  std::span<const std::byte> bytes;

  template <typename T>
  [[nodiscard]] std::span<const T> as() const noexcept {
    return {reinterpret_cast<const T*>(bytes.data()), bytes.size() / sizeof(T)};
  }
};

struct MutableTensorView {
  DataType type = DataType::fp32;
  Shape shape;
  std::span<std::byte> bytes;

  template <typename T>
  [[nodiscard]] std::span<T> as() const noexcept {
    return {reinterpret_cast<T*>(bytes.data()), bytes.size() / sizeof(T)};
  }
};

}  // namespace takt
