// SPDX-License-Identifier: Apache-2.0
// Messages as gRPC receives and sends them.
// Thread-safe: pure functions; a ReceivedMessage belongs to one thread. Private to server/grpc.
// Owns: a ReceivedMessage the bytes that its pieces name; a buffer to send what it refers to.
#pragma once

#include "server/api_error.h"
#include "server/grpc/wire_cursor.h"
#include "server/grpc/wire_writer.h"

#include <grpcpp/support/byte_buffer.h>

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace takt::server::rpc {

class ReceivedMessage {
 public:
  // Takes the buffer's content, and decompresses it where its sender has compressed it: gRPC would do
  // that without a bound, so it is told not to. Errors: invalid_argument (damaged),
  // payload_too_large (more than `bytes_max`, decompressed).
  [[nodiscard]] static ApiResult<ReceivedMessage> open(::grpc::ByteBuffer& buffer,
                                                       std::size_t bytes_max);

  [[nodiscard]] Pieces pieces() const noexcept { return pieces_; }
  [[nodiscard]] std::string joined() const;
  [[nodiscard]] grpc_compression_algorithm compression() const noexcept { return compression_; }

 private:
  std::vector<::grpc::Slice> slices_;
  std::unique_ptr<std::string> decompressed_;  // its bytes stay when the message is moved
  std::vector<std::span<const std::byte>> pieces_;
  grpc_compression_algorithm compression_ = GRPC_COMPRESS_NONE;
};

// Pieces in the answer stay there; the buffer keeps the answer until gRPC has sent them.
[[nodiscard]] ::grpc::ByteBuffer to_buffer(const std::vector<WirePiece>& pieces,
                                           const std::shared_ptr<const InferAnswer>& answer);
// Everything copied: the answer can go.
[[nodiscard]] ::grpc::ByteBuffer to_buffer(const std::vector<WirePiece>& pieces);
[[nodiscard]] ::grpc::ByteBuffer to_buffer(const std::string& message);

}  // namespace takt::server::rpc
