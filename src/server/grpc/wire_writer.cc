// SPDX-License-Identifier: Apache-2.0
#include "server/grpc/wire_writer.h"

#include "core/utf8.h"

#include <cstdint>
#include <utility>

namespace takt::server::rpc {
namespace {

enum class Wire : std::uint8_t { varint = 0, bytes = 2 };

void put_varint(std::string& out, std::uint64_t value) {
  for (; value >= 0x80U; value >>= 7U) out += static_cast<char>((value & 0x7fU) | 0x80U);
  out += static_cast<char>(value);
}

void put_tag(std::string& out, std::uint32_t number, Wire type) {
  put_varint(out, number << 3U | static_cast<std::uint32_t>(type));
}

void put_bytes(std::string& out, std::uint32_t number, std::string_view bytes) {
  put_tag(out, number, Wire::bytes);
  put_varint(out, bytes.size());
  out += bytes;
}

// As proto3 has it: what is empty isn't there.
void put_text(std::string& out, std::uint32_t number, std::string_view text) {
  if (!text.empty()) put_bytes(out, number, text);
}

enum class ParameterKind : std::uint8_t { boolean = 1, integer = 2 };

std::string number_value(ParameterKind kind, std::uint64_t number) {
  std::string value;
  put_tag(value, static_cast<std::uint32_t>(kind), Wire::varint);
  put_varint(value, number);
  return value;
}

std::string text_value(std::string_view text) {
  std::string value;
  put_bytes(value, 3, text);
  return value;
}

// Parameters have number 4 in the response as well as in its outputs.
void put_parameter(std::string& out, std::string_view key, std::string_view value) {
  std::string entry;
  put_bytes(entry, 1, key);
  put_bytes(entry, 2, value);
  put_bytes(out, 4, entry);
}

void put_place(std::string& out, const SharedPlace& place) {
  put_parameter(out, "shared_memory_region", text_value(place.region));
  put_parameter(out, "shared_memory_byte_size", number_value(ParameterKind::integer, place.bytes));
  if (place.offset == 0) return;
  put_parameter(out, "shared_memory_offset", number_value(ParameterKind::integer, place.offset));
}

std::string output_message(const AnswerOutput& output) {
  std::string message;
  put_text(message, 1, output.name);
  put_text(message, 2, to_string(output.type));
  std::string shape;
  for (const std::int64_t dimension : output.shape) {
    put_varint(shape, static_cast<std::uint64_t>(dimension));
  }
  put_text(message, 3, shape);
  if (output.shared) put_place(message, *output.shared);
  return message;
}

std::string header(const InferAnswer& answer, bool in_stream) {
  std::string out;
  put_text(out, 1, answer.model);
  put_text(out, 2, answer.version);
  put_text(out, 3, answer.id);
  if (in_stream) {
    put_parameter(out, "triton_final_response", number_value(ParameterKind::boolean, 1));
  }
  for (const AnswerOutput& output : answer.outputs) put_bytes(out, 5, output_message(output));
  return out;
}

std::vector<WirePiece> response_pieces(const InferAnswer& answer, bool in_stream) {
  std::vector<WirePiece> pieces;
  std::string written = header(answer, in_stream);
  for (const AnswerOutput& output : answer.outputs) {
    put_tag(written, 6, Wire::bytes);
    put_varint(written, output.bytes.size());
    if (output.bytes.size() <= kCopiedBytesMax) {
      written.append(reinterpret_cast<const char*>(output.bytes.data()), output.bytes.size());
      continue;
    }
    pieces.emplace_back(std::exchange(written, {}));
    pieces.emplace_back(output.bytes);
  }
  if (!written.empty() || pieces.empty()) pieces.emplace_back(std::move(written));
  return pieces;
}

std::size_t bytes_of(const std::vector<WirePiece>& pieces) {
  std::size_t bytes = 0;
  for (const WirePiece& piece : pieces) {
    bytes += std::visit([](const auto& part) { return part.size(); }, piece);
  }
  return bytes;
}

}  // namespace

std::vector<WirePiece> write_infer_response(const InferAnswer& answer) {
  return response_pieces(answer, false);
}

std::vector<WirePiece> write_stream_response(const InferAnswer& answer) {
  std::vector<WirePiece> pieces = response_pieces(answer, true);
  std::string front;
  put_tag(front, 2, Wire::bytes);
  put_varint(front, bytes_of(pieces));
  std::get<std::string>(pieces.front()).insert(0, front);
  return pieces;
}

std::string write_stream_error(std::string_view id, std::string_view message) {
  std::string response;
  put_text(response, 3, id);
  std::string out;
  put_text(out, 1, to_utf8(std::string(message)));
  put_bytes(out, 2, response);
  return out;
}

}  // namespace takt::server::rpc
