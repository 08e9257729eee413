// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/memory.h"

#include "backend/cuda/driver_functions.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace takt::cuda {
namespace {

static_assert(sizeof(CUdeviceptr) == sizeof(void*), "addresses of the device are held as pointers");

Result<Context::Scope> enter_for(const Context& context, std::string_view what, std::size_t bytes) {
  if (Result<void> admitted = context.admit(what, bytes); !admitted) {
    return std::unexpected(std::move(admitted).error());
  }
  return context.enter();
}

// How much was asked for belongs into the message of a failed allocation.
std::unexpected<Error> not_allocated(Error error, std::string_view what, std::size_t bytes) {
  return std::unexpected(std::move(error).within(fmt::format("{} of {} bytes", what, bytes)));
}

Result<std::uint64_t> device_address(const Context& context, void* host) {
  CUdeviceptr address = 0;
  Result<void> asked =
      invoke(context.driver(), &DriverFunctions::mem_host_get_device_pointer, &address, host, 0U);
  if (!asked) return std::unexpected(std::move(asked).error());
  return address;
}

Result<void> check_room(std::size_t room, std::size_t bytes) {
  if (bytes <= room) return {};
  return fail(ErrorKind::internal, fmt::format("a copy of {} bytes into {}", bytes, room));
}

}  // namespace

void DeviceMemory::Free::operator()(void* address) const noexcept {
  const Result<Context::Scope> scope = context->enter();
  give_back(context->driver(), &DriverFunctions::mem_free, reinterpret_cast<CUdeviceptr>(address));
}

Result<DeviceMemory> DeviceMemory::allocate(std::shared_ptr<const Context> context,
                                            std::size_t bytes) {
  Result<Context::Scope> scope = enter_for(*context, "device memory", bytes);
  if (!scope) return std::unexpected(std::move(scope).error());
  CUdeviceptr made = 0;
  Result<void> done = invoke(context->driver(), &DriverFunctions::mem_alloc, &made,
                             std::max<std::size_t>(1, bytes));
  if (!done) return not_allocated(std::move(done).error(), "device memory", bytes);
  return DeviceMemory({reinterpret_cast<void*>(made), Free{std::move(context)}}, bytes);
}

void PinnedMemory::Free::operator()(void* address) const noexcept {
  const Result<Context::Scope> scope = context->enter();
  give_back(context->driver(), &DriverFunctions::mem_free_host, address);
}

Result<PinnedMemory> PinnedMemory::allocate(std::shared_ptr<const Context> context,
                                            std::size_t bytes) {
  Result<Context::Scope> scope = enter_for(*context, "pinned memory", bytes);
  if (!scope) return std::unexpected(std::move(scope).error());
  void* made = nullptr;
  constexpr unsigned kFlags = CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP;
  Result<void> done =
      invoke(context->driver(), &DriverFunctions::mem_host_alloc, &made, bytes, kFlags);
  if (!done) return not_allocated(std::move(done).error(), "pinned memory", bytes);
  std::unique_ptr<void, Free> address(made, Free{context});
  const Result<std::uint64_t> mapped = device_address(*context, made);
  if (!mapped) return std::unexpected(mapped.error());
  return PinnedMemory(std::move(address), bytes, *mapped);
}

void HostRegistration::Unregister::operator()(void* address) const noexcept {
  const Result<Context::Scope> scope = context->enter();
  give_back(context->driver(), &DriverFunctions::mem_host_unregister, address);
}

Result<HostRegistration> HostRegistration::read_only(std::shared_ptr<const Context> context,
                                                     std::span<const std::byte> bytes) {
  Result<Context::Scope> scope = enter_for(*context, "host registration", bytes.size());
  if (!scope) return std::unexpected(std::move(scope).error());
  // The driver takes no pointer to const; the flag says that it only reads.
  void* const host = const_cast<std::byte*>(bytes.data());
  constexpr unsigned kFlags =
      CU_MEMHOSTREGISTER_READ_ONLY | CU_MEMHOSTREGISTER_PORTABLE | CU_MEMHOSTREGISTER_DEVICEMAP;
  Result<void> done =
      invoke(context->driver(), &DriverFunctions::mem_host_register, host, bytes.size(), kFlags);
  if (!done) return not_allocated(std::move(done).error(), "host registration", bytes.size());
  std::unique_ptr<void, Unregister> address(host, Unregister{context});
  const Result<std::uint64_t> mapped = device_address(*context, host);
  if (!mapped) return std::unexpected(mapped.error());
  return HostRegistration(std::move(address), bytes.size(), *mapped);
}

Result<void> copy_to_device(DeviceSpan to, std::span<const std::byte> from, const Stream& stream) {
  if (Result<void> fits = check_room(to.bytes, from.size()); !fits) return fits;
  const void* const source = from.data();
  return invoke(stream.context()->driver(), &DriverFunctions::memcpy_h_to_d_async,
                CUdeviceptr{to.address}, source, from.size(), stream.handle());
}

Result<void> copy_to_host(std::span<std::byte> to, DeviceSpan from, const Stream& stream) {
  if (Result<void> fits = check_room(to.size(), from.bytes); !fits) return fits;
  void* const target = to.data();
  return invoke(stream.context()->driver(), &DriverFunctions::memcpy_d_to_h_async, target,
                CUdeviceptr{from.address}, from.bytes, stream.handle());
}

Result<void> zero(DeviceSpan span, const Stream& stream) {
  constexpr unsigned char kZero = 0;
  if (span.bytes == 0) return {};
  return invoke(stream.context()->driver(), &DriverFunctions::memset_d8_async,
                CUdeviceptr{span.address}, kZero, span.bytes, stream.handle());
}

}  // namespace takt::cuda
