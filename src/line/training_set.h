// SPDX-License-Identifier: Apache-2.0
// Pictures and labels as training programs read them: COCO's JSON, or YOLO's text files and data.yaml.
// Thread-safe: no; one thread at a time.
// Owns: the text so far.
#pragma once

#include "line/review.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace takt::line {

struct TrainingLabel {
  std::size_t class_index = 0;  // of the set's classes
  Box box;                      // inside the picture
};

enum class LabelOrigin : std::uint8_t { reviewer, recorded, none };
[[nodiscard]] std::string_view to_string(LabelOrigin origin) noexcept;

struct TrainingPicture {
  std::string name;  // of its files, without folder and extension
  std::string role;
  int width = 0;
  int height = 0;
  LabelOrigin origin = LabelOrigin::none;
  std::vector<TrainingLabel> labels;
};

struct TrainingFile {
  std::string name;
  std::string content;
};

// "pcb-00000042": of the line only letters, digits, '-' and '_'. Where that changes the line's name, ".ID" of the
// verdict keeps names apart.
[[nodiscard]] std::string picture_name(const ReviewItem& item);

// `box` cut off at the picture's edges, in hundredths of a pixel; empty where nothing is left.
[[nodiscard]] Box clipped(const Box& box, int width, int height) noexcept;

class TrainingSet {
 public:
  TrainingSet(LabelFormat format, std::vector<std::string> classes);

  // The files that stand beside the picture: YOLO's labels. `item` has a review.
  [[nodiscard]] std::vector<TrainingFile> add(const ReviewItem& item,
                                              const TrainingPicture& picture);
  // The files of the whole set.
  [[nodiscard]] std::vector<TrainingFile> documents() const;
  // Of the text kept for documents().
  [[nodiscard]] std::size_t bytes() const noexcept;

 private:
  void add_coco(const ReviewItem& item, const TrainingPicture& picture);

  const LabelFormat format_;
  const std::vector<std::string> classes_;
  std::string images_;       // COCO: elements of the list, with commas between
  std::string annotations_;  // likewise
};

}  // namespace takt::line
