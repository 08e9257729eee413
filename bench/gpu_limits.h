// SPDX-License-Identifier: Apache-2.0
// What a device reaches at most: the roof of a roofline.
// Thread-safe: pure function.
// Owns: plain values.
#pragma once

#include "backend/cuda/run/opened_device.h"
#include "gpu_measure.h"

namespace takt::cuda {

struct DeviceLimits {
  double flop_per_second =
      0;  // of a product of two square FP16 matrices by the fastest plan of cuDNN
  double bytes_per_second =
      0;  // read and written by a kernel that copies much more than the L2 cache holds
};

// Takes a second and 2 GiB of the device's memory. Without cuDNN there is no limit of operations: 0.
[[nodiscard]] DeviceLimits measure_limits(const OpenedDevice& device);

}  // namespace takt::cuda
