// SPDX-License-Identifier: Apache-2.0
// What the driver tells about a GPU.
// Thread-safe: plain values.
// Owns: nothing.
#pragma once

#include "backend/cuda/driver.h"
#include "core/result.h"

#include <cstddef>
#include <string>
#include <vector>

namespace takt::cuda {

struct ComputeCapability {
  int major = 0;
  int minor = 0;

  friend auto operator<=>(const ComputeCapability&, const ComputeCapability&) = default;
};

inline constexpr ComputeCapability kCapabilityMin{7, 5};

[[nodiscard]] std::string to_string(ComputeCapability capability);  // "9.0"

struct Device {
  int index = 0;  // as CUDA counts, after CUDA_VISIBLE_DEVICES
  std::string name;
  ComputeCapability capability;
  int sm_count = 0;
  std::size_t memory_bytes = 0;
  std::string pci_id;  // "0000:1b:00.0"
};

// Errors: unavailable (compute capability below kCapabilityMin).
[[nodiscard]] Result<void> check_supported(const Device& device);

// Every device that the driver shows, the unsupported too.
[[nodiscard]] Result<std::vector<Device>> list_devices(const Driver& driver);

// Errors: unavailable (there is no such device, or it isn't supported).
[[nodiscard]] Result<Device> find_device(const Driver& driver, int index);

}  // namespace takt::cuda
