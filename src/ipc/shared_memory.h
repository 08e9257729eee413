// SPDX-License-Identifier: Apache-2.0
// A mapping of an anonymous file that another process maps as well.
// Thread-safe: plain memory; who writes what is its users' affair.
// Owns: the mapping, and in the process that made it the descriptor.
#pragma once

#include "core/result.h"
#include "ipc/descriptor.h"

#include <cstddef>
#include <span>
#include <string>
#include <utility>

namespace takt::ipc {

enum class Access : bool { read, write };

class SharedMemory {
 public:
  SharedMemory() = default;
  SharedMemory(SharedMemory&& other) noexcept { swap(other); }
  SharedMemory& operator=(SharedMemory&& other) noexcept {
    SharedMemory taken(std::move(other));
    swap(taken);
    return *this;
  }
  ~SharedMemory();
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;

  // Zeros, mapped for writing and sealed against resizing. Errors: invalid_input (0 bytes),
  // out_of_memory.
  [[nodiscard]] static Result<SharedMemory> create(const std::string& name, std::size_t bytes);
  // Maps what another process made, all of it. A file that could be shortened is refused: touching
  // what is gone would kill this process. Errors: invalid_input, out_of_memory.
  [[nodiscard]] static Result<SharedMemory> map(Descriptor file, Access access);

  [[nodiscard]] std::span<std::byte> bytes() const noexcept { return bytes_; }
  [[nodiscard]] int descriptor() const noexcept { return file_.get(); }

 private:
  void swap(SharedMemory& other) noexcept {
    std::swap(file_, other.file_);
    std::swap(bytes_, other.bytes_);
  }

  Descriptor file_;
  std::span<std::byte> bytes_;
};

}  // namespace takt::ipc
