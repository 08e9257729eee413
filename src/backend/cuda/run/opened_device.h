// SPDX-License-Identifier: Apache-2.0
// A GPU with what takt needs to run models on it: driver, context, and the libraries that are there.
// Thread-safe: yes, it never changes.
// Owns: shares of driver and context.
#pragma once

#include "backend/cuda/context.h"
#include "backend/cuda/cudnn.h"
#include "backend/cuda/device.h"
#include "backend/cuda/driver.h"
#include "backend/cuda/libraries.h"
#include "backend/cuda/nvrtc.h"
#include "core/result.h"

#include <memory>
#include <optional>
#include <string>

namespace takt::cuda {

struct OpenedDevice {
  std::shared_ptr<const Driver> driver;
  std::shared_ptr<const Context> context;
  std::optional<Nvrtc> nvrtc;  // missing: only what a plan has already can be loaded
  std::optional<Cudnn> cudnn;  // missing: takt's own kernels do everything
  std::string missing;         // why a library is not there; empty: all are

  [[nodiscard]] const Device& device() const noexcept { return context->device(); }
};

// `gate`, where there is one, outlives the context. Errors: unavailable (no driver, no such device, not
// supported), out_of_memory, internal.
[[nodiscard]] Result<OpenedDevice> open_device(const LibrarySearch& search, int index,
                                               AllocationGate* gate = nullptr);

}  // namespace takt::cuda
