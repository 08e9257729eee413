// SPDX-License-Identifier: Apache-2.0
#include "line/review_export.h"

#include "line/review_query.h"
#include "line/store_reader.h"
#include "line/training_set.h"
#include "line/zip_archive.h"

#include <span>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <utility>

namespace takt::line {
namespace {

using ClassIndexes = std::unordered_map<std::string, std::size_t>;

struct DecidedVerdict {
  std::int64_t review = 0;
  std::int64_t verdict = 0;
};

std::vector<DecidedVerdict> decided_verdicts(SQLite::Database& db, const ExportOptions& options) {
  std::vector<DecidedVerdict> decided;
  const ReviewQuery query = decision_query(options);
  SQLite::Statement rows(db, query.sql);
  bind(rows, query);
  while (rows.executeStep()) {
    decided.push_back({rows.getColumn(0).getInt64(), rows.getColumn(1).getInt64()});
  }
  return decided;
}

ClassIndexes indexes_of(const std::vector<std::string>& classes) {
  ClassIndexes indexes;
  for (const std::string& name : classes) indexes.emplace(name, indexes.size());
  return indexes;
}

// The labelled one; null: it isn't kept.
const StoredPicture* picture_of(const ReviewItem& item, const std::string& role) {
  for (const StoredPicture& picture : item.pictures) {
    if (role.empty() || picture.role == role) {
      return picture.width > 0 && picture.height > 0 ? &picture : nullptr;
    }
  }
  return nullptr;
}

TrainingPicture labelled(const ReviewItem& item, const StoredPicture& picture,
                         const std::string& task, const ClassIndexes& classes) {
  TrainingPicture out{.name = picture_name(item),
                      .role = picture.role,
                      .width = picture.width,
                      .height = picture.height,
                      .labels = {}};
  const auto add = [&](const std::string& name, const Box& box) {
    const auto known = classes.find(name);
    if (known == classes.end()) throw std::runtime_error("a label's class has no number");
    const Box cut = clipped(box, picture.width, picture.height);
    if (cut.area() > 0) out.labels.push_back({known->second, cut});
  };
  if (item.review->labels) {
    out.origin = LabelOrigin::reviewer;
    for (const ReviewLabel& label : *item.review->labels) add(label.class_name, label.box);
  } else if (item.review->decision == Verdict::reject) {
    out.origin = LabelOrigin::recorded;
    for (const NamedDetection& seen : item.record.detections) {
      if (task.empty() || seen.task == task) add(seen.class_name, seen.box);
    }
  }
  return out;
}

class Exporter {
 public:
  Exporter(SQLite::Database& db, const ExportOptions& options, LabelFormat format,
           std::size_t bytes_max)
      : db_(db),
        options_(options),
        bytes_max_(bytes_max),
        zip_(bytes_max),
        classes_(read_classes(db)),
        indexes_(indexes_of(classes_)),
        set_(format, classes_) {}

  ReviewResult<ExportArchive> run() {
    std::vector<DecidedVerdict> decided = decided_verdicts(db_, options_);
    const auto limit = static_cast<std::size_t>(options_.limit);
    out_.more = decided.size() > limit;
    if (out_.more) decided.resize(limit);
    for (const DecidedVerdict& next : decided) {
      if (auto added = add(next); !added) return std::unexpected(std::move(added.error()));
      out_.last = next.review;
    }
    for (const TrainingFile& file : set_.documents()) {
      if (auto put = zip_.add(file.name, file.content, ZipMethod::deflate, decided_s_); !put) {
        return std::unexpected(refusal(put.error()));
      }
    }
    auto bytes = zip_.finish();
    if (!bytes) return std::unexpected(refusal(bytes.error()));
    out_.zip = std::move(*bytes);
    return std::move(out_);
  }

 private:
  ReviewResult<void> add(const DecidedVerdict& decided) {
    const std::optional<ReviewItem> item = read_item(db_, decided.verdict);
    if (!item || !item->review) throw std::runtime_error("a decision without its verdict");
    const StoredPicture* picture = picture_of(*item, options_.role);
    if (picture == nullptr) {
      ++out_.without_picture;
      return {};
    }
    const TrainingPicture training = labelled(*item, *picture, options_.task, indexes_);
    if (item->review->decision == Verdict::reject && training.labels.empty()) {
      ++out_.without_labels;
      return {};
    }
    decided_s_ = item->review->decided_us / 1'000'000;
    if (auto put = add_png(*item, training); !put) return std::unexpected(refusal(put.error()));
    for (const TrainingFile& file : set_.add(*item, training)) {
      if (auto put = zip_.add(file.name, file.content, ZipMethod::deflate, decided_s_); !put) {
        return std::unexpected(refusal(put.error()));
      }
    }
    ++out_.images;
    out_.labels += static_cast<int>(training.labels.size());
    if (zip_.bytes() + set_.bytes() > bytes_max_) return std::unexpected(too_large());
    return {};
  }

  // PNG is compressed already.
  Result<void> add_png(const ReviewItem& item, const TrainingPicture& picture) {
    SQLite::Statement row(db_, "SELECT png FROM pictures WHERE verdict_id = ? AND role = ?");
    row.bind(1, item.id);
    row.bind(2, picture.role);
    if (!row.executeStep()) throw std::runtime_error("a picture that comes and goes");
    const SQLite::Column png = row.getColumn(0);
    const std::span bytes(static_cast<const std::byte*>(png.getBlob()),
                          static_cast<std::size_t>(png.getBytes()));
    return zip_.add("images/" + picture.name + ".png", bytes, ZipMethod::store, decided_s_);
  }

  ReviewError too_large() const {
    return {ReviewCode::too_large,
            "the archive would have more than " + std::to_string(bytes_max_) + " bytes after " +
                std::to_string(out_.images) + " pictures; lower limit (it is " +
                std::to_string(options_.limit) + ") and ask for the pages one by one"};
  }

  ReviewError refusal(const Error& error) const {
    if (error.kind == ErrorKind::overloaded) return too_large();
    return {ReviewCode::unavailable, error.message};
  }

  SQLite::Database& db_;
  const ExportOptions& options_;
  const std::size_t bytes_max_;
  ZipArchive zip_;
  const std::vector<std::string> classes_;
  const ClassIndexes indexes_;
  TrainingSet set_;
  ExportArchive out_;
  std::int64_t decided_s_ = 0;  // of the last decision in the archive
};

}  // namespace

ReviewResult<ExportArchive> export_reviews(SQLite::Database& db, const ExportOptions& options,
                                           LabelFormat format, std::size_t bytes_max) {
  return Exporter(db, options, format, bytes_max).run();
}

}  // namespace takt::line
