// SPDX-License-Identifier: Apache-2.0
// The desk where people look at stored verdicts, decide, and take their decisions home as training data.
// Thread-safe: all members, from any thread; each may wait for the disk. Never for the verdict path.
// Owns: two connections to the store's file, one for exports, so that these hold nobody up.
#pragma once

#include "core/result.h"
#include "core/time.h"
#include "line/review.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string_view>
#include <vector>

namespace takt::line {

struct ReviewDeskOptions {
  std::filesystem::path path;                       // of the store
  Duration busy_timeout = std::chrono::seconds(2);  // the store may be committing
  int decisions_max = 100;                          // kept of one verdict
  int labels_max = 1'000;                           // of one decision; at most 10'000
  // Names that labels have had so far: a name gets its number once and for ever.
  int classes_max = 1'000;
  std::size_t export_bytes_max =
      std::size_t{256} << 20;  // of one archive, in memory; half of it more while it grows
};

class ReviewDesk {
 public:
  // The Store must have been opened before: it makes the schema. `clock` outlives the desk.
  // Errors: unavailable (no such file, or it can't be written), invalid_input (not a store of this takt, or limits out
  // of range).
  [[nodiscard]] static Result<std::unique_ptr<ReviewDesk>> open(const ReviewDeskOptions& options,
                                                                const Clock& clock);
  ~ReviewDesk();

  // What needs or had a review, by id. Errors: invalid (limit, texts), unavailable, damaged.
  [[nodiscard]] ReviewResult<ReviewPage> list(const ReviewFilter& filter) const;
  // One verdict of any kind. Errors: not_found, unavailable, damaged.
  [[nodiscard]] ReviewResult<ReviewItem> item(std::int64_t id) const;
  // All that people have decided about a verdict, the newest first. Errors: as item().
  [[nodiscard]] ReviewResult<std::vector<Review>> decisions(std::int64_t id) const;
  // PNG. Errors: not_found, unavailable.
  [[nodiscard]] ReviewResult<std::vector<std::byte>> picture(std::int64_t id,
                                                             std::string_view role) const;

  // Keeps a decision about verdict `id`, on the disk when it returns. Every decision stays in the store and the newest
  // counts: an audit asks who said what when, and two people at one verdict must notice each other, so the second is
  // refused unless it says `replace`. The recorded verdict itself is never changed.
  // Any stored verdict can be decided, a pass too. Returns the decision as kept.
  // Errors: invalid (names what and where: "labels[3].box"), not_found, decided, unavailable.
  [[nodiscard]] ReviewResult<Review> decide(std::int64_t id, const ReviewDecision& decision);

  // A page of decisions as a ZIP archive, the newest of each verdict:
  //   coco: images/NAME.png, annotations.json (file_name is NAME.png)
  //   yolo: images/NAME.png, labels/NAME.txt, classes.txt, data.yaml
  // Labels are the person's; of a reject without, the recorded detections, cut off at the picture's edges; of a pass
  // none (a negative example). Ids are the same in every page and export: of a category its number in the store from 1
  // (YOLO: from 0), of an image the verdict's, of an annotation made from the decision's; so pages can be joined.
  // All categories are listed in each page. NAME is made of line and seq.
  // One export at a time; another is refused. Errors: invalid, too_large, unavailable, damaged.
  [[nodiscard]] ReviewResult<ExportArchive> export_labels(const ExportOptions& options,
                                                          LabelFormat format) const;

 private:
  struct Connection;
  ReviewDesk(const ReviewDeskOptions& options, const Clock& clock,
             std::unique_ptr<Connection> calls, std::unique_ptr<Connection> exports);

  const ReviewDeskOptions options_;
  const Clock& clock_;
  const std::unique_ptr<Connection> calls_;  // each with its mutex
  const std::unique_ptr<Connection> exports_;
  mutable std::mutex exporting_;  // held by the export that is being made
};

}  // namespace takt::line
