// SPDX-License-Identifier: Apache-2.0
// Constants of programs on a device: equal ones once, whatever batch size or instance needs them.
// Thread-safe: no while programs are added; afterwards it doesn't change.
// Owns: the memory.
#pragma once

#include "backend/cuda/compile/program.h"
#include "backend/cuda/context.h"
#include "backend/cuda/memory.h"
#include "backend/cuda/stream.h"
#include "core/result.h"

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace takt::cuda {

class Weights {
 public:
  // Where each buffer of the program begins; 0 for those that are no constants. Needs a Scope of the stream's
  // context; returns when the copies have ended. Errors: out_of_memory, device_poisoned, internal.
  [[nodiscard]] Result<std::vector<std::uint64_t>> add(const Program& program,
                                                       const Stream& stream);
  [[nodiscard]] std::size_t bytes() const noexcept { return bytes_; }

 private:
  std::vector<DeviceMemory> memory_;
  std::map<std::string, std::uint64_t> addresses_;  // by digest of the bytes
  std::size_t bytes_ = 0;
};

}  // namespace takt::cuda
