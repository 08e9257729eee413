// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/context.h"

#include "backend/cuda/driver_functions.h"

#include <fmt/format.h>

namespace takt::cuda {
namespace {

Result<void> ask_gate(AllocationGate* gate, std::string_view what, std::size_t bytes) {
  if (gate == nullptr || gate->admit(what, bytes)) return {};
  return fail(ErrorKind::out_of_memory, fmt::format("{} of {} bytes: refused", what, bytes));
}

void leave(const Driver& driver) noexcept {
  CUcontext left = nullptr;
  give_back(driver, &DriverFunctions::ctx_pop_current, &left);
}

}  // namespace

Context::Context(std::shared_ptr<const Driver> driver, Device device, AllocationGate* gate,
                 CUctx_st* handle)
    : driver_(std::move(driver)), device_(std::move(device)), gate_(gate), handle_(handle) {}

Context::~Context() {
  give_back(*driver_, &DriverFunctions::ctx_destroy, handle_);
}

Result<std::shared_ptr<const Context>> Context::create(std::shared_ptr<const Driver> driver,
                                                       const Device& device, AllocationGate* gate) {
  Result<void> done = check_supported(device);
  if (done) done = ask_gate(gate, "context", 0);
  CUdevice handle = 0;
  if (done) done = invoke(*driver, &DriverFunctions::device_get, &handle, device.index);
  CUcontext made = nullptr;
  if (done) done = invoke(*driver, &DriverFunctions::ctx_create, &made, 0U, handle);
  if (!done) return std::unexpected(std::move(done).error());
  leave(*driver);  // a new context is current on the thread that made it
  return std::shared_ptr<const Context>(new Context(std::move(driver), device, gate, made));
}

Context::Scope::~Scope() {
  if (context_ != nullptr) leave(context_->driver());
}

Result<Context::Scope> Context::enter() const {
  Result<void> entered = invoke(*driver_, &DriverFunctions::ctx_push_current, handle_);
  if (!entered) return std::unexpected(std::move(entered).error());
  return Scope(*this);
}

Result<void> Context::admit(std::string_view what, std::size_t bytes) const {
  return ask_gate(gate_, what, bytes);
}

Result<void> Context::synchronize() const {
  return invoke(*driver_, &DriverFunctions::ctx_synchronize);
}

Result<MemoryUse> Context::memory() const {
  MemoryUse use;
  Result<void> asked =
      invoke(*driver_, &DriverFunctions::mem_get_info, &use.free_bytes, &use.total_bytes);
  if (!asked) return std::unexpected(std::move(asked).error());
  return use;
}

}  // namespace takt::cuda
