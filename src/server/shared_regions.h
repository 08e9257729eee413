// SPDX-License-Identifier: Apache-2.0
// Shared memory that clients have registered by name.
// Thread-safe: every member from any thread.
// Owns: a descriptor of each region, never a mapping: what is read and written goes through pread and
// pwrite, so that a client that shrinks its memory gets an error and can't bring the server down.
#pragma once

#include "core/result.h"
#include "server/api_error.h"
#include "server/infer_call.h"

#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace takt::server {

struct RegionInfo {
  std::string name;
  std::string key;  // of the shared-memory object, "/input0"
  std::size_t offset = 0;
  std::size_t bytes = 0;
};

struct RegionLimits {
  bool allowed = true;  // false: registering is refused
  std::size_t regions_max = 1024;
};

class SharedRegions {
 public:
  explicit SharedRegions(RegionLimits limits = {}) : limits_(limits) {}

  // Errors: already_exists (another region of that name), invalid_argument (a key that is no object's
  // name, none there, too small), permission_denied (switched off), resource_exhausted.
  [[nodiscard]] ApiResult<void> add(const RegionInfo& region);
  // All of them; or the one of that name. Errors: not_found.
  [[nodiscard]] ApiResult<std::vector<RegionInfo>> list(std::string_view name = {}) const;
  void remove(std::string_view name);  // nothing happens where there is none
  void remove_all();

  // Errors: invalid_argument (no such region, outside of it, or the object has been shrunk).
  [[nodiscard]] ApiResult<void> read(const SharedPlace& place, std::span<std::byte> into) const;
  [[nodiscard]] ApiResult<void> write(const SharedPlace& place,
                                      std::span<const std::byte> from) const;

 private:
  struct Region;
  [[nodiscard]] ApiResult<std::shared_ptr<const Region>> find(const SharedPlace& place) const;

  const RegionLimits limits_;
  mutable std::mutex mutex_;
  std::map<std::string, std::shared_ptr<const Region>, std::less<>> regions_;  // guarded by mutex_
};

}  // namespace takt::server
