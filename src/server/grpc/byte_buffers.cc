// SPDX-License-Identifier: Apache-2.0
#include "server/grpc/byte_buffers.h"

#include "server/http/compression.h"

#include <grpcpp/support/slice.h>

#include <string_view>
#include <utility>

// The friend that ByteBuffer has for this: how a message was compressed is known to its C buffer alone.
namespace grpc::internal {
class GrpcByteBufferPeer {
 public:
  static grpc_compression_algorithm compression(const ByteBuffer& buffer) {
    return buffer.buffer_ == nullptr ? GRPC_COMPRESS_NONE : buffer.buffer_->data.raw.compression;
  }
};
}  // namespace grpc::internal

namespace takt::server::rpc {
namespace {

std::span<const std::byte> bytes_of(const ::grpc::Slice& slice) {
  return {reinterpret_cast<const std::byte*>(slice.begin()), slice.size()};
}

std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::span<const std::byte> bytes_of(const WirePiece& piece) {
  if (const auto* text = std::get_if<std::string>(&piece)) return std::as_bytes(std::span(*text));
  return std::get<std::span<const std::byte>>(piece);
}

void let_go(void* answer) {
  delete static_cast<std::shared_ptr<const InferAnswer>*>(answer);
}

// A slice of the answer's own memory.
::grpc::Slice borrow(std::span<const std::byte> bytes,
                     const std::shared_ptr<const InferAnswer>& answer) {
  auto holder = std::make_unique<std::shared_ptr<const InferAnswer>>(answer);
  return {const_cast<std::byte*>(bytes.data()), bytes.size(), &let_go, holder.release()};
}

}  // namespace

ApiResult<ReceivedMessage> ReceivedMessage::open(::grpc::ByteBuffer& buffer,
                                                 std::size_t bytes_max) {
  ReceivedMessage message;
  message.compression_ = ::grpc::internal::GrpcByteBufferPeer::compression(buffer);
  const bool dumped = !buffer.Valid() || buffer.Dump(&message.slices_).ok();
  buffer.Clear();
  if (!dumped) return refuse(ApiCode::internal, "a message that can't be read");
  for (const ::grpc::Slice& slice : message.slices_) message.pieces_.push_back(bytes_of(slice));
  if (message.compression_ == GRPC_COMPRESS_NONE) return message;
  const auto coding =
      message.compression_ == GRPC_COMPRESS_GZIP ? http::Coding::gzip : http::Coding::deflate;
  ApiResult<std::string> text = http::decompress(message.joined(), coding, bytes_max);
  if (!text) return std::unexpected(std::move(text).error());
  message.decompressed_ = std::make_unique<std::string>(std::move(*text));
  message.slices_.clear();
  message.pieces_ = {std::as_bytes(std::span(*message.decompressed_))};
  return message;
}

std::string ReceivedMessage::joined() const {
  std::string whole;
  for (const std::span<const std::byte> piece : pieces_) whole += text_of(piece);
  return whole;
}

::grpc::ByteBuffer to_buffer(const std::vector<WirePiece>& pieces,
                             const std::shared_ptr<const InferAnswer>& answer) {
  std::vector<::grpc::Slice> slices;
  slices.reserve(pieces.size());
  for (const WirePiece& piece : pieces) {
    const std::span<const std::byte> bytes = bytes_of(piece);
    const bool in_answer = std::holds_alternative<std::span<const std::byte>>(piece);
    slices.push_back(in_answer ? borrow(bytes, answer) : ::grpc::Slice(bytes.data(), bytes.size()));
  }
  return {slices.data(), slices.size()};
}

::grpc::ByteBuffer to_buffer(const std::vector<WirePiece>& pieces) {
  std::vector<::grpc::Slice> slices;
  slices.reserve(pieces.size());
  for (const WirePiece& piece : pieces) {
    const std::span<const std::byte> bytes = bytes_of(piece);
    slices.emplace_back(bytes.data(), bytes.size());
  }
  return {slices.data(), slices.size()};
}

::grpc::ByteBuffer to_buffer(const std::string& message) {
  const ::grpc::Slice slice(message);
  return {&slice, 1};
}

}  // namespace takt::server::rpc
