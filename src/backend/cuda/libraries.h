// SPDX-License-Identifier: Apache-2.0
// Finds and opens NVIDIA's shared libraries at run time, so that one program runs with and without
// them.
// Thread-safe: yes.
// Owns: nothing; a library that was opened stays until the process ends.
#pragma once

#include "core/result.h"

#include <filesystem>
#include <string>
#include <vector>

namespace takt::cuda {

struct LibraryNames {
  std::string purpose;                               // "CUDA driver"
  std::vector<std::string> files;                    // "libnvrtc.so.13", the preferred one first
  std::vector<std::filesystem::path> wheel_folders;  // below site-packages; empty: in no wheel
  std::string remedy;                                // what a person can do when it is missing
};

[[nodiscard]] LibraryNames driver_library();
// Code compiled by a newer major version than the driver's does not load.
[[nodiscard]] LibraryNames nvrtc_library(int cuda_major_max);
[[nodiscard]] LibraryNames cudnn_library();
[[nodiscard]] LibraryNames nvml_library();

// Where to look before the system's loader is asked: `folders` first, then the NVIDIA wheels of
// each Python environment.
struct LibrarySearch {
  std::vector<std::filesystem::path> folders;
  std::vector<std::filesystem::path> environments;
};

// What TAKT_CUDA_FOLDERS names, with colons between.
[[nodiscard]] std::vector<std::filesystem::path> folders_of_environment();

// `folders` as configured; the environments are .venv beside `program` or one folder above it, and
// the one that VIRTUAL_ENV names.
[[nodiscard]] LibrarySearch library_search(std::vector<std::filesystem::path> folders,
                                           const std::filesystem::path& program);

class Library {
 public:
  [[nodiscard]] const std::filesystem::path& file() const noexcept { return file_; }
  [[nodiscard]] void* symbol(const char* name) const noexcept;     // nullptr: it has none
  [[nodiscard]] void* handle() const noexcept { return handle_; }  // dlopen's

 private:
  friend Result<Library> open_library(const LibraryNames& names, const LibrarySearch& search);
  explicit Library(void* handle);
  void* handle_;
  std::filesystem::path file_;
};

// Errors: unavailable; the message says which library, where it was looked for, what the loader
// said, and what to do.
[[nodiscard]] Result<Library> open_library(const LibraryNames& names, const LibrarySearch& search);

}  // namespace takt::cuda
