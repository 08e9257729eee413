// SPDX-License-Identifier: Apache-2.0
// Which model a file holds: a digest of its bytes and of the files that it keeps weights in.
// Thread-safe: pure functions.
// Owns: nothing; files are read in pieces, however large.
#pragma once

#include "core/result.h"

#include <filesystem>
#include <string>

namespace takt::cuda {

// In hexadecimal digits. Of a model without files of its own for weights it is the file's SHA-256; else that
// of a text: the file's SHA-256 and a line "SHA-256  LOCATION" for each of those, sorted. Where the model and
// its folder lie makes no difference. Errors: invalid_input, which names the file (missing, not a regular
// file, no ONNX model, weights outside of its folder), unavailable (reading failed).
[[nodiscard]] Result<std::string> model_digest(const std::filesystem::path& onnx);

}  // namespace takt::cuda
