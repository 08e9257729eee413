// SPDX-License-Identifier: Apache-2.0
#include "backend/cpus.h"

#include <sched.h>

#include <string>
#include <system_error>

namespace takt {

std::vector<int> usable_cpus() {
  std::vector<int> cpus;
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof(set), &set) != 0) return cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(static_cast<std::size_t>(cpu), &set)) cpus.push_back(cpu);
  }
  return cpus;
}

Result<void> use_cpus(pthread_t thread, std::span<const int> cpus) {
  if (cpus.empty()) return {};
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int cpu : cpus) {
    if (cpu < 0 || cpu >= CPU_SETSIZE) {
      return fail(ErrorKind::unavailable, "CPU " + std::to_string(cpu) + " does not exist");
    }
    CPU_SET(static_cast<std::size_t>(cpu), &set);
  }
  const int error = ::pthread_setaffinity_np(thread, sizeof(set), &set);
  if (error == 0) return {};
  return fail(ErrorKind::unavailable,
              "threads can't be confined to their CPUs: " + std::generic_category().message(error) +
                  "; name CPUs that this machine has and that the process may use");
}

}  // namespace takt
