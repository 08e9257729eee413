// SPDX-License-Identifier: Apache-2.0
// What a decision may say, before it comes near the store: bounded, well-formed, boxes that are boxes.
// Thread-safe: pure functions.
// Owns: nothing.
#pragma once

#include "line/review.h"

#include <cstddef>
#include <optional>
#include <span>
#include <string_view>

namespace takt::line {

inline constexpr std::size_t kReviewerBytesMax = 200;
inline constexpr std::size_t kNoteBytesMax = 4'000;
inline constexpr std::size_t kClassBytesMax = 100;

struct PictureSize {
  int width = 0;
  int height = 0;
};

// `picture` is the labelled one; nothing: its size isn't known. Errors: invalid, which names the field.
[[nodiscard]] ReviewResult<void> check(const ReviewDecision& decision, int labels_max);
[[nodiscard]] ReviewResult<void> check_inside(std::span<const ReviewLabel> labels,
                                              const PictureSize& picture);

}  // namespace takt::line
