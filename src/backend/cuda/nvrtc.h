// SPDX-License-Identifier: Apache-2.0
// The CUDA runtime compiler: source text of kernels into code for one kind of device. It needs no
// device and no driver.
// Thread-safe: yes.
// Owns: nothing that must be given back; the library stays until the process ends.
#pragma once

#include "backend/cuda/device.h"
#include "backend/cuda/libraries.h"
#include "core/result.h"

#include <cstddef>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace takt::cuda {

struct NvrtcFunctions;

class Nvrtc {
 public:
  // `cuda_major_max` is the driver's major version: it loads no code of a newer compiler. Errors:
  // unavailable (not found, or too old; the message says what to do).
  [[nodiscard]] static Result<Nvrtc> open(const LibrarySearch& search, int cuda_major_max);

  // C++17 whose kernels are extern "C"; `#include <takt_kernel.h>` brings the prelude
  // (kernel_prelude.h). `name` stands for the file in messages. Errors: internal (the message has
  // the compiler's log with line numbers), unavailable (the compiler doesn't know the device),
  // out_of_memory.
  [[nodiscard]] Result<std::vector<std::byte>> compile(const std::string& source,
                                                       const std::string& name,
                                                       ComputeCapability capability) const;

  [[nodiscard]] int version() const noexcept { return version_; }  // 13000, as version_text takes
  [[nodiscard]] const std::filesystem::path& file() const noexcept { return file_; }

 private:
  Nvrtc(std::filesystem::path file, int version, std::shared_ptr<const NvrtcFunctions> functions);
  std::filesystem::path file_;
  int version_;
  std::shared_ptr<const NvrtcFunctions> functions_;
};

}  // namespace takt::cuda
