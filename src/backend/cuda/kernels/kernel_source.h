// SPDX-License-Identifier: Apache-2.0
// Kernels as text, written for one shape, and how their tensors are reached.
// Thread-safe: plain values.
// Owns: plain values.
#pragma once

#include "core/tensor.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace takt::cuda {

// How a tensor is read or written over the index space of a kernel: index (i0, i1, ...) is the element
// i0 * strides[0] + i1 * strides[1] + ... behind the pointer that the kernel gets. 0 where an input is
// broadcast.
struct Access {
  DataType type = DataType::fp32;
  std::vector<std::int64_t> strides;  // of each dimension of the space, in elements, not negative
  std::size_t alignment = 0;          // of the pointer, in bytes; 0: that of one element
};

inline constexpr std::size_t kAccessBytesMax = 16;  // that one instruction reads or writes

// For NVRTC, behind `#include "takt_kernel.h"`. The kernel's arguments are the pointers of the inputs and
// then those of the outputs.
struct KernelSource {
  std::string
      name;  // "takt_" and what the step is called, for CUDA has functions such as norm already
  std::string text;
  unsigned blocks = 1;
  unsigned threads_x = 1;  // of a block
  unsigned threads_y = 1;
  unsigned cluster =
      1;  // blocks that run beside each other and reach each other's shared memory; as the text says
};

[[nodiscard]] inline std::string kernel_name(const std::string& step) {
  return "takt_" + step;
}

}  // namespace takt::cuda
