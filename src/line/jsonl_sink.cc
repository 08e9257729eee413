// SPDX-License-Identifier: Apache-2.0
#include "line/jsonl_sink.h"

#include "line/record_json.h"

#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace takt::line {
namespace {

constexpr std::size_t kBufferBytesMax = 64 << 10;
// After a crash at most the journal's unacknowledged verdicts can be missing here; their lines lie in this much.
constexpr off_t kTailBytesMax = off_t{64} << 20;

std::unexpected<Error> failure(const std::filesystem::path& path, const std::string& what,
                               int error) {
  return fail(ErrorKind::unavailable, path.string() + ": " + what + ": " + std::strerror(error));
}

}  // namespace

JsonlSink::~JsonlSink() {
  (void)flush();
  ::close(descriptor_);
}

Result<std::unique_ptr<JsonlSink>> JsonlSink::open(const std::filesystem::path& path, Mode mode) {
  if (path.has_parent_path()) {
    std::error_code ignored;  // the open below says what is wrong
    std::filesystem::create_directories(path.parent_path(), ignored);
  }
  const int descriptor = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0640);
  if (descriptor < 0) return failure(path, "can't write verdicts", errno);
  if (::flock(descriptor, LOCK_EX | LOCK_NB) != 0) {
    ::close(descriptor);
    return fail(ErrorKind::unavailable,
                path.string() + " is written by another process; name another file");
  }
  std::unique_ptr<JsonlSink> sink(new JsonlSink(path, descriptor));
  if (mode == Mode::replace) {
    if (::ftruncate(descriptor, 0) != 0 && errno != EINVAL)
      return failure(path, "can't empty the file", errno);
    return sink;
  }
  if (Result<void> read = sink->read_tail(); !read) return std::unexpected(read.error());
  return sink;
}

Result<void> JsonlSink::read_tail() {
  struct stat status{};
  if (::fstat(descriptor_, &status) != 0) return failure(path_, "can't read the file", errno);
  if (!S_ISREG(status.st_mode)) return {};
  const off_t start = std::max<off_t>(0, status.st_size - kTailBytesMax);
  std::string text(static_cast<std::size_t>(status.st_size - start), '\0');
  const ssize_t read = ::pread(descriptor_, text.data(), text.size(), start);
  if (read != static_cast<ssize_t>(text.size()))
    return failure(path_, "can't read the file", errno);

  const std::size_t end = text.rfind('\n') == std::string::npos ? 0 : text.rfind('\n') + 1;
  std::size_t begin = start == 0 ? 0 : text.find('\n') + 1;
  while (begin < end) {
    const std::size_t next = text.find('\n', begin) + 1;
    const nlohmann::json json =
        nlohmann::json::parse(text.begin() + static_cast<std::ptrdiff_t>(begin),
                              text.begin() + static_cast<std::ptrdiff_t>(next), nullptr, false);
    if (const Result<VerdictRecord> record = record_from_json(json))
      tail_.emplace(record->line, record->seq.value);
    begin = next;
  }
  const off_t whole = start + static_cast<off_t>(end);
  if (::ftruncate(descriptor_, whole) != 0)
    return failure(path_, "can't cut off a half line", errno);
  if (::lseek(descriptor_, whole, SEEK_SET) < 0)
    return failure(path_, "can't go to the end", errno);
  return {};
}

Result<void> JsonlSink::write(const VerdictRecord& record) {
  buffer_ += to_json(record).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  buffer_ += '\n';
  return buffer_.size() < kBufferBytesMax ? Result<void>{} : flush();
}

Result<void> JsonlSink::repair(const VerdictRecord& record) {
  return tail_.contains({record.line, record.seq.value}) ? Result<void>{} : write(record);
}

std::map<std::string, FrameSeq> JsonlSink::last_seqs() const {
  std::map<std::string, FrameSeq> last;
  for (const auto& [line, seq] : tail_) last[line] = FrameSeq{seq};  // rising within a line
  return last;
}

Result<void> JsonlSink::flush() {
  // What could not be written stays in the buffer for the next try; a disk that stays full must not eat the memory,
  // and the line that is half in the file keeps its end.
  constexpr std::size_t kRetainedBytesMax = std::size_t{16} << 20;
  while (!buffer_.empty()) {
    const ssize_t written = ::write(descriptor_, buffer_.data(), buffer_.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) {
      const int error = errno;
      if (buffer_.size() > kRetainedBytesMax) buffer_.erase(buffer_.find('\n') + 1);
      return failure(path_, "can't write verdicts", error);
    }
    buffer_.erase(0, static_cast<std::size_t>(written));
  }
  return {};
}

}  // namespace takt::line
