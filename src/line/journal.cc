// SPDX-License-Identifier: Apache-2.0
#include "line/journal.h"

#include "line/record_json.h"

#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace takt::line {
namespace {

using nlohmann::json;
constexpr std::string_view kSegmentPrefix = "segment-";

// The least that a verdict needs beside the names that its frame came with: verdict, route, the
// first reasons and the keys.
constexpr std::size_t kShortVerdictBytes = 1024;
constexpr std::size_t kShortReasonsMax = 4;
constexpr std::size_t kShortTextBytesMax = 128;

std::filesystem::path segment_path(const std::filesystem::path& directory, std::uint64_t number) {
  std::string digits = std::to_string(number);
  digits.insert(0, 12 - std::min<std::size_t>(12, digits.size()), '0');
  return directory / (std::string(kSegmentPrefix) + digits + ".journal");
}

// One process a journal: two writers would give the same numbers twice.
Result<int> lock_directory(const std::filesystem::path& directory) {
  std::error_code failure;
  std::filesystem::create_directories(directory, failure);
  const std::filesystem::path path = directory / "lock";
  const int descriptor = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0640);
  if (descriptor < 0) {
    return fail(ErrorKind::unavailable,
                path.string() + ": can't open: " + std::strerror(errno) +
                    "; make the folder writable or set store.directory to another one");
  }
  if (::flock(descriptor, LOCK_EX | LOCK_NB) != 0) {
    ::close(descriptor);
    return fail(ErrorKind::unavailable, directory.string() +
                                            " is used by another takt process; stop that one or "
                                            "set store.directory to another folder");
  }
  return descriptor;
}

json accept_json(FrameSeq seq, const Frame& frame, std::string_view line) {
  return {{"line", line},
          {"seq", seq.value},
          {"frame", frame.name},
          {"part_id", frame.part_id},
          {"recipe", frame.recipe},
          {"trigger_seq", frame.trigger_seq},
          {"captured_us", frame.captured_wall_us}};
}

VerdictRecord unanswered_from(const json& accept) {
  VerdictRecord record;
  record.line = accept.at("line");
  record.seq = FrameSeq{accept.at("seq")};
  record.frame = accept.at("frame");
  record.part_id = accept.at("part_id");
  record.recipe = accept.at("recipe");
  record.trigger_seq = accept.at("trigger_seq");
  record.captured_wall_us = accept.at("captured_us");
  return record;
}

std::unexpected<Error> too_large(std::size_t payload_bytes) {
  return fail(ErrorKind::unavailable,
              "a record of " + std::to_string(payload_bytes) +
                  " bytes does not fit in a journal segment; raise journal.segment_bytes");
}

std::size_t verdict_reserve(std::size_t accept_payload_bytes) {
  return JournalSegment::record_bytes(accept_payload_bytes + kShortVerdictBytes);
}

std::string shortened(std::string_view text) {
  if (text.size() <= kShortTextBytesMax) return std::string(text);
  std::size_t end = kShortTextBytesMax;
  // Not in the middle of a UTF-8 sequence.
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U) --end;
  return std::string(text.substr(0, end));
}

// The verdict without what only explains it.
VerdictRecord shortened(const VerdictRecord& record) {
  VerdictRecord brief;
  brief.line = record.line;
  brief.seq = record.seq;
  brief.frame = record.frame;
  brief.part_id = record.part_id;
  brief.trigger_seq = record.trigger_seq;
  brief.recipe = record.recipe;
  brief.captured_wall_us = record.captured_wall_us;
  brief.verdict = record.verdict;
  brief.route = shortened(record.route);
  brief.by_fallback = record.by_fallback;
  brief.latency = record.latency;
  brief.lateness = record.lateness;
  for (const std::string& reason : record.reasons) {
    if (brief.reasons.size() == kShortReasonsMax) break;
    brief.reasons.push_back(shortened(reason));
  }
  return brief;
}

std::unexpected<Error> no_room(std::size_t bytes_max, std::size_t reserved_bytes = 0) {
  return fail(ErrorKind::unavailable,
              "the journal is full (" + std::to_string(bytes_max) + " bytes, " +
                  std::to_string(reserved_bytes) +
                  " of them kept for the verdicts of frames under way) because verdicts wait for "
                  "the store; free its disk, or raise journal.bytes_max or journal.segment_bytes");
}

}  // namespace

Journal::Journal(JournalOptions options, int lock_descriptor)
    : options_(std::move(options)), lock_descriptor_(lock_descriptor) {}

Journal::~Journal() {
  {
    const std::scoped_lock lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  if (keeper_.joinable()) keeper_.join();
  // A spare has no records: the next start makes its own.
  if (spare_) std::filesystem::remove(spare_->path());
  ::close(lock_descriptor_);
}

Result<std::unique_ptr<Journal>> Journal::open(JournalOptions options) {
  const Result<int> lock = lock_directory(options.directory);
  if (!lock) return std::unexpected(lock.error());
  std::unique_ptr<Journal> journal(new Journal(std::move(options), *lock));
  if (const Result<void> loaded = journal->load(); !loaded) return std::unexpected(loaded.error());
  journal->keeper_ = std::thread([raw = journal.get()] { raw->keep(); });
  return journal;
}

Result<void> Journal::load() {
  std::vector<std::filesystem::path> paths;
  std::vector<std::filesystem::path> unfinished;
  for (const auto& entry : std::filesystem::directory_iterator(options_.directory)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(kSegmentPrefix)) paths.push_back(entry.path());
    if (name.starts_with(kUnfinishedPrefix)) unfinished.push_back(entry.path());
  }
  for (const std::filesystem::path& path : unfinished) {
    std::error_code ignored;  // it is in nobody's way
    std::filesystem::remove(path, ignored);
  }
  std::ranges::sort(paths);
  for (const std::filesystem::path& path : paths) {
    Result<std::unique_ptr<JournalSegment>> file = JournalSegment::open(path);
    if (!file) return std::unexpected(file.error());
    const std::uint64_t number = (*file)->number();
    next_number_ = std::max(next_number_, number + 1);
    Segment& segment = segments_[number];
    segment.file = std::move(*file);
    const bool whole =
        segment.file->scan([&](RecordType type, std::span<const std::uint8_t> payload) {
          take_record(segment, type, payload);
        });
    if (!whole) ++stats_.torn_segments;
  }
  // A full journal goes on in its last segment: starting again and again must not make it grow.
  const bool full = mapped_bytes() + options_.segment_bytes > options_.bytes_max;
  if (full && !segments_.empty() && leaves_room(0, reserved_bytes_)) return {};
  return roll_over(0);
}

void Journal::take_record(Segment& segment, RecordType type,
                          std::span<const std::uint8_t> payload) {
  const json record = json::from_cbor(payload, true, false);
  if (record.is_discarded()) return;
  if (type == RecordType::counters) {
    for (const auto& [line, next] : record.items()) {
      next_seq_[line] = std::max(next_seq_[line], next.get<std::uint64_t>());
    }
  } else if (type == RecordType::accept) {
    VerdictRecord open = unanswered_from(record);
    std::uint64_t& next = next_seq_[open.line];
    next = std::max(next, open.seq.value + 1);
    const Key key{open.line, open.seq.value};
    owe(key, segment.file->number(), verdict_reserve(payload.size()));
    unanswered_.emplace(key, std::move(open));
  } else if (type == RecordType::verdict) {
    if (Result<VerdictRecord> judged = record_from_json(record))
      take_verdict(segment, std::move(*judged));
  }
}

void Journal::take_verdict(Segment& segment, VerdictRecord record) {
  const Key key{record.line, record.seq.value};
  std::uint64_t& next = next_seq_[record.line];
  next = std::max(next, record.seq.value + 1);
  settle(key);
  unanswered_.erase(key);
  if (options_.wait_for_acknowledgement) {
    judged_in_[key] = segment.file->number();
    ++segment.unacknowledged;
  }
  recovered_.push_back(std::move(record));
}

FrameSeq Journal::next_seq(std::string_view line) {
  const std::scoped_lock lock(mutex_);
  std::uint64_t& next = next_seq_[std::string(line)];
  if (next == 0) next = 1;
  return FrameSeq{next++};
}

void Journal::skip_past(std::string_view line, FrameSeq seq) {
  const std::scoped_lock lock(mutex_);
  std::uint64_t& next = next_seq_[std::string(line)];
  next = std::max(next, seq.value + 1);
}

Result<void> Journal::accept(FrameSeq seq, const Frame& frame, std::string_view line) {
  const std::vector<std::uint8_t> payload = json::to_cbor(accept_json(seq, frame, line));
  const std::size_t reserve = verdict_reserve(payload.size());
  const std::size_t own = JournalSegment::record_bytes(payload.size());
  const std::scoped_lock lock(mutex_);
  if (own + reserve > options_.segment_bytes / 2) {
    ++stats_.refused;
    return too_large(payload.size());
  }
  if (!make_room(own, reserved_bytes_ + reserve)) {
    ++stats_.refused;
    return no_room(options_.bytes_max, reserved_bytes_);
  }
  if (Result<void> appended = append(RecordType::accept, payload); !appended) return appended;
  owe({std::string(line), seq.value}, segments_.rbegin()->first, reserve);
  ++stats_.accepted;
  return {};
}

void Journal::owe(Key key, std::uint64_t segment, std::size_t reserved_bytes) {
  ++segments_[segment].unanswered;
  reserved_bytes_ += reserved_bytes;
  reserved_bytes_max_ = std::max(reserved_bytes_max_, reserved_bytes);
  accepted_[std::move(key)] = {segment, reserved_bytes};
}

void Journal::settle(const Key& key) {
  const auto accepted = accepted_.find(key);
  if (accepted == accepted_.end()) return;
  --segments_[accepted->second.segment].unanswered;
  reserved_bytes_ -= accepted->second.reserved_bytes;
  accepted_.erase(accepted);
}

Result<void> Journal::verdict(const VerdictRecord& record) {
  std::vector<std::uint8_t> payload = json::to_cbor(to_json(record));
  const Key key{record.line, record.seq.value};
  const std::scoped_lock lock(mutex_);
  const auto accepted = accepted_.find(key);
  const std::size_t mine = accepted == accepted_.end() ? 0 : accepted->second.reserved_bytes;
  if (!make_room(JournalSegment::record_bytes(payload.size()), reserved_bytes_ - mine)) {
    if (mine == 0) {
      ++stats_.refused;
      return no_room(options_.bytes_max, reserved_bytes_);
    }
    payload = json::to_cbor(to_json(shortened(record)));
    ++stats_.shortened;
  }
  if (Result<void> appended = append(RecordType::verdict, payload); !appended) return appended;
  settle(key);
  if (options_.wait_for_acknowledgement) {
    Segment& segment = segments_.rbegin()->second;
    ++segment.unacknowledged;
    judged_in_[key] = segment.file->number();
  }
  ++stats_.verdicts;
  return {};
}

// Whether `reserved_bytes` can still be appended after a record of `record_bytes`, with what is
// allocated already.
bool Journal::leaves_room(std::size_t record_bytes, std::size_t reserved_bytes) const {
  const std::size_t here = segments_.rbegin()->second.file->free_bytes();
  std::size_t ahead = 0;
  if (spare_) {
    const std::size_t counters = JournalSegment::record_bytes(counters_payload().size());
    ahead = spare_->free_bytes() - std::min(spare_->free_bytes(), counters);
  }
  if (record_bytes > here) return record_bytes + reserved_bytes <= ahead;
  const std::size_t left = here - record_bytes;
  // A record is not split: the end of this segment may stay empty by less than one verdict.
  return reserved_bytes <= left || reserved_bytes + reserved_bytes_max_ <= left + ahead;
}

bool Journal::make_room(std::size_t record_bytes, std::size_t reserved_bytes) {
  // The common case without a look at the spare.
  const std::size_t here = segments_.rbegin()->second.file->free_bytes();
  if (record_bytes + reserved_bytes <= here) return true;
  if (!spare_ && !make_spare()) return false;
  return leaves_room(record_bytes, reserved_bytes);
}

Result<std::vector<VerdictRecord>> Journal::unanswered(std::string_view line) {
  const std::scoped_lock lock(mutex_);
  std::vector<VerdictRecord> records;
  for (const auto& [key, record] : unanswered_) {
    if (key.first == line) records.push_back(record);
  }
  return records;
}

std::vector<VerdictRecord> Journal::take_recovered() {
  const std::scoped_lock lock(mutex_);
  return std::exchange(recovered_, {});
}

void Journal::acknowledge(std::string_view line, FrameSeq seq) {
  const std::scoped_lock lock(mutex_);
  const auto judged = judged_in_.find(Key{std::string(line), seq.value});
  if (judged == judged_in_.end()) return;
  --segments_[judged->second].unacknowledged;
  judged_in_.erase(judged);
}

JournalStats Journal::stats() const {
  const std::scoped_lock lock(mutex_);
  JournalStats stats = stats_;
  stats.segments = segments_.size();
  stats.unacknowledged = judged_in_.size();
  return stats;
}

Result<void> Journal::append(RecordType type, std::span<const std::uint8_t> payload) {
  if (segments_.rbegin()->second.file->append(type, payload)) return {};
  if (Result<void> rolled = roll_over(payload.size()); !rolled) {
    ++stats_.refused;
    return rolled;
  }
  if (segments_.rbegin()->second.file->append(type, payload)) return {};
  ++stats_.refused;
  return too_large(payload.size());
}

// Opens the next segment, which begins with the counters: earlier segments may go, numbers must not come again.
Result<void> Journal::roll_over(std::size_t payload_bytes) {
  if (payload_bytes > options_.segment_bytes) return {};  // append() says so
  if (!spare_) {
    if (Result<void> made = make_spare(); !made) return made;
  }
  const std::vector<std::uint8_t> counters = counters_payload();
  if (!spare_->append(RecordType::counters, counters)) return no_room(options_.bytes_max);
  const std::uint64_t number = spare_->number();
  segments_[number].file = std::move(spare_);
  wake_.notify_all();
  return {};
}

Result<void> Journal::make_spare() {
  Result<std::unique_ptr<JournalSegment>> made = make_segment();
  if (!made) return std::unexpected(made.error());
  spare_ = std::move(*made);
  return {};
}

std::size_t Journal::mapped_bytes() const {
  return segments_.size() * options_.segment_bytes;
}

Result<std::unique_ptr<JournalSegment>> Journal::make_segment() {
  if (mapped_bytes() + options_.segment_bytes > options_.bytes_max)
    return no_room(options_.bytes_max);
  const std::uint64_t number = next_number_++;
  return JournalSegment::create(segment_path(options_.directory, number), number,
                                options_.segment_bytes);
}

std::vector<std::uint8_t> Journal::counters_payload() const {
  json counters = json::object();
  for (const auto& [line, next] : next_seq_) counters[line] = next;
  return json::to_cbor(counters);
}

std::vector<std::unique_ptr<JournalSegment>> Journal::take_finished() {
  std::vector<std::unique_ptr<JournalSegment>> finished;
  while (segments_.size() > 1) {
    // In order only: a verdict must not go before the frame that it answers.
    const auto oldest = segments_.begin();
    if (oldest->second.unanswered != 0 || oldest->second.unacknowledged != 0) break;
    finished.push_back(std::move(oldest->second.file));
    segments_.erase(oldest);
  }
  return finished;
}

std::vector<const JournalSegment*> Journal::unsynced() const {
  std::vector<const JournalSegment*> files;
  for (auto it = segments_.lower_bound(synced_to_); it != segments_.end(); ++it)
    files.push_back(it->second.file.get());
  return files;
}

void Journal::keep() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    wake_.wait_for(lock, options_.sync_interval);
    const std::vector<std::unique_ptr<JournalSegment>> finished = take_finished();
    const bool needs_spare =
        !spare_ && mapped_bytes() + options_.segment_bytes <= options_.bytes_max;
    const std::uint64_t number = needs_spare ? next_number_++ : 0;
    // Only this thread removes segments, so these stay while the lock is open.
    const std::vector<const JournalSegment*> to_sync = unsynced();
    synced_to_ = segments_.rbegin()->first;
    lock.unlock();

    const bool synced = std::ranges::all_of(
        to_sync, [](const JournalSegment* file) { return file->sync().has_value(); });
    for (const auto& segment : finished) {
      std::error_code ignored;
      std::filesystem::remove(segment->path(), ignored);
    }
    Result<std::unique_ptr<JournalSegment>> spare = nullptr;
    if (needs_spare) {
      spare = JournalSegment::create(segment_path(options_.directory, number), number,
                                     options_.segment_bytes);
    }

    lock.lock();
    if (!synced) ++stats_.sync_failures;
    if (!spare || !*spare) continue;
    if (!spare_ && (*spare)->number() > segments_.rbegin()->first) {
      spare_ = std::move(*spare);
    } else {
      // A roll-over came first and made its own.
      std::filesystem::remove((*spare)->path());
    }
  }
}

}  // namespace takt::line
