// SPDX-License-Identifier: Apache-2.0
// Writes images as PNG, for pictures that are stored with a verdict.
// Thread-safe: pure functions.
// Owns: nothing; the bytes go into the caller's vector, whose capacity is used again.
#pragma once

#include "core/image.h"
#include "core/result.h"

#include <cstddef>
#include <vector>

namespace takt {

// Replaces `png` by the image, lossless and tuned for speed: deflate level 1; gray that holds only 0
// and 255 (binarised inspection images) takes one bit a pixel. BGR is stored as RGB.
// Errors: invalid_input for an image without pixels, out_of_memory, internal.
[[nodiscard]] Result<void> encode_png(const ImageView& image, std::vector<std::byte>& png);

}  // namespace takt
