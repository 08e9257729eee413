// SPDX-License-Identifier: Apache-2.0
// Memory for kernels on the CPU with an inaccessible page beside it.
// Thread-safe: no.
// Owns: its pages.
#pragma once

#include "core/result.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace takt::cuda::emulation {

// On the side where the bytes touch an inaccessible page; on the other one there may be some that nobody owns.
enum class Guard : std::uint8_t { before, behind };

class GuardedMemory {
 public:
  // The most that a kernel reads with one instruction: a buffer begins at a multiple of it.
  static constexpr std::size_t kAlignment = 16;

  // `size` bytes, which may be 0. Beside them, all ones: up to kAlignment - 1 others towards the guard, and on the
  // other side what is left of a page. Errors: out_of_memory.
  [[nodiscard]] static Result<GuardedMemory> allocate(std::size_t size, Guard guard);
  GuardedMemory(GuardedMemory&& other) noexcept { *this = std::move(other); }
  GuardedMemory& operator=(GuardedMemory&& other) noexcept;
  ~GuardedMemory();

  [[nodiscard]] std::span<std::byte> bytes() const { return bytes_; }
  void make_read_only();
  [[nodiscard]] bool is_untouched_beside() const;
  // Where an address lies as seen from these bytes ("4 bytes behind NAME"); empty if it isn't near them.
  [[nodiscard]] std::string describe(std::uintptr_t address, std::string_view name) const;

 private:
  GuardedMemory() = default;

  std::span<std::byte> pages_;  // with an inaccessible one at both ends
  std::span<std::byte> bytes_;
};

}  // namespace takt::cuda::emulation
