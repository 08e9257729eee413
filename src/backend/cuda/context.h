// SPDX-License-Identifier: Apache-2.0
// A context of the driver: what streams, memory, modules and graphs belong to. Each is takt's own,
// never the device's primary one, which would run on all SMs whatever share a partition has.
// Thread-safe: yes; Scope belongs to the thread that entered.
// Owns: the driver's context. What belongs to it keeps it alive.
//
// What makes or frees something enters the context by itself, on any thread. What queues work or
// asks for its state needs a Scope on the calling thread, so that a thread enters once and not for
// each call.
#pragma once

#include "backend/cuda/device.h"
#include "backend/cuda/driver.h"
#include "core/result.h"

#include <cstddef>
#include <memory>
#include <string_view>
#include <utility>

struct CUctx_st;

namespace takt::cuda {

// Asked before everything that takes memory is made in a context. Tests refuse the n-th.
class AllocationGate {
 public:
  virtual ~AllocationGate() = default;
  // From any thread. `bytes` is 0 where only the driver knows.
  [[nodiscard]] virtual bool admit(std::string_view what, std::size_t bytes) noexcept = 0;
};

struct MemoryUse {
  std::size_t free_bytes = 0;
  std::size_t total_bytes = 0;
};

class Context {
 public:
  // While it lives, the context is current on the thread that entered; the last one entered is left
  // first.
  class Scope {
   public:
    Scope(Scope&& other) noexcept : context_(std::exchange(other.context_, nullptr)) {}
    Scope& operator=(Scope&&) = delete;
    ~Scope();

   private:
    friend class Context;
    explicit Scope(const Context& context) noexcept : context_(&context) {}
    const Context* context_;
  };

  // `gate`, where there is one, outlives the context. Errors: unavailable, out_of_memory, internal.
  [[nodiscard]] static Result<std::shared_ptr<const Context>> create(
      std::shared_ptr<const Driver> driver, const Device& device, AllocationGate* gate = nullptr);
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  [[nodiscard]] Result<Scope> enter() const;
  // out_of_memory where the gate refuses.
  [[nodiscard]] Result<void> admit(std::string_view what, std::size_t bytes) const;
  // Waits for all work of the context: for the end of a life, not for the way of a frame. Needs a
  // Scope.
  [[nodiscard]] Result<void> synchronize() const;
  [[nodiscard]] Result<MemoryUse> memory() const;  // of the whole device; needs a Scope

  [[nodiscard]] const Driver& driver() const noexcept { return *driver_; }
  [[nodiscard]] const Device& device() const noexcept { return device_; }
  [[nodiscard]] CUctx_st* handle() const noexcept { return handle_; }

 private:
  Context(std::shared_ptr<const Driver> driver, Device device, AllocationGate* gate,
          CUctx_st* handle);
  std::shared_ptr<const Driver> driver_;
  Device device_;
  AllocationGate* gate_;
  CUctx_st* handle_;
};

}  // namespace takt::cuda
