// SPDX-License-Identifier: Apache-2.0
// Memory of the device, memory of the host that the device reaches, and copies between them.
// Thread-safe: no; one thread at a time uses an object.
// Owns: DeviceMemory and PinnedMemory their bytes, HostRegistration only the registration; each
// also a share of its context. Whoever frees waits first for the work that uses the bytes.
#pragma once

#include "backend/cuda/context.h"
#include "backend/cuda/stream.h"
#include "core/result.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace takt::cuda {

// Bytes that kernels can reach; the host must not.
struct DeviceSpan {
  std::uint64_t address = 0;
  std::size_t bytes = 0;
};

class DeviceMemory {
 public:
  // Aligned to 256 bytes at least. Errors: out_of_memory, device_poisoned, internal; so of
  // everything below.
  [[nodiscard]] static Result<DeviceMemory> allocate(std::shared_ptr<const Context> context,
                                                     std::size_t bytes);
  [[nodiscard]] DeviceSpan span() const noexcept {
    return {reinterpret_cast<std::uint64_t>(address_.get()), bytes_};
  }

 private:
  struct Free {
    std::shared_ptr<const Context> context;
    void operator()(void* address) const noexcept;
  };
  DeviceMemory(std::unique_ptr<void, Free> address, std::size_t bytes)
      : address_(std::move(address)), bytes_(bytes) {}
  std::unique_ptr<void, Free> address_;
  std::size_t bytes_;
};

// Host memory that isn't paged, for every context of the process.
class PinnedMemory {
 public:
  [[nodiscard]] static Result<PinnedMemory> allocate(std::shared_ptr<const Context> context,
                                                     std::size_t bytes);
  [[nodiscard]] std::span<std::byte> bytes() const noexcept {
    return {static_cast<std::byte*>(address_.get()), bytes_};
  }
  [[nodiscard]] DeviceSpan span() const noexcept { return {device_address_, bytes_}; }

 private:
  struct Free {
    std::shared_ptr<const Context> context;
    void operator()(void* address) const noexcept;
  };
  PinnedMemory(std::unique_ptr<void, Free> address, std::size_t bytes, std::uint64_t device_address)
      : address_(std::move(address)), bytes_(bytes), device_address_(device_address) {}
  std::unique_ptr<void, Free> address_;
  std::size_t bytes_;
  std::uint64_t device_address_;
};

// Memory of somebody else (a mapping of input slots) that is pinned while this lives. The device
// reads it and never writes; the mapping may be read-only.
class HostRegistration {
 public:
  // `bytes` begins at a page and stays mapped.
  [[nodiscard]] static Result<HostRegistration> read_only(std::shared_ptr<const Context> context,
                                                          std::span<const std::byte> bytes);
  [[nodiscard]] DeviceSpan span() const noexcept { return {device_address_, bytes_}; }

 private:
  struct Unregister {
    std::shared_ptr<const Context> context;
    void operator()(void* address) const noexcept;
  };
  HostRegistration(std::unique_ptr<void, Unregister> address, std::size_t bytes,
                   std::uint64_t device_address)
      : address_(std::move(address)), bytes_(bytes), device_address_(device_address) {}
  std::unique_ptr<void, Unregister> address_;
  std::size_t bytes_;
  std::uint64_t device_address_;
};

// Queue a copy of all bytes of `from` to the beginning of `to`, which is no shorter (otherwise
// internal). They need a Scope of the stream's context. Only pinned or registered host memory is
// copied without waiting.
[[nodiscard]] Result<void> copy_to_device(DeviceSpan to, std::span<const std::byte> from,
                                          const Stream& stream);
[[nodiscard]] Result<void> copy_to_host(std::span<std::byte> to, DeviceSpan from,
                                        const Stream& stream);
// Queues zeros for all bytes; needs a Scope of the stream's context.
[[nodiscard]] Result<void> zero(DeviceSpan span, const Stream& stream);

}  // namespace takt::cuda
