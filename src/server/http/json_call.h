// SPDX-License-Identifier: Apache-2.0
// The JSON of an inference request: read straight into slots.
// Thread-safe: no; one reader a connection.
// Owns: the parser's memory, which it uses again.
#pragma once

#include "server/api_error.h"
#include "server/infer_call.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace takt::server::http {

struct JsonCall {
  InferCall call;
  // What follows the JSON as binary data, in its order: parts of the call's slots, still to be filled.
  std::vector<std::span<std::byte>> binary;
};

class JsonCallReader {
 public:
  JsonCallReader();
  ~JsonCallReader();
  JsonCallReader(const JsonCallReader&) = delete;
  JsonCallReader& operator=(const JsonCallReader&) = delete;

  // So many bytes behind the text must be readable; what they hold doesn't matter.
  [[nodiscard]] static std::size_t padding() noexcept;

  // `text` is the whole JSON part, which `binary_bytes` follow; `model` and `version` stay empty.
  // Errors: invalid_argument with the place ("inputs[0].data: ..."), those of `room`.
  [[nodiscard]] ApiResult<JsonCall> read(std::span<const char> text, std::uint64_t binary_bytes,
                                         const RoomSource& room);

 private:
  struct Parser;
  std::unique_ptr<Parser> parser_;
};

}  // namespace takt::server::http
