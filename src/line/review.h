// SPDX-License-Identifier: Apache-2.0
// A verdict that a person looks at, what that person decides, and what both become for training.
// Thread-safe: plain values.
// Owns: plain values.
#pragma once

#include "core/image.h"
#include "line/frame.h"

#include <cstddef>
#include <cstdint>
#include <expected>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace takt::line {

// Why the desk refuses. Clients see code and message; a message holds no path of the file system.
enum class ReviewCode : std::uint8_t {
  invalid,      // what was asked or decided; never right when it is tried again
  not_found,    // no such verdict or picture, or it has been removed by the store's limits
  decided,      // somebody has decided already, and `replace` isn't set
  too_large,    // an export beyond its bytes: ask for fewer items
  unavailable,  // the store is busy or its disk full: try again later
  damaged,      // the store holds something that this takt didn't write
};

// Stable lower-case name.
[[nodiscard]] std::string_view to_string(ReviewCode code) noexcept;

struct ReviewError {
  ReviewCode code = ReviewCode::damaged;
  std::string message;
};

template <typename T>
using ReviewResult = std::expected<T, ReviewError>;

[[nodiscard]] inline std::unexpected<ReviewError> refuse(ReviewCode code, std::string message) {
  return std::unexpected(ReviewError{code, std::move(message)});
}

// A defect as a person draws it.
struct ReviewLabel {
  std::string class_name;
  Box box;  // pixels of the frame's image
  friend bool operator==(const ReviewLabel&, const ReviewLabel&) = default;
};

// What a person decides.
struct ReviewDecision {
  Verdict decision = Verdict::reject;  // pass or reject
  std::string by;                      // who: 1 to 200 bytes
  std::string note{};                  // at most 4,000 bytes; may have several lines
  // Nothing: the person drew none, and on a reject the recorded detections stand. Empty: none of
  // them is right. A pass has none.
  std::optional<std::vector<ReviewLabel>> labels{};
  bool replace = false;  // decide again what is decided
};

// A decision as the store keeps it.
struct Review {
  std::int64_t id = 0;          // rises with each decision, never used again
  std::int64_t decided_us = 0;  // Unix epoch
  Verdict decision = Verdict::reject;
  std::string by;
  std::string note;
  std::optional<std::vector<ReviewLabel>> labels;
  int earlier = 0;  // decisions about the same verdict that this one replaced; the store keeps them
};

struct StoredPicture {
  std::string role;
  int width = 0;
  int height = 0;
  std::int64_t png_bytes = 0;
};

// One stored verdict with what belongs to it.
struct ReviewItem {
  std::int64_t id = 0;  // of the verdict in the store; rises in the order of storing
  // Without pixels and known defects. Of the tasks' times only compute and the total are known
  // (`submitted` is zero), stand_in isn't.
  VerdictRecord record;
  std::vector<StoredPicture> pictures;  // in the source's order; the oldest are removed first
  std::optional<Review> review;         // the newest decision
};

enum class ReviewOrder : std::uint8_t { oldest_first, newest_first };

struct ReviewFilter {
  std::string line{};  // empty: all
  // Without part_id, passes are listed only once they are decided: nobody waits for the others.
  std::set<Verdict> verdicts{Verdict::review};
  std::optional<bool> decided{};                    // empty: both
  std::string part_id{};                            // empty: all
  std::optional<std::int64_t> captured_from_us{};   // Unix epoch, included
  std::optional<std::int64_t> captured_until_us{};  // excluded
  ReviewOrder order = ReviewOrder::oldest_first;
  std::optional<std::int64_t> after{};  // the id that the page before ended with
  int limit = 100;                      // 1 to 500
};

struct ReviewPage {
  std::vector<ReviewItem> items;
  std::optional<std::int64_t> next;  // `after` of the next page; empty: this is the last
};

enum class LabelFormat : std::uint8_t { coco, yolo };
// "coco", "yolo".
[[nodiscard]] std::string_view to_string(LabelFormat format) noexcept;
[[nodiscard]] Result<LabelFormat> parse_label_format(std::string_view name);

// Which decisions become training data. Pages follow the order of deciding, so that a later call
// with the last `after` brings what has been decided since, old verdicts included.
struct ExportOptions {
  std::string line{};                   // empty: all
  std::optional<Verdict> decision{};    // pass or reject; empty: both
  std::string role{};                   // of the picture that is labelled; empty: the first
  std::string task{};                   // whose recorded detections are labels; empty: all tasks'
  std::optional<std::int64_t> after{};  // a decision's id, ExportArchive::last of the page before
  int limit = 100;                      // decisions looked at, 1 to 1,000
};

struct ExportArchive {
  std::vector<std::byte> zip;
  int images = 0;
  int labels = 0;           // boxes
  int without_picture = 0;  // left out: the store keeps no picture of that role (any more)
  int without_labels = 0;   // left out: a reject without one box would teach that nothing is wrong
  std::optional<std::int64_t> last;  // of the decisions looked at; empty: there was none
  bool more = false;                 // there are decisions after `last`
};

}  // namespace takt::line
