// SPDX-License-Identifier: Apache-2.0
// The CUDA driver, opened at run time: its functions, and its errors as ours.
// Thread-safe: yes; a Driver never changes.
// Owns: nothing that must be given back; the library stays until the process ends.
#pragma once

#include "backend/cuda/libraries.h"
#include "core/result.h"

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

namespace takt::cuda {

struct DriverFunctions;  // driver_functions.h, for the .cc files of this folder

// The oldest that has what takt asks for, as cuDriverGetVersion counts: 1000 * major + 10 * minor.
inline constexpr int kDriverVersionMin = 12000;

[[nodiscard]] std::string version_text(int version);  // 13000: "13.0"

// Errors: unavailable (older than kDriverVersionMin).
[[nodiscard]] Result<void> check_driver_version(int version);

// What the engine does about a CUresult: out_of_memory, device_poisoned (the context is lost),
// unavailable (no device, no driver, or not ready), or internal.
[[nodiscard]] ErrorKind error_kind(int result) noexcept;

// "cuMemAlloc: CUDA_ERROR_OUT_OF_MEMORY (out of memory)", and where somebody can do something about
// it, what.
[[nodiscard]] Error driver_error(int result, std::string_view call, std::string_view name,
                                 std::string_view description);

class Driver {
 public:
  // Errors: unavailable (no driver, too old, no device; the message says what to do), internal.
  [[nodiscard]] static Result<std::shared_ptr<const Driver>> open(const LibrarySearch& search);
  ~Driver();
  Driver(const Driver&) = delete;
  Driver& operator=(const Driver&) = delete;

  [[nodiscard]] int version() const noexcept { return version_; }  // 13000
  [[nodiscard]] const std::filesystem::path& file() const noexcept { return file_; }
  [[nodiscard]] const DriverFunctions& functions() const noexcept { return *functions_; }
  // Of a CUresult other than success that `call` returned.
  [[nodiscard]] Error error(int result, std::string_view call) const;

 private:
  Driver(std::filesystem::path file, int version, std::unique_ptr<const DriverFunctions> functions);
  std::filesystem::path file_;
  int version_;
  std::unique_ptr<const DriverFunctions> functions_;
};

}  // namespace takt::cuda
