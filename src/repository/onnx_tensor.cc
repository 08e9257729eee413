// SPDX-License-Identifier: Apache-2.0
#include "repository/onnx_tensor.h"

#include "core/string_tensor.h"

#include <onnx/onnx.pb.h>

#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <utility>

namespace takt::repository {
namespace {

template <typename Element, typename Values>
void write_as(const Values& values, std::vector<std::byte>& bytes) {
  bytes.resize(static_cast<std::size_t>(values.size()) * sizeof(Element));
  std::byte* next = bytes.data();
  for (const auto value : values) {
    const auto element = static_cast<Element>(value);
    std::memcpy(next, &element, sizeof(Element));
    next += sizeof(Element);
  }
}

// The typed fields of TensorProto, as onnx.proto assigns them to element types.
std::vector<std::byte> typed_bytes(const onnx::TensorProto& tensor, DataType type) {
  std::vector<std::byte> bytes;
  switch (type) {
    case DataType::fp32:
      write_as<float>(tensor.float_data(), bytes);
      break;
    case DataType::fp64:
      write_as<double>(tensor.double_data(), bytes);
      break;
    case DataType::int64:
      write_as<std::int64_t>(tensor.int64_data(), bytes);
      break;
    case DataType::uint32:
      write_as<std::uint32_t>(tensor.uint64_data(), bytes);
      break;
    case DataType::uint64:
      write_as<std::uint64_t>(tensor.uint64_data(), bytes);
      break;
    case DataType::int32:
      write_as<std::int32_t>(tensor.int32_data(), bytes);
      break;
    case DataType::int16:
    case DataType::uint16:
    case DataType::fp16:
    case DataType::bf16:
      write_as<std::uint16_t>(tensor.int32_data(), bytes);
      break;
    case DataType::boolean:
    case DataType::int8:
    case DataType::uint8:
      write_as<std::uint8_t>(tensor.int32_data(), bytes);
      break;
    case DataType::bytes:
      break;
  }
  return bytes;
}

std::vector<std::byte> string_bytes(const onnx::TensorProto& tensor) {
  std::size_t size = 0;
  for (const std::string& text : tensor.string_data()) size += kStringLengthBytes + text.size();
  std::vector<std::byte> bytes(size);
  std::size_t used = 0;
  for (const std::string& text : tensor.string_data()) {
    used = put_string(bytes, used, text).value_or(used);
  }
  return bytes;
}

}  // namespace

Result<std::vector<std::byte>> elements_of(const onnx::TensorProto& tensor, DataType type,
                                           const Shape& shape) {
  if (type == DataType::bytes) {
    const Result<std::size_t> count = element_count(shape);
    if (!count) return std::unexpected(count.error());
    std::vector<std::byte> strings = string_bytes(tensor);
    if (Result<void> checked = check_strings(strings, *count); !checked) {
      return std::unexpected(std::move(checked).error());
    }
    return strings;
  }
  const Result<std::size_t> expected = byte_size(type, shape);
  if (!expected) return std::unexpected(expected.error());
  std::vector<std::byte> bytes;
  if (tensor.has_raw_data()) {
    const auto raw = std::as_bytes(std::span(tensor.raw_data()));
    bytes.assign(raw.begin(), raw.end());
  } else {
    bytes = typed_bytes(tensor, type);
  }
  if (bytes.size() == *expected) return bytes;
  return fail(ErrorKind::invalid_input, std::to_string(bytes.size()) + " bytes of elements, but " +
                                            std::string(to_string(type)) + to_string(shape) +
                                            " has " + std::to_string(*expected));
}

}  // namespace takt::repository
