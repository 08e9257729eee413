// SPDX-License-Identifier: Apache-2.0
#include "repository/read_file.h"

#include <array>
#include <cerrno>
#include <cstdio>
#include <fstream>
#include <system_error>

namespace takt::repository {

namespace fs = std::filesystem;

Result<std::uint64_t> regular_file_size(const fs::path& file, std::uint64_t bytes_max) {
  std::error_code error;
  const fs::file_status status = fs::status(file, error);
  if (status.type() == fs::file_type::not_found) {
    return fail(ErrorKind::invalid_input, file.string() + ": no such file");
  }
  if (error) {
    return fail(ErrorKind::invalid_input, file.string() + ": can't be read: " + error.message());
  }
  // A pipe or device would block or never end.
  if (!fs::is_regular_file(status)) {
    return fail(ErrorKind::invalid_input, file.string() + ": not a regular file");
  }
  const std::uint64_t size = fs::file_size(file, error);
  if (error) {
    return fail(ErrorKind::invalid_input, file.string() + ": can't be read: " + error.message());
  }
  if (size > bytes_max) {
    return fail(ErrorKind::invalid_input, file.string() + ": " + std::to_string(size) +
                                              " bytes; at most " + std::to_string(bytes_max) +
                                              " are read");
  }
  return size;
}

Result<std::string> read_file(const fs::path& file, std::uint64_t bytes_max) {
  const Result<std::uint64_t> size = regular_file_size(file, bytes_max);
  if (!size) return std::unexpected(size.error());
  std::ifstream stream(file, std::ios::binary);
  std::string bytes(*size, '\0');
  if (!stream || !stream.read(bytes.data(), static_cast<std::streamsize>(bytes.size()))) {
    return fail(ErrorKind::invalid_input,
                file.string() + ": can't be read: " +
                    std::make_error_code(static_cast<std::errc>(errno)).message());
  }
  return bytes;
}

std::string printable(std::string_view name) {
  constexpr std::size_t kLengthMax = 80;
  std::string text;
  for (const char c : name.substr(0, kLengthMax)) {
    if (static_cast<unsigned char>(c) >= 0x20 && c != 0x7F) {
      text += c;
      continue;
    }
    std::array<char, 5> escaped{};
    std::snprintf(escaped.data(), escaped.size(), "\\x%02X",
                  static_cast<unsigned>(static_cast<unsigned char>(c)));
    text += escaped.data();
  }
  return name.size() > kLengthMax ? text + "..." : text;
}

}  // namespace takt::repository
