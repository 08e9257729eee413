// SPDX-License-Identifier: Apache-2.0
// Jobs of a load or a compilation, spread over threads of the host.
// Thread-safe: run_jobs() from any thread; its threads end before it does.
// Owns: nothing.
#pragma once

#include "core/result.h"

#include <functional>
#include <string_view>

namespace takt::cuda {

// As many as CPUs that the calling thread may use, from 1 to `most`.
[[nodiscard]] int host_threads(int most);

// One of the jobs, on one of the threads: thread 0 is the calling one. It may throw.
using Job = std::function<Result<void>(int job, int thread)>;
// Told on the calling thread, now and then and at the end.
using JobProgress = std::function<void(int done, int total)>;

// Does the jobs 0 to `jobs` - 1 once each, begun in this order, on at most so many threads. Errors: the first one
// of a job, after which no other job begins; out_of_memory and internal of one that throws, with `what` in front
// of the message. Throws std::system_error where the system gives it no thread.
[[nodiscard]] Result<void> run_jobs(std::string_view what, int jobs, int threads, const Job& job,
                                    const JobProgress& progress = {});

}  // namespace takt::cuda
