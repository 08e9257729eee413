// SPDX-License-Identifier: Apache-2.0
#include "process_watch.h"

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <span>
#include <system_error>

namespace takt::soak {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kSamplesMin = 10;

}  // namespace

Holdings look() {
  Holdings seen;
  std::ifstream statm("/proc/self/statm");
  std::size_t total = 0;
  std::size_t resident = 0;
  if (statm >> total >> resident) {
    seen.rss_bytes = resident * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  }
  statm.close();
  std::error_code gone;  // a descriptor may be closed between the listing and the look
  for (const fs::directory_entry& entry : fs::directory_iterator("/proc/self/fd", gone)) {
    const std::string target = fs::read_symlink(entry.path(), gone).string();
    if (gone || target.ends_with("/fd")) continue;
    ++seen.descriptors;
    if (target.starts_with("/memfd:")) ++seen.memfds;
  }
  return seen;
}

std::vector<pid_t> children() {
  std::vector<pid_t> found;
  std::error_code gone;
  for (const fs::directory_entry& task : fs::directory_iterator("/proc/self/task", gone)) {
    std::ifstream list(task.path() / "children");
    for (pid_t pid = 0; list >> pid;) found.push_back(pid);
  }
  return found;
}

double growth(const std::vector<Holdings>& samples,
              const std::function<double(const Holdings&)>& value) {
  if (samples.size() < kSamplesMin) return 0;
  const auto warm = std::span(samples).subspan(samples.size() / 5);
  double time = 0;
  double mean = 0;
  for (const Holdings& sample : warm) {
    time += sample.seconds / static_cast<double>(warm.size());
    mean += value(sample) / static_cast<double>(warm.size());
  }
  double together = 0;
  double squares = 0;
  for (const Holdings& sample : warm) {
    together += (sample.seconds - time) * (value(sample) - mean);
    squares += (sample.seconds - time) * (sample.seconds - time);
  }
  return squares > 0 ? together / squares * (warm.back().seconds - warm.front().seconds) : 0;
}

}  // namespace takt::soak
