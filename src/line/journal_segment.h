// SPDX-License-Identifier: Apache-2.0
// One file of the journal: a header and checksummed records in memory-mapped, preallocated space.
// Thread-safe: no; the journal's lock guards appends, sync() may run beside them.
// Owns: the file descriptor and the mapping.
#pragma once

#include "core/result.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string_view>

namespace takt::line {

enum class RecordType : std::uint8_t { counters = 1, accept = 2, verdict = 3 };

// A segment that is being made; left only by a process that was killed, and empty.
inline constexpr std::string_view kUnfinishedPrefix = "unfinished-";

class JournalSegment {
 public:
  // Makes a file of `capacity_bytes`, all of it allocated, so that an append can't meet a full disk.
  // Errors: unavailable (no space, read-only, the file exists).
  [[nodiscard]] static Result<std::unique_ptr<JournalSegment>> create(
      const std::filesystem::path& path, std::uint64_t number, std::size_t capacity_bytes);
  // Maps an existing file. Errors: invalid_input (not a journal segment), unavailable (can't be read).
  [[nodiscard]] static Result<std::unique_ptr<JournalSegment>> open(
      const std::filesystem::path& path);
  ~JournalSegment();
  JournalSegment(const JournalSegment&) = delete;
  JournalSegment& operator=(const JournalSegment&) = delete;

  // False when the record does not fit any more.
  [[nodiscard]] bool append(RecordType type, std::span<const std::uint8_t> payload) noexcept;
  // Room for further records, as record_bytes() counts it.
  [[nodiscard]] std::size_t free_bytes() const noexcept;
  // What a record takes of a segment.
  [[nodiscard]] static std::size_t record_bytes(std::size_t payload_bytes) noexcept;

  // Calls `visit` for each whole record, in order, and stops at the first torn one; appends continue behind the last
  // whole record. Returns false when the end was a torn record and not a clean end.
  bool scan(const std::function<void(RecordType, std::span<const std::uint8_t>)>& visit);

  [[nodiscard]] Result<void> sync() const;  // to the disk, for power loss
  [[nodiscard]] std::uint64_t number() const noexcept;
  [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }
  [[nodiscard]] std::size_t used_bytes() const noexcept { return end_; }

 private:
  JournalSegment(std::filesystem::path path, int descriptor, std::span<std::uint8_t> mapping);

  const std::filesystem::path path_;
  const int descriptor_;
  const std::span<std::uint8_t> mapping_;
  std::size_t end_;  // offset of the next record
};

}  // namespace takt::line
