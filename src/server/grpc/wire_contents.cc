// SPDX-License-Identifier: Apache-2.0
#include "server/grpc/wire_contents.h"

#include <array>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <utility>

namespace takt::server::rpc {
namespace {

constexpr std::size_t kLengthBytes = 4;  // in front of each string

constexpr std::array<std::string_view, 9> kFieldNames{
    "",
    "bool_contents",
    "int_contents",
    "int64_contents",
    "uint_contents",
    "uint64_contents",
    "fp32_contents",
    "fp64_contents",
    "bytes_contents",
};

// The number of the type's field in InferTensorContents; 0: none.
std::uint32_t field_of(DataType type) {
  switch (type) {
    case DataType::boolean:
      return 1;
    case DataType::int8:
    case DataType::int16:
    case DataType::int32:
      return 2;
    case DataType::int64:
      return 3;
    case DataType::uint8:
    case DataType::uint16:
    case DataType::uint32:
      return 4;
    case DataType::uint64:
      return 5;
    case DataType::fp32:
      return 6;
    case DataType::fp64:
      return 7;
    case DataType::bytes:
      return 8;
    case DataType::fp16:
    case DataType::bf16:
      return 0;
  }
  return 0;
}

WireType wire_type_of(DataType type) {
  if (type == DataType::fp32) return WireType::fixed32;
  if (type == DataType::fp64) return WireType::fixed64;
  return type == DataType::bytes ? WireType::bytes : WireType::varint;
}

std::unexpected<ApiError> refuse_contents(std::string why) {
  return refuse(ApiCode::invalid_argument, "contents: " + std::move(why));
}

std::unexpected<ApiError> malformed() {
  return refuse_contents("the bytes are no InferTensorContents");
}

// Fills a tensor element by element.
class Elements {
 public:
  Elements(DataType type, std::span<std::byte> into) : type_(type), rest_(into) {}

  ApiResult<void> put_string(WireCursor text) {
    const auto bytes = static_cast<std::uint32_t>(text.left());
    if (rest_.size() < kLengthBytes || rest_.size() - kLengthBytes < bytes) return too_many();
    put_bytes(std::as_bytes(std::span(&bytes, 1)));
    return put_run(text);
  }
  // Elements as they lie in the tensor.
  ApiResult<void> put_run(WireCursor run) {
    if (run.left() > rest_.size()) return too_many();
    const std::size_t bytes = run.left();
    run.copy(rest_.first(bytes));
    rest_ = rest_.subspan(bytes);
    return {};
  }
  ApiResult<void> put_fixed(std::uint64_t value) {
    const std::size_t bytes = element_bytes(type_);
    if (bytes > rest_.size()) return too_many();
    put_bytes(std::as_bytes(std::span(&value, 1)).first(bytes));
    return {};
  }
  ApiResult<void> put_varint(std::uint64_t value) {
    switch (type_) {
      case DataType::boolean:
        return put_fixed(value == 0 ? 0 : 1);
      // As protobuf does, an int32 is the lower half of its varint.
      case DataType::int8:
        return put_narrow<std::int8_t>(static_cast<std::int32_t>(value));
      case DataType::int16:
        return put_narrow<std::int16_t>(static_cast<std::int32_t>(value));
      case DataType::uint8:
        return put_narrow<std::uint8_t>(static_cast<std::uint32_t>(value));
      case DataType::uint16:
        return put_narrow<std::uint16_t>(static_cast<std::uint32_t>(value));
      default:
        return put_fixed(value);
    }
  }
  [[nodiscard]] std::size_t missing_bytes() const noexcept { return rest_.size(); }

 private:
  static std::unexpected<ApiError> too_many() {
    return refuse_contents("more elements than the shape has");
  }
  template <typename Narrow, typename Value>
  ApiResult<void> put_narrow(Value value) {
    if (std::in_range<Narrow>(value)) return put_fixed(static_cast<std::uint64_t>(value));
    return refuse_contents(std::to_string(value) + " is no " + std::string(to_string(type_)) +
                           "; expected " + std::to_string(std::numeric_limits<Narrow>::min()) +
                           " to " + std::to_string(std::numeric_limits<Narrow>::max()));
  }
  void put_bytes(std::span<const std::byte> bytes) {
    std::memcpy(rest_.data(), bytes.data(), bytes.size());
    rest_ = rest_.subspan(bytes.size());
  }

  const DataType type_;
  std::span<std::byte> rest_;
};

// Several elements in one field.
ApiResult<void> put_packed(WireCursor run, DataType type, Elements& elements) {
  if (wire_type_of(type) != WireType::varint) {
    return run.left() % element_bytes(type) == 0 ? elements.put_run(run) : malformed();
  }
  while (run.left() > 0) {
    const std::optional<std::uint64_t> value = run.next_varint();
    if (!value) return malformed();
    if (auto put = elements.put_varint(*value); !put) return put;
  }
  return {};
}

ApiResult<void> put_field(const WireField& field, DataType type, Elements& elements) {
  if (field.type == WireType::bytes) {
    if (type == DataType::bytes) return elements.put_string(field.bytes);
    return put_packed(field.bytes, type, elements);
  }
  if (field.type != wire_type_of(type)) return malformed();
  return field.type == WireType::varint ? elements.put_varint(field.value)
                                        : elements.put_fixed(field.value);
}

ApiResult<std::size_t> string_bytes(WireCursor contents, std::size_t count) {
  std::size_t bytes = 0;
  std::size_t found = 0;
  while (const std::optional<WireField> field = contents.next_field()) {
    if (field->number != field_of(DataType::bytes) || field->type != WireType::bytes) continue;
    ++found;
    bytes += kLengthBytes + field->bytes.left();
  }
  if (found == count) return bytes;
  return refuse_contents(std::to_string(found) + " strings; the shape has " +
                         std::to_string(count));
}

}  // namespace

ApiResult<std::size_t> contents_bytes(WireCursor contents, DataType type, std::size_t count) {
  if (field_of(type) == 0) {
    return refuse_contents("there is no field for " + std::string(to_string(type)) +
                           "; send it in raw_input_contents");
  }
  if (type == DataType::bytes) return string_bytes(contents, count);
  if (count <= contents.left()) return count * element_bytes(type);
  return refuse_contents("fewer elements than the " + std::to_string(count) + " of the shape");
}

ApiResult<void> read_contents(WireCursor contents, DataType type, std::span<std::byte> into) {
  Elements elements(type, into);
  const std::uint32_t wanted = field_of(type);
  while (const std::optional<WireField> field = contents.next_field()) {
    if (field->number >= kFieldNames.size()) continue;
    if (field->number != wanted) {
      return refuse_contents("elements of " + std::string(to_string(type)) + " belong in " +
                             std::string(kFieldNames[wanted]) + ", not in " +
                             std::string(kFieldNames[field->number]));
    }
    if (auto put = put_field(*field, type, elements); !put) return put;
  }
  if (!contents.ok()) return malformed();
  if (elements.missing_bytes() == 0) return {};
  return refuse_contents("fewer elements than the shape has");
}

}  // namespace takt::server::rpc
