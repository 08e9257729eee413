// SPDX-License-Identifier: Apache-2.0
// Says what a file that is no readable ONNX model looks like, for an error that helps.
// Thread-safe: pure functions. Owns: nothing. Private to this layer.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace takt::repository {

// `head`: the first bytes of a file. "" when they could begin an ONNX model.
[[nodiscard]] std::string foreign_format(std::string_view head);

// Walks the outermost protobuf fields of a file of `size` bytes without parsing their content.
// "truncated: ..." when a field reaches past the end, "damaged: ..." otherwise.
[[nodiscard]] std::string explain_damage(const std::filesystem::path& file, std::uint64_t size);

}  // namespace takt::repository
