// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/compile/host_threads.h"

#include "backend/cpus.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <new>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

namespace takt::cuda {
namespace {

// What a thread of its own does must not throw.
Result<void> by_value(std::string_view what, const Job& job, int index, int thread) try {
  return job(index, thread);
} catch (const std::bad_alloc&) {
  return fail(ErrorKind::out_of_memory, fmt::format("{}: the host's memory doesn't suffice", what));
} catch (const std::exception& error) {
  return fail(ErrorKind::internal, fmt::format("{}: {}", what, error.what()));
}

}  // namespace

int host_threads(int most) {
  return std::clamp(static_cast<int>(usable_cpus().size()), 1, std::max(1, most));
}

Result<void> run_jobs(std::string_view what, int jobs, int threads, const Job& job,
                      const JobProgress& progress) {
  std::atomic<int> next = 0;
  std::atomic<int> done = 0;
  std::mutex lock;
  std::optional<Error> failure;  // guarded by `lock`; the first one
  const auto work = [&](int thread) {
    for (int index = next++; index < jobs; index = next++) {
      Result<void> finished = by_value(what, job, index, thread);
      if (!finished) {
        const std::scoped_lock guard(lock);
        if (!failure) failure = std::move(finished).error();
        next = jobs;
      }
      ++done;
      if (thread == 0 && progress) progress(done, jobs);
    }
  };
  {
    std::vector<std::jthread> others;
    for (int thread = 1; thread < std::min(threads, jobs); ++thread) {
      others.emplace_back(work, thread);
    }
    work(0);
  }
  if (failure) return std::unexpected(*std::move(failure));
  if (progress) progress(jobs, jobs);
  return {};
}

}  // namespace takt::cuda
