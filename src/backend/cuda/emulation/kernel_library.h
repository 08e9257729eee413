// SPDX-License-Identifier: Apache-2.0
// Kernels' text as code of the CPU: by the compiler that takt is built with, as a shared library.
// Thread-safe: compile() may run on several threads; a library is used by one.
// Owns: the loaded library. Its file is gone once it is loaded.
#pragma once

#include "backend/cuda/emulation/block.h"
#include "core/result.h"

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace takt::cuda::emulation {

class KernelLibrary {
 public:
  // Of text behind `#include <takt_kernel.h>`, as for a device of this capability (800: 8.0). Errors: unavailable
  // (no compiler here, or no folder for its files), internal (it refuses the text; with its messages).
  [[nodiscard]] static Result<KernelLibrary> compile(const std::string& text, int capability);

  // Calls the kernel for each thread of each block. `launch.shared` is the library's. Errors: internal (there
  // is no such kernel; what Block::run() finds), within the kernel's name.
  [[nodiscard]] Result<void> run(Block& block, const std::string& kernel,
                                 std::span<void* const> arguments, Launch launch) const;

 private:
  struct Close {
    void operator()(void* library) const noexcept;
  };
  std::unique_ptr<void, Close> library_;
};

// Whether there is the compiler that takt was built with.
[[nodiscard]] bool has_compiler();

// The same for several texts, two at a time.
[[nodiscard]] Result<std::vector<KernelLibrary>> compile_all(std::span<const std::string> texts,
                                                             int capability);

}  // namespace takt::cuda::emulation
