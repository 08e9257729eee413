// SPDX-License-Identifier: Apache-2.0
// A store with verdicts and pictures, and a desk before it.
// Thread-safe: no.
// Owns: a temporary folder with the store's file, the store and the desk.
#pragma once

#include "line/record_fixture.h"
#include "line/review_desk.h"
#include "line/store.h"

#include <SQLiteCpp/SQLiteCpp.h>
#include <archive.h>
#include <archive_entry.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace takt::line {

inline constexpr int kBoardWidth = 64;
inline constexpr int kBoardHeight = 48;

class ReviewTest : public ::testing::Test {
 protected:
  explicit ReviewTest(StoreOptions store = {}, ReviewDeskOptions desk = {}) {
    clock_.set(TimePoint(std::chrono::seconds(1'800'000'000)));
    store.path = desk.path = path();
    store_ = std::move(*Store::open(store, {}));
    open_desk(desk);
  }

  [[nodiscard]] std::filesystem::path path() const { return directory_.path() / "takt.sqlite"; }

  void open_desk(const ReviewDeskOptions& options) {
    auto desk = ReviewDesk::open(options, clock_);
    ASSERT_TRUE(desk) << desk.error().message;
    desk_ = std::move(*desk);
  }

  void write(VerdictRecord record, bool pictures = true) {
    if (pictures) record.images = {{"board", board_.view(), {}}, {"golden", golden_.view(), {}}};
    ASSERT_TRUE(store_->write(record));
    ASSERT_TRUE(store_->flush());
  }

  void write(const std::string& line, std::uint64_t seq, Verdict verdict = Verdict::review) {
    write(sample_record(line, seq, verdict));
  }

  // A newer connection, for what the desk doesn't offer.
  [[nodiscard]] std::int64_t count(const std::string& what) const {
    SQLite::Database db(path().string());
    return db.execAndGet("SELECT count(*) FROM " + what).getInt64();
  }
  void execute(const std::string& sql) const {
    SQLite::Database db(path().string(), SQLite::OPEN_READWRITE, 2'000);
    db.exec(sql);
  }

  // The error of a call that must fail; its message holds no path.
  template <typename T>
  [[nodiscard]] ReviewError refused(const ReviewResult<T>& result) const {
    if (result) {
      ADD_FAILURE() << "expected a refusal";
      return {};
    }
    EXPECT_EQ(result.error().message.find('/'), std::string::npos) << result.error().message;
    return result.error();
  }

  TemporaryDirectory directory_;
  ManualClock clock_;
  Image board_{kBoardWidth, kBoardHeight, PixelFormat::gray8, 255};
  Image golden_{kBoardWidth / 2, kBoardHeight, PixelFormat::rgb8, 7};
  std::unique_ptr<Store> store_;
  std::unique_ptr<ReviewDesk> desk_;
};

// The files of a ZIP archive by their names.
inline std::map<std::string, std::string> unzip(std::span<const std::byte> bytes) {
  std::map<std::string, std::string> files;
  const std::unique_ptr<archive, int (*)(archive*)> zip(::archive_read_new(), &::archive_read_free);
  ::archive_read_support_format_zip(zip.get());
  EXPECT_EQ(::archive_read_open_memory(zip.get(), bytes.data(), bytes.size()), ARCHIVE_OK);
  archive_entry* entry = nullptr;
  while (::archive_read_next_header(zip.get(), &entry) == ARCHIVE_OK) {
    std::string content(static_cast<std::size_t>(::archive_entry_size(entry)), '\0');
    EXPECT_EQ(::archive_read_data(zip.get(), content.data(), content.size()),
              static_cast<la_ssize_t>(content.size()));
    EXPECT_TRUE(files.emplace(::archive_entry_pathname(entry), std::move(content)).second);
  }
  return files;
}

}  // namespace takt::line
