// SPDX-License-Identifier: Apache-2.0
// The few messages of a worker's start and end: text with descriptors, over a pair of Unix sockets.
// Thread-safe: no; one thread a side.
// Owns: its end of the pair.
#pragma once

#include "core/result.h"
#include "core/time.h"
#include "ipc/descriptor.h"

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace takt::ipc {

inline constexpr std::size_t kControlBytesMax = std::size_t{64} * 1024;
inline constexpr std::size_t kControlDescriptorsMax = 64;

struct ControlMessage {
  std::string text;
  std::vector<Descriptor> descriptors;
};

class ControlSocket {
 public:
  explicit ControlSocket(Descriptor end) noexcept : end_(std::move(end)) {}

  // Both ends of a new pair. Errors: unavailable.
  [[nodiscard]] static Result<std::pair<ControlSocket, ControlSocket>> pair();

  // The other side gets copies of the descriptors. Errors: invalid_input (larger than the limits),
  // unavailable (the other side is gone or takes nothing).
  [[nodiscard]] Result<void> send(std::string_view text, std::span<const int> descriptors = {});
  // Errors: deadline_exceeded (nothing came), unavailable (the other side is gone), invalid_input
  // (a message beyond the limits).
  [[nodiscard]] Result<ControlMessage> receive(Duration wait_max);

  [[nodiscard]] const Descriptor& descriptor() const noexcept { return end_; }

 private:
  Descriptor end_;
};

}  // namespace takt::ipc
