// SPDX-License-Identifier: Apache-2.0
// The pictures of a request: its body alone, or the parts of a form (RFC 7578).
// Thread-safe: pure functions.
// Owns: texts; pictures look into the body.
#pragma once

#include "line/frame_reader.h"
#include "server/api_error.h"

#include <cstddef>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace takt::rest {

inline constexpr std::size_t kPartsMax = 32;
inline constexpr std::size_t kFieldBytesMax = 1024;

struct PictureBody {
  std::vector<line::EncodedImage> images;     // by role, each with at least one byte
  std::map<std::string, std::string> fields;  // other parts of a form
};

// `roles` are those that may come, not empty; a body that is no form is the first's picture. Of a form,
// parts named as a role are pictures and all others must be in `fields`. Errors: invalid_argument (no
// picture, another content type, a damaged form, an unknown or repeated part, a field too long).
[[nodiscard]] server::ApiResult<PictureBody> read_pictures(std::string_view content_type,
                                                           std::string_view body,
                                                           const std::vector<std::string>& roles,
                                                           const std::vector<std::string>& fields);

}  // namespace takt::rest
