// SPDX-License-Identifier: Apache-2.0
// Opens the file of a backend that stands outside the program (backend/backend_module.h).
// Thread-safe: yes.
// Owns: nothing; a module that was opened stays until the process ends.
#pragma once

#include "backend/backend.h"
#include "core/result.h"

#include <filesystem>
#include <memory>
#include <string_view>

namespace takt::worker {

// takt-NAME.so beside `program`, or in ../lib/takt from there, where an installation has it. A file
// that is nowhere is expected beside the program.
[[nodiscard]] std::filesystem::path module_file(std::string_view name,
                                                const std::filesystem::path& program);

// Errors: unavailable (no such file, a library that it needs is missing, or it is of another build;
// the message says which file and what to do), and those of the backend.
[[nodiscard]] Result<std::unique_ptr<Backend>> open_module(const std::filesystem::path& file);

}  // namespace takt::worker
