// SPDX-License-Identifier: Apache-2.0
// The journal of a takt process: every accepted frame and every verdict, before anything reports them.
// Thread-safe: every member from any thread; appends take a short lock that is never held over a disk access.
// Owns: its folder (locked against other processes), the segment files in it, and one thread that keeps them.
#pragma once

#include "core/result.h"
#include "core/time.h"
#include "line/journal_segment.h"
#include "line/sink.h"

#include <condition_variable>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <vector>

namespace takt::line {

struct JournalOptions {
  std::filesystem::path directory;
  std::size_t segment_bytes = std::size_t{16} << 20;  // holds about 10,000 frames
  std::size_t bytes_max = std::size_t{256}
                          << 20;  // a full journal refuses frames, it never grows without end
  // Records survive the death of the process at once. After a loss of power, at most this much is gone.
  Duration sync_interval = std::chrono::seconds(1);
  // True: a segment is kept until every verdict in it was acknowledged (the store has it), and offered again at the
  // next start. False: until every frame in it is answered.
  bool wait_for_acknowledgement = true;
};

struct JournalStats {
  std::uint64_t accepted = 0;  // in this run
  std::uint64_t verdicts = 0;
  std::uint64_t refused = 0;    // appends that found no room
  std::uint64_t shortened = 0;  // verdicts without detections and timings, because room was short
  std::uint64_t torn_segments = 0;  // found at the start: the last record was cut off by a crash
  std::uint64_t sync_failures = 0;
  std::size_t segments = 0;
  std::size_t unacknowledged = 0;  // verdicts that the store has not confirmed yet
};

class Journal final : public FrameJournal {
 public:
  // Reads what an earlier run left and opens a new segment. Errors: unavailable (folder can't be written, another
  // process uses it, no space), invalid_input (a file that isn't a segment).
  [[nodiscard]] static Result<std::unique_ptr<Journal>> open(JournalOptions options);
  ~Journal() override;

  [[nodiscard]] FrameSeq next_seq(std::string_view line) override;
  // Takes a frame only with room for its verdict: verdict() of an accepted frame never finds the
  // journal full. Where room is short, the verdict is journalled without detections and timings.
  [[nodiscard]] Result<void> accept(FrameSeq seq, const Frame& frame,
                                    std::string_view line) override;
  [[nodiscard]] Result<void> verdict(const VerdictRecord& record) override;
  [[nodiscard]] Result<std::vector<VerdictRecord>> unanswered(std::string_view line) override;

  // Verdicts of earlier runs that are still in the journal, oldest first, given out once: sinks that may have missed
  // them take them again before the first frame.
  [[nodiscard]] std::vector<VerdictRecord> take_recovered();
  // Store and files know numbers up to `seq` of this line, some of them perhaps of frames that a
  // full journal refused, or of a journal that was removed: they must not come again.
  void skip_past(std::string_view line, FrameSeq seq);
  // The store has this verdict for good.
  void acknowledge(std::string_view line, FrameSeq seq);

  [[nodiscard]] JournalStats stats() const;

 private:
  struct Segment {
    std::unique_ptr<JournalSegment> file;
    std::size_t unanswered = 0;      // frames accepted here that have no verdict yet
    std::size_t unacknowledged = 0;  // verdicts here that the store has not confirmed
  };
  using Key = std::pair<std::string, std::uint64_t>;  // line, seq
  struct Accepted {
    std::uint64_t segment = 0;
    std::size_t reserved_bytes = 0;  // for its verdict
  };

  explicit Journal(JournalOptions options, int lock_descriptor);
  Result<void> load();
  void take_record(Segment& segment, RecordType type, std::span<const std::uint8_t> payload);
  void take_verdict(Segment& segment, VerdictRecord record);
  void owe(Key key, std::uint64_t segment, std::size_t reserved_bytes);
  void settle(const Key& key);
  [[nodiscard]] bool leaves_room(std::size_t record_bytes, std::size_t reserved_bytes) const;
  [[nodiscard]] bool make_room(std::size_t record_bytes, std::size_t reserved_bytes);
  Result<void> append(RecordType type, std::span<const std::uint8_t> payload);
  Result<void> roll_over(std::size_t payload_bytes);
  Result<void> make_spare();
  Result<std::unique_ptr<JournalSegment>> make_segment();
  std::vector<std::uint8_t> counters_payload() const;
  void keep();
  std::vector<std::unique_ptr<JournalSegment>> take_finished();
  std::vector<const JournalSegment*> unsynced() const;
  [[nodiscard]] std::size_t mapped_bytes() const;

  const JournalOptions options_;
  const int lock_descriptor_;

  mutable std::mutex mutex_;
  // Guarded by mutex_:
  std::map<std::uint64_t, Segment> segments_;  // by number; the last is written to
  std::unique_ptr<JournalSegment> spare_;      // made ahead, so that a roll-over is quick
  std::uint64_t next_number_ = 1;
  std::uint64_t synced_to_ = 0;  // number of the segment that was written to at the last sync
  std::unordered_map<std::string, std::uint64_t> next_seq_;
  std::map<Key, Accepted> accepted_;         // frames without verdict
  std::size_t reserved_bytes_ = 0;           // for the verdicts of all of them
  std::size_t reserved_bytes_max_ = 0;       // the largest for one frame so far
  std::map<Key, std::uint64_t> judged_in_;   // segment of a verdict without acknowledgement
  std::map<Key, VerdictRecord> unanswered_;  // of earlier runs
  std::vector<VerdictRecord> recovered_;     // verdicts of earlier runs
  JournalStats stats_;
  bool stopping_ = false;

  std::condition_variable wake_;
  std::thread keeper_;  // syncs, prepares the spare, removes finished segments
};

}  // namespace takt::line
