// SPDX-License-Identifier: Apache-2.0
// Verdicts as JSON Lines: one object a line, appended, in the order of the verdicts.
// Thread-safe: no; one sink thread calls.
// Owns: its file, locked against other processes.
#pragma once

#include "line/sink.h"

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>

namespace takt::line {

class JsonlSink final : public Sink {
 public:
  enum class Mode : std::uint8_t {
    replace,  // a new file; what was there is overwritten
    append,   // goes on; a half line left by a crash is cut off
  };
  // Errors: unavailable (the file can't be written, or another process writes it).
  [[nodiscard]] static Result<std::unique_ptr<JsonlSink>> open(const std::filesystem::path& path,
                                                               Mode mode);
  ~JsonlSink() override;

  [[nodiscard]] std::string_view name() const noexcept override { return "jsonl"; }
  [[nodiscard]] Result<void> write(const VerdictRecord& record) override;
  [[nodiscard]] Result<void> flush() override;
  // Writes the record unless the file already holds it (known for the last lines of an appended file).
  [[nodiscard]] Result<void> repair(const VerdictRecord& record);
  // The highest number of each line that an appended file ended with.
  [[nodiscard]] std::map<std::string, FrameSeq> last_seqs() const;

 private:
  JsonlSink(std::filesystem::path path, int descriptor)
      : path_(std::move(path)), descriptor_(descriptor) {}
  Result<void> read_tail();

  const std::filesystem::path path_;
  const int descriptor_;
  std::string buffer_;  // lines not yet written
  std::set<std::pair<std::string, std::uint64_t>>
      tail_;  // line and seq of what an appended file ends with
};

}  // namespace takt::line
