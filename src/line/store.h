// SPDX-License-Identifier: Apache-2.0
// The SQLite store: every verdict with its detections, tasks and timings, and pictures of what was not passed.
// Thread-safe: write, flush and repair from one sink thread; counts() from any thread.
// Owns: the database connection. Readers open the file themselves (WAL lets them).
#pragma once

#include "core/time.h"
#include "line/sink.h"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace takt::line {

struct StoreOptions {
  std::filesystem::path path;
  std::set<Verdict> pictures{Verdict::reject,
                             Verdict::review};  // verdicts whose images are kept, as PNG
  std::int64_t verdicts_max = 5'000'000;  // older ones are removed, with all that belongs to them
  std::int64_t pictures_max = 40'000;     // images kept; the oldest go first, a frame's at once
  Duration busy_timeout = std::chrono::seconds(2);  // a reader may hold the file for a moment
  std::size_t pending_max =
      4'096;  // verdicts kept in memory while the disk refuses them; then only the journal has them
};

struct StoreCounts {
  std::uint64_t stored = 0;    // verdicts committed in this run
  std::uint64_t pictures = 0;  // images committed in this run
  std::uint64_t failures = 0;  // transactions that failed
  std::uint64_t left_to_journal =
      0;  // verdicts given up here, to come back from the journal at the next start
};

class Store final : public Sink {
 public:
  // Called after a commit for each verdict in it: the journal may let it go.
  using Acknowledge = std::function<void(std::string_view line, FrameSeq seq)>;

  // Creates or opens the database and brings its schema up to date. Errors: unavailable (folder missing or read-only,
  // disk full, locked), invalid_input (not a database, or made by a newer takt).
  [[nodiscard]] static Result<std::unique_ptr<Store>> open(StoreOptions options,
                                                           Acknowledge acknowledge);
  ~Store() override;

  [[nodiscard]] std::string_view name() const noexcept override { return "store"; }
  // Collects; a full batch is committed. A verdict that the database holds already is left as it is.
  [[nodiscard]] Result<void> write(const VerdictRecord& record) override;
  [[nodiscard]] Result<void> flush() override;
  [[nodiscard]] StoreCounts counts() const noexcept;
  // The highest number of each line. From the thread of write(). Errors: unavailable.
  [[nodiscard]] Result<std::map<std::string, FrameSeq>> last_seqs() const;

 private:
  struct Database;
  struct Picture {
    std::string role;
    int width = 0;
    int height = 0;
    std::vector<std::byte> png;
  };
  struct Pending {
    VerdictRecord record;  // without slots
    std::vector<Picture> pictures;
  };
  Store(StoreOptions options, Acknowledge acknowledge, std::unique_ptr<Database> database);
  [[nodiscard]] std::vector<Picture> pictures_of(const VerdictRecord& record) const;
  std::uint64_t commit();

  const StoreOptions options_;
  const Acknowledge acknowledge_;
  const std::unique_ptr<Database> database_;
  std::deque<Pending> pending_;

  std::atomic<std::uint64_t> stored_{0};
  std::atomic<std::uint64_t> pictures_{0};
  std::atomic<std::uint64_t> failures_{0};
  std::atomic<std::uint64_t> left_to_journal_{0};
};

}  // namespace takt::line
