// SPDX-License-Identifier: Apache-2.0
#include "app/temporary_folder.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>

namespace takt::app {

Result<TemporaryFolder> TemporaryFolder::make() {
  std::error_code failure;
  const std::filesystem::path base = std::filesystem::temp_directory_path(failure);
  std::string pattern = (base / "takt-XXXXXX").string();
  if (failure || ::mkdtemp(pattern.data()) == nullptr) {
    return fail(ErrorKind::unavailable, "can't make a temporary folder in " + base.string() + ": " +
                                            std::strerror(errno) +
                                            "; free space there or set TMPDIR to another folder");
  }
  return TemporaryFolder(pattern);
}

TemporaryFolder::TemporaryFolder(TemporaryFolder&& other) noexcept
    : path_(std::exchange(other.path_, {})) {}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;  // what is left there does no harm
  if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
}

}  // namespace takt::app
