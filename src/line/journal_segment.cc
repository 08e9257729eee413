// SPDX-License-Identifier: Apache-2.0
#include "line/journal_segment.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>

namespace takt::line {
namespace {

constexpr std::uint64_t kMagic = 0x314c4e524a544b54;  // "TKTJRNL1", little-endian

struct FileHeader {
  std::uint64_t magic;
  std::uint64_t number;
  std::uint64_t reserved[6];
};
static_assert(sizeof(FileHeader) == 64);

struct RecordHeader {
  std::uint32_t payload_bytes;  // written last: zero means "no record here yet"
  std::uint32_t checksum;       // CRC-32 over type and payload
  std::uint64_t type;
};
static_assert(sizeof(RecordHeader) == 16);

constexpr std::size_t padded(std::size_t bytes) {
  return (bytes + 7) & ~std::size_t{7};
}

std::uint32_t checksum_of(std::uint64_t type, std::span<const std::uint8_t> payload) {
  uLong crc = crc32_z(0, reinterpret_cast<const Bytef*>(&type), sizeof(type));
  crc = crc32_z(crc, payload.data(), payload.size());
  return static_cast<std::uint32_t>(crc);
}

std::unexpected<Error> system_failure(const std::filesystem::path& path, const std::string& what,
                                      int error) {
  return fail(ErrorKind::unavailable,
              path.string() + ": " + what + ": " + std::strerror(error) +
                  "; free space or choose another folder under store.directory");
}

Result<std::span<std::uint8_t>> map(const std::filesystem::path& path, int descriptor,
                                    std::size_t bytes) {
  void* address = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
  if (address == MAP_FAILED) return system_failure(path, "can't map the journal", errno);
  return std::span(static_cast<std::uint8_t*>(address), bytes);
}

}  // namespace

JournalSegment::JournalSegment(std::filesystem::path path, int descriptor,
                               std::span<std::uint8_t> mapping)
    : path_(std::move(path)),
      descriptor_(descriptor),
      mapping_(mapping),
      end_(sizeof(FileHeader)) {}

JournalSegment::~JournalSegment() {
  ::munmap(mapping_.data(), mapping_.size());
  ::close(descriptor_);
}

Result<std::unique_ptr<JournalSegment>> JournalSegment::create(const std::filesystem::path& path,
                                                               std::uint64_t number,
                                                               std::size_t capacity_bytes) {
  // It gets its name when it has its header: a process killed in between leaves no half segment.
  const std::filesystem::path unfinished =
      path.parent_path() / (std::string(kUnfinishedPrefix) + path.filename().string());
  std::error_code ignored;
  if (std::filesystem::exists(path, ignored))
    return system_failure(path, "can't create the journal", EEXIST);
  const int descriptor = ::open(unfinished.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
  if (descriptor < 0) return system_failure(path, "can't create the journal", errno);
  const auto give_up = [&](const std::string& what, int error) {
    ::close(descriptor);
    ::unlink(unfinished.c_str());
    return system_failure(path, what, error);
  };
  if (const int error = ::posix_fallocate(descriptor, 0, static_cast<off_t>(capacity_bytes));
      error != 0) {
    return give_up("can't reserve " + std::to_string(capacity_bytes) + " bytes for the journal",
                   error);
  }
  const Result<std::span<std::uint8_t>> mapping = map(path, descriptor, capacity_bytes);
  if (!mapping) return give_up("can't map the journal", errno);
  const FileHeader header{kMagic, number, {}};
  std::memcpy(mapping->data(), &header, sizeof(header));
  if (::rename(unfinished.c_str(), path.c_str()) != 0) {
    const int error = errno;
    ::munmap(mapping->data(), mapping->size());
    return give_up("can't name the journal", error);
  }
  return std::unique_ptr<JournalSegment>(new JournalSegment(path, descriptor, *mapping));
}

Result<std::unique_ptr<JournalSegment>> JournalSegment::open(const std::filesystem::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (descriptor < 0) return system_failure(path, "can't open the journal", errno);
  struct stat status{};
  FileHeader header{};
  const bool readable =
      ::fstat(descriptor, &status) == 0 &&
      static_cast<std::size_t>(status.st_size) >= sizeof(header) &&
      ::pread(descriptor, &header, sizeof(header), 0) == static_cast<ssize_t>(sizeof(header));
  if (!readable || header.magic != kMagic) {
    ::close(descriptor);
    return fail(ErrorKind::invalid_input,
                path.string() + " is not a journal segment; move it away and start again");
  }
  const Result<std::span<std::uint8_t>> mapping =
      map(path, descriptor, static_cast<std::size_t>(status.st_size));
  if (!mapping) {
    ::close(descriptor);
    return std::unexpected(mapping.error());
  }
  return std::unique_ptr<JournalSegment>(new JournalSegment(path, descriptor, *mapping));
}

std::uint64_t JournalSegment::number() const noexcept {
  FileHeader header;
  std::memcpy(&header, mapping_.data(), sizeof(header));
  return header.number;
}

std::size_t JournalSegment::free_bytes() const noexcept {
  // One header stays free, so that the end is always marked by a zero length.
  const std::size_t used = end_ + sizeof(RecordHeader);
  return used < mapping_.size() ? mapping_.size() - used : 0;
}

std::size_t JournalSegment::record_bytes(std::size_t payload_bytes) noexcept {
  return sizeof(RecordHeader) + padded(payload_bytes);
}

bool JournalSegment::append(RecordType type, std::span<const std::uint8_t> payload) noexcept {
  if (payload.empty() || payload.size() > UINT32_MAX) return false;
  if (record_bytes(payload.size()) > free_bytes()) return false;
  RecordHeader header{};
  header.type = static_cast<std::uint64_t>(type);
  header.checksum = checksum_of(header.type, payload);
  std::uint8_t* place = mapping_.data() + end_;
  std::memcpy(place + sizeof(header), payload.data(), payload.size());
  std::memcpy(place, &header, sizeof(header));
  // A process that is killed between these lines leaves a zero length: no record.
  std::atomic_ref<std::uint32_t>(*reinterpret_cast<std::uint32_t*>(place))
      .store(static_cast<std::uint32_t>(payload.size()), std::memory_order_release);
  end_ += record_bytes(payload.size());
  return true;
}

bool JournalSegment::scan(
    const std::function<void(RecordType, std::span<const std::uint8_t>)>& visit) {
  end_ = sizeof(FileHeader);
  while (end_ + sizeof(RecordHeader) <= mapping_.size()) {
    RecordHeader header;
    std::memcpy(&header, mapping_.data() + end_, sizeof(header));
    if (header.payload_bytes == 0) return true;
    const std::size_t room = mapping_.size() - end_ - sizeof(header);
    if (header.payload_bytes > room) break;
    const std::span<const std::uint8_t> payload =
        mapping_.subspan(end_ + sizeof(header), header.payload_bytes);
    if (checksum_of(header.type, payload) != header.checksum) break;
    visit(static_cast<RecordType>(header.type), payload);
    end_ += record_bytes(header.payload_bytes);
  }
  if (end_ + sizeof(RecordHeader) > mapping_.size()) return true;
  // What follows a torn record can't be trusted: it is cut off, so that appends start on clean ground.
  std::memset(mapping_.data() + end_, 0, mapping_.size() - end_);
  return false;
}

Result<void> JournalSegment::sync() const {
  if (::fdatasync(descriptor_) != 0)
    return system_failure(path_, "can't write the journal to the disk", errno);
  return {};
}

}  // namespace takt::line
