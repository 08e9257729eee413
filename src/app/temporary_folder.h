// SPDX-License-Identifier: Apache-2.0
// A folder under the system's temporary one, for what need not outlive the process.
// Thread-safe: no.
// Owns: the folder, removed with all that is in it.
#pragma once

#include "core/result.h"

#include <filesystem>

namespace takt::app {

class TemporaryFolder {
 public:
  // Errors: unavailable (no room, not writable).
  [[nodiscard]] static Result<TemporaryFolder> make();
  ~TemporaryFolder();
  TemporaryFolder(TemporaryFolder&& other) noexcept;
  TemporaryFolder& operator=(TemporaryFolder&&) = delete;

  [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }

 private:
  explicit TemporaryFolder(std::filesystem::path path) : path_(std::move(path)) {}
  std::filesystem::path path_;
};

}  // namespace takt::app
