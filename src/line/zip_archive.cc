// SPDX-License-Identifier: Apache-2.0
#include "line/zip_archive.h"

#include <archive.h>
#include <archive_entry.h>

#include <algorithm>
#include <new>

namespace takt::line {

struct ZipArchive::Writer {
  explicit Writer(std::size_t max) : bytes_max(max), zip(::archive_write_new()) {}

  static la_ssize_t append(archive* /*zip*/, void* self, const void* data, std::size_t size) {
    auto& writer = *static_cast<Writer*>(self);
    if (writer.full || size > writer.bytes_max - writer.bytes.size()) {
      writer.full = true;
      return -1;
    }
    const auto* begin = static_cast<const std::byte*>(data);
    try {
      const std::size_t needed = writer.bytes.size() + size;
      if (needed > writer.bytes.capacity()) {
        writer.bytes.reserve(std::min(writer.bytes_max, 2 * needed));
      }
      writer.bytes.insert(writer.bytes.end(), begin, begin + size);
    } catch (const std::bad_alloc&) {  // must not cross the library
      writer.full = true;
      return -1;
    }
    return static_cast<la_ssize_t>(size);
  }

  struct Free {
    void operator()(archive* zip) const noexcept {
      ::archive_write_close(zip);  // free alone forgets the buffers of an archive that has failed
      ::archive_write_free(zip);
    }
    void operator()(archive_entry* entry) const noexcept { ::archive_entry_free(entry); }
  };

  const std::size_t bytes_max;
  std::vector<std::byte> bytes;
  bool full = false;
  bool failed = false;
  std::unique_ptr<archive, Free> zip;  // goes first: its end may still append
};

ZipArchive::ZipArchive(std::size_t bytes_max) : writer_(std::make_unique<Writer>(bytes_max)) {
  archive* zip = writer_->zip.get();
  writer_->failed = zip == nullptr || ::archive_write_set_format_zip(zip) != ARCHIVE_OK ||
                    ::archive_write_set_bytes_per_block(zip, 0) != ARCHIVE_OK ||
                    ::archive_write_open2(zip, writer_.get(), nullptr, &Writer::append, nullptr,
                                          nullptr) != ARCHIVE_OK;
}

ZipArchive::~ZipArchive() = default;

Error ZipArchive::error() const {
  if (writer_->full) {
    return {ErrorKind::overloaded,
            "the archive would have more than " + std::to_string(writer_->bytes_max) + " bytes"};
  }
  const char* said = writer_->zip ? ::archive_error_string(writer_->zip.get()) : nullptr;
  return {ErrorKind::internal,
          std::string("can't write the archive: ") + (said != nullptr ? said : "no memory")};
}

Result<void> ZipArchive::add(const std::string& name, std::span<const std::byte> content,
                             ZipMethod method, std::int64_t modified_s) {
  if (writer_->failed) return std::unexpected(error());
  writer_->failed = true;  // until everything went well
  archive* zip = writer_->zip.get();
  const std::unique_ptr<archive_entry, Writer::Free> entry(::archive_entry_new2(zip));
  if (!entry) return std::unexpected(error());
  ::archive_entry_set_pathname(entry.get(), name.c_str());
  ::archive_entry_set_filetype(entry.get(), AE_IFREG);
  ::archive_entry_set_perm(entry.get(), 0644);
  ::archive_entry_set_size(entry.get(), static_cast<la_int64_t>(content.size()));
  ::archive_entry_set_mtime(entry.get(), static_cast<time_t>(modified_s), 0);
  const int chosen = method == ZipMethod::store ? ::archive_write_zip_set_compression_store(zip)
                                                : ::archive_write_zip_set_compression_deflate(zip);
  if (chosen != ARCHIVE_OK || ::archive_write_header(zip, entry.get()) != ARCHIVE_OK ||
      ::archive_write_data(zip, content.data(), content.size()) !=
          static_cast<la_ssize_t>(content.size()) ||
      ::archive_write_finish_entry(zip) != ARCHIVE_OK) {
    return std::unexpected(error());
  }
  writer_->failed = false;
  return {};
}

Result<void> ZipArchive::add(const std::string& name, std::string_view content, ZipMethod method,
                             std::int64_t modified_s) {
  return add(name, std::as_bytes(std::span(content)), method, modified_s);
}

Result<std::vector<std::byte>> ZipArchive::finish() {
  if (writer_->failed) return std::unexpected(error());
  writer_->failed = true;  // nothing more can be added
  if (::archive_write_close(writer_->zip.get()) != ARCHIVE_OK) return std::unexpected(error());
  return std::move(writer_->bytes);
}

std::size_t ZipArchive::bytes() const noexcept {
  return writer_->bytes.size();
}

}  // namespace takt::line
