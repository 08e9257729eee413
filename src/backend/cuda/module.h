// SPDX-License-Identifier: Apache-2.0
// Compiled code in a context, and the kernels in it.
// Thread-safe: yes; launching follows the rule of the stream.
// Owns: Module the loaded code and a share of its context; a Kernel keeps its module.
#pragma once

#include "backend/cuda/context.h"
#include "backend/cuda/stream.h"
#include "core/result.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <type_traits>

struct CUmod_st;
struct CUfunc_st;

namespace takt::cuda {

struct Extent {
  unsigned x = 1;
  unsigned y = 1;
  unsigned z = 1;
};

struct LaunchShape {
  Extent grid;                // blocks
  Extent block;               // threads of a block
  unsigned shared_bytes = 0;  // dynamic shared memory of a block
};

class Kernel {
 public:
  // Queues the kernel; needs a Scope of the stream's context. The arguments have exactly the types
  // of the kernel's parameters (DeviceSpan::address for pointers) and are copied before this
  // returns. Errors: device_poisoned, internal.
  template <typename... Arguments>
  [[nodiscard]] Result<void> launch(const Stream& stream, const LaunchShape& shape,
                                    const Arguments&... arguments) const {
    static_assert((std::is_trivially_copyable_v<Arguments> && ...));
    void* places[] = {const_cast<void*>(static_cast<const void*>(&arguments))..., nullptr};
    return launch_with(stream, shape, places);
  }

  // The same for a kernel whose parameters are all pointers.
  [[nodiscard]] Result<void> launch_with_addresses(const Stream& stream, const LaunchShape& shape,
                                                   std::span<const std::uint64_t> addresses) const;

 private:
  friend class Module;
  Kernel(std::shared_ptr<CUmod_st> module, CUfunc_st* function)
      : module_(std::move(module)), function_(function) {}
  [[nodiscard]] Result<void> launch_with(const Stream& stream, const LaunchShape& shape,
                                         void** arguments) const;
  std::shared_ptr<CUmod_st> module_;
  CUfunc_st* function_;
};

class Module {
 public:
  // Errors: out_of_memory, device_poisoned, internal (no code for this device).
  [[nodiscard]] static Result<Module> load(std::shared_ptr<const Context> context,
                                           std::span<const std::byte> cubin);
  // An extern "C" __global__ function. Errors: internal (there is none of that name).
  [[nodiscard]] Result<Kernel> kernel(const std::string& name) const;

 private:
  Module(std::shared_ptr<const Context> context, std::shared_ptr<CUmod_st> handle)
      : context_(std::move(context)), handle_(std::move(handle)) {}
  std::shared_ptr<const Context> context_;
  std::shared_ptr<CUmod_st> handle_;
};

}  // namespace takt::cuda
