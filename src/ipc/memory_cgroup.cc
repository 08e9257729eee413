// SPDX-License-Identifier: Apache-2.0
// The files are those of the kernel's Documentation/admin-guide/cgroup-v2.rst.
#include "ipc/memory_cgroup.h"

#include "ipc/descriptor.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <fstream>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace takt::ipc {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "takt-";  // takt-GATEWAY-CHILD
constexpr const char* kOwnGroup = "gateway";
constexpr const char* kDelegate =
    "; start takt as a systemd service with Delegate=yes and name that service's group, or leave "
    "workers.cgroup out";

std::unexpected<Error> refused(const fs::path& path, const std::string& why) {
  return fail(ErrorKind::unavailable, path.string() + ": " + why);
}

std::vector<std::string> words_of(const fs::path& file) {
  std::ifstream stream(file);
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(std::move(word));
  return words;
}

bool has_memory(const fs::path& file) {
  const std::vector<std::string> words = words_of(file);
  return std::ranges::find(words, "memory") != words.end();
}

// 0, or errno. The kernel takes each value in one write; nothing is created.
int write_value(const fs::path& file, std::string_view value) {
  const Descriptor opened(::open(file.c_str(), O_WRONLY | O_CLOEXEC));
  if (!opened) return errno;
  const ssize_t written = ::write(opened.get(), value.data(), value.size());
  return written == static_cast<ssize_t>(value.size()) ? 0 : errno;
}

// What a killed takt left: groups named after a process that is gone. One in use can't be removed.
void remove_remains(const fs::path& cgroup) {
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator(cgroup, ignored)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(kPrefix)) continue;
    pid_t owner = 0;
    std::from_chars(name.data() + kPrefix.size(), name.data() + name.size(), owner);
    if (owner <= 0 || owner == ::getpid() || ::kill(owner, 0) == 0 || errno != ESRCH) continue;
    ::rmdir(entry.path().c_str());
  }
}

// A group has either processes or limits for its children.
Result<void> move_out(const fs::path& cgroup) {
  const std::string own = std::to_string(::getpid());
  const std::vector<std::string> inside = words_of(cgroup / "cgroup.procs");
  if (inside.empty()) return {};
  if (inside != std::vector<std::string>{own}) {
    return refused(cgroup, std::to_string(inside.size()) + " processes live in it, such as " +
                               (inside.front() == own ? inside.back() : inside.front()) +
                               "; name a group that is takt's alone");
  }
  const fs::path home = cgroup / kOwnGroup;
  std::error_code failure;
  fs::create_directory(home, failure);
  const int error = failure ? failure.value() : write_value(home / "cgroup.procs", own);
  if (error == 0) return {};
  return refused(home, "takt can't move there: " + std::generic_category().message(error));
}

}  // namespace

Result<void> check_cgroup(const fs::path& cgroup) {
  std::error_code ignored;
  if (!fs::exists(cgroup / "cgroup.controllers", ignored)) {
    const bool version_1 = fs::exists(cgroup / "tasks", ignored);
    return refused(cgroup, version_1
                               ? "is a control group of version 1; takt needs version 2: boot with "
                                 "systemd.unified_cgroup_hierarchy=1, or leave workers.cgroup out"
                               : std::string("is no control group") + kDelegate);
  }
  if (!has_memory(cgroup / "cgroup.controllers")) {
    return refused(cgroup, std::string("has no memory controller") + kDelegate);
  }
  for (const fs::path& needed :
       {cgroup, cgroup / "cgroup.procs", cgroup / "cgroup.subtree_control"}) {
    if (::access(needed.c_str(), W_OK) != 0) {
      return refused(needed,
                     "can't be written: " + std::generic_category().message(errno) + kDelegate);
    }
  }
  return {};
}

Result<void> prepare_cgroup(const fs::path& cgroup) {
  if (Result<void> checked = check_cgroup(cgroup); !checked) return checked;
  remove_remains(cgroup);
  const fs::path control = cgroup / "cgroup.subtree_control";
  if (has_memory(control)) return {};
  if (Result<void> moved = move_out(cgroup); !moved) return moved;
  const int error = write_value(control, "+memory");
  if (error == 0) return {};
  return refused(control,
                 "does not take +memory: " + std::generic_category().message(error) + kDelegate);
}

Result<MemoryCgroup> MemoryCgroup::create(const MemoryLimit& limit, pid_t child) {
  MemoryCgroup group;
  group.bytes_max_ = limit.bytes_max;
  const fs::path folder = limit.cgroup / (std::string(kPrefix) + std::to_string(::getpid()) + "-" +
                                          std::to_string(child));
  std::error_code failure;
  fs::create_directory(folder, failure);
  if (failure) return refused(folder, "can't be made: " + failure.message() + kDelegate);
  group.folder_ = folder;
  const auto set = [&folder](const char* name, const std::string& value) -> Result<void> {
    const int error = write_value(folder / name, value);
    if (error == 0) return {};
    return refused(folder / name,
                   "does not take " + value + ": " + std::generic_category().message(error));
  };
  if (Result<void> done = set("memory.max", std::to_string(limit.bytes_max)); !done) {
    return std::unexpected(std::move(done).error());
  }
  // Since Linux 4.19. Before, the kernel picks one process, and a worker is one.
  static_cast<void>(set("memory.oom.group", "1"));
  if (Result<void> done = set("cgroup.procs", std::to_string(child)); !done) {
    return std::unexpected(std::move(done).error());
  }
  return group;
}

MemoryCgroup::~MemoryCgroup() {
  // Fails while a process is in it; then the next start removes it.
  if (!folder_.empty()) ::rmdir(folder_.c_str());
}

std::uint64_t MemoryCgroup::out_of_memory_kills() const {
  if (folder_.empty()) return 0;
  std::ifstream events(folder_ / "memory.events");
  std::string name;
  std::uint64_t count = 0;
  while (events >> name >> count) {
    if (name == "oom_kill") return count;
  }
  return 0;
}

std::string MemoryCgroup::explained(std::string ending) const {
  if (out_of_memory_kills() == 0) return ending;
  return std::move(ending) + ": it needed more than workers.memory_max, " +
         std::to_string(bytes_max_ >> 20U) + " MiB; raise that, or lower the task's instances or " +
         "batch_max";
}

}  // namespace takt::ipc
