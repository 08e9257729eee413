// SPDX-License-Identifier: Apache-2.0
// A ZIP archive in memory, written file by file up to a number of bytes.
// Thread-safe: no; one thread at a time.
// Owns: the archive's bytes until finish() hands them over.
#pragma once

#include "core/result.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace takt::line {

enum class ZipMethod : std::uint8_t { store, deflate };

class ZipArchive {
 public:
  explicit ZipArchive(std::size_t bytes_max);
  ~ZipArchive();
  ZipArchive(const ZipArchive&) = delete;
  ZipArchive& operator=(const ZipArchive&) = delete;

  // `name` with '/' between folders. After an error nothing more can be added.
  // Errors: overloaded (beyond bytes_max), internal.
  [[nodiscard]] Result<void> add(const std::string& name, std::span<const std::byte> content,
                                 ZipMethod method, std::int64_t modified_s);
  [[nodiscard]] Result<void> add(const std::string& name, std::string_view content,
                                 ZipMethod method, std::int64_t modified_s);
  // Once, at the end. Errors: as add().
  [[nodiscard]] Result<std::vector<std::byte>> finish();
  // So far; the directory at the end comes to it.
  [[nodiscard]] std::size_t bytes() const noexcept;

 private:
  struct Writer;
  [[nodiscard]] Error error() const;
  const std::unique_ptr<Writer> writer_;
};

}  // namespace takt::line
