// SPDX-License-Identifier: Apache-2.0
// A limit on what a child process really uses of memory, kept by the kernel: a control group
// (cgroup v2) of its own, below one that was delegated to takt.
// Thread-safe: functions from any thread; a MemoryCgroup on one thread at a time.
// Owns: the child's group, which is removed with the object. Destroy it after the process ended.
#pragma once

#include "core/result.h"

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>

namespace takt::ipc {

struct MemoryLimit {
  std::filesystem::path cgroup;  // the delegated group, below /sys/fs/cgroup; empty: no limit
  std::size_t bytes_max = 0;     // of each child
};

// Changes nothing. Errors: unavailable (no cgroup, version 1, not delegated to this user or without
// the memory controller; the message says what to do).
[[nodiscard]] Result<void> check_cgroup(const std::filesystem::path& cgroup);

// Makes the group fit for children, once before the first: removes what a killed takt left there,
// moves this process into a group `gateway` below when it lives in `cgroup` itself (where systemd
// starts a service; a group with processes has no limits for children), hands the memory controller
// on. Errors: as above, and unavailable when other processes live in the group.
[[nodiscard]] Result<void> prepare_cgroup(const std::filesystem::path& cgroup);

class MemoryCgroup {
 public:
  MemoryCgroup() = default;  // of no limit
  MemoryCgroup(MemoryCgroup&& other) noexcept { swap(other); }
  MemoryCgroup& operator=(MemoryCgroup&& other) noexcept {
    MemoryCgroup taken(std::move(other));
    swap(taken);
    return *this;
  }
  ~MemoryCgroup();
  MemoryCgroup(const MemoryCgroup&) = delete;
  MemoryCgroup& operator=(const MemoryCgroup&) = delete;

  // Puts a child of this process under the limit. Errors: unavailable (names the file that could
  // not be written).
  [[nodiscard]] static Result<MemoryCgroup> create(const MemoryLimit& limit, pid_t child);

  [[nodiscard]] std::uint64_t out_of_memory_kills() const;
  // How the child ended, with the reason when it was this limit.
  [[nodiscard]] std::string explained(std::string ending) const;

 private:
  void swap(MemoryCgroup& other) noexcept {
    folder_.swap(other.folder_);
    std::swap(bytes_max_, other.bytes_max_);
  }

  std::filesystem::path folder_;  // empty: none
  std::size_t bytes_max_ = 0;
};

}  // namespace takt::ipc
