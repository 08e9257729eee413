// SPDX-License-Identifier: Apache-2.0
#include "server/http/json_answer.h"

#include "core/string_tensor.h"

#include <simdjson.h>

#include <array>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace takt::server::http {
namespace {

constexpr std::size_t kNumberCharsMax = 32;

template <typename T>
void append_number(std::string& json, T value) {
  std::array<char, kNumberCharsMax> text;
  const auto end = std::to_chars(text.data(), text.data() + text.size(), value);
  json.append(text.data(), end.ptr);
}

void append_shape(std::string& json, const Shape& shape) {
  json += '[';
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (i > 0) json += ',';
    append_number(json, shape[i]);
  }
  json += ']';
}

std::unexpected<ApiError> unfit(const AnswerOutput& output, const char* what) {
  return refuse(ApiCode::invalid_argument, "output '" + output.name + "' " + what +
                                               ": ask for it as binary data (binary_data)");
}

template <typename T>
ApiResult<void> append_numbers(std::string& json, const AnswerOutput& output) {
  const std::size_t count = output.bytes.size() / sizeof(T);
  json.reserve(json.size() + count * 4);
  for (std::size_t i = 0; i < count; ++i) {
    T value;
    std::memcpy(&value, output.bytes.data() + i * sizeof(T), sizeof(T));
    if (i > 0) json += ',';
    if constexpr (std::is_floating_point_v<T>) {
      if (!std::isfinite(value)) return unfit(output, "holds a NaN or an infinity");
    }
    append_number(json, value);
  }
  return {};
}

ApiResult<void> append_booleans(std::string& json, const AnswerOutput& output) {
  for (std::size_t i = 0; i < output.bytes.size(); ++i) {
    if (i > 0) json += ',';
    json += output.bytes[i] != std::byte{0} ? "true" : "false";
  }
  return {};
}

ApiResult<void> append_strings(std::string& json, const AnswerOutput& output) {
  StringElements elements(output.bytes);
  bool first = true;
  while (const auto element = elements.next()) {
    if (!simdjson::validate_utf8(element->data(), element->size())) {
      return unfit(output, "holds strings that are not UTF-8");
    }
    if (!first) json += ',';
    first = false;
    append_quoted(json, *element);
  }
  return {};
}

ApiResult<void> append_data(std::string& json, const AnswerOutput& output) {
  switch (output.type) {
    case DataType::boolean:
      return append_booleans(json, output);
    case DataType::uint8:
      return append_numbers<std::uint8_t>(json, output);
    case DataType::uint16:
      return append_numbers<std::uint16_t>(json, output);
    case DataType::uint32:
      return append_numbers<std::uint32_t>(json, output);
    case DataType::uint64:
      return append_numbers<std::uint64_t>(json, output);
    case DataType::int8:
      return append_numbers<std::int8_t>(json, output);
    case DataType::int16:
      return append_numbers<std::int16_t>(json, output);
    case DataType::int32:
      return append_numbers<std::int32_t>(json, output);
    case DataType::int64:
      return append_numbers<std::int64_t>(json, output);
    case DataType::fp32:
      return append_numbers<float>(json, output);
    case DataType::fp64:
      return append_numbers<double>(json, output);
    case DataType::bytes:
      return append_strings(json, output);
    case DataType::fp16:
    case DataType::bf16:
      break;
  }
  return unfit(output, "has a datatype that JSON can't hold");
}

ApiResult<void> append_output(std::string& json, const AnswerOutput& output,
                              std::vector<std::span<const std::byte>>& binary) {
  json += "{\"name\":";
  append_quoted(json, output.name);
  json += ",\"datatype\":\"";
  json += to_string(output.type);
  json += "\",\"shape\":";
  append_shape(json, output.shape);
  // Triton's C++ client takes an output with parameters for one with binary data.
  if (output.shared) {
    json += '}';
    return {};
  }
  if (output.binary) {
    json += ",\"parameters\":{\"binary_data_size\":";
    append_number(json, output.bytes.size());
    json += "}}";
    binary.push_back(output.bytes);
    return {};
  }
  json += ",\"data\":[";
  if (ApiResult<void> appended = append_data(json, output); !appended) return appended;
  json += "]}";
  return {};
}

}  // namespace

ApiResult<void> write_answer(const InferAnswer& answer, std::string& json,
                             std::vector<std::span<const std::byte>>& binary) {
  const std::size_t before = json.size();
  json += '{';
  if (!answer.id.empty()) {
    json += "\"id\":";
    append_quoted(json, answer.id);
    json += ',';
  }
  json += "\"model_name\":";
  append_quoted(json, answer.model);
  json += ",\"model_version\":";
  append_quoted(json, answer.version);
  json += ",\"outputs\":[";
  for (std::size_t i = 0; i < answer.outputs.size(); ++i) {
    if (i > 0) json += ',';
    if (ApiResult<void> appended = append_output(json, answer.outputs[i], binary); !appended) {
      json.resize(before);
      return appended;
    }
  }
  json += "]}";
  return {};
}

void append_quoted(std::string& json, std::string_view text) {
  constexpr std::string_view kHex = "0123456789abcdef";
  json += '"';
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      json += '\\';
      json += c;
    } else if (byte < 0x20) {
      json += "\\u00";
      json += kHex[byte >> 4U];
      json += kHex[byte & 0xfU];
    } else {
      json += c;
    }
  }
  json += '"';
}

std::string error_json(std::string_view message) {
  std::string text(message);
  if (!simdjson::validate_utf8(text)) {
    for (char& c : text) {
      if (static_cast<unsigned char>(c) >= 0x80) c = '?';
    }
  }
  std::string json = "{\"error\":";
  append_quoted(json, text);
  json += '}';
  return json;
}

}  // namespace takt::server::http
