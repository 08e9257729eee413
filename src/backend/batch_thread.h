// SPDX-License-Identifier: Apache-2.0
// Runs one batch at a time on a thread of its own: the contract of Instance (core/inference.h) in
// one place. Thread-safe: start from any thread; the destructor once it has returned, and not from inside a completion.
// Owns: the thread and the completion of the batch that it runs.
#pragma once

#include "core/inference.h"
#include "core/result.h"
#include "core/time.h"

#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <span>
#include <string>
#include <thread>

namespace takt {

class BatchThread {
 public:
  using Run = std::move_only_function<BatchOutcome(BatchView)>;

  // `run` is called on the thread and must not throw. `name` shows in debuggers (15 characters).
  // `cpus` confines the thread; empty: any CPU. `spin`: how long the thread looks for the next batch
  // before it sleeps. Errors: unavailable (no thread to be had, or a CPU that isn't there).
  [[nodiscard]] static Result<std::unique_ptr<BatchThread>> create(const std::string& name,
                                                                   std::span<const int> cpus,
                                                                   Duration spin, Run run);
  ~BatchThread();  // waits for the batch that was started; its completion is still called
  BatchThread(const BatchThread&) = delete;
  BatchThread& operator=(const BatchThread&) = delete;

  // Hands the batch to the thread. `done` is called there once the next batch can be started, so
  // that a completion may start it. Errors: unavailable (a batch is running, or stopping).
  [[nodiscard]] Result<void> start(BatchView batch, BatchCompletion done);

 private:
  BatchThread(Duration spin, Run run) : spin_(spin), run_(std::move(run)) {}
  void serve();
  void look_for_work() const;

  const Duration spin_;
  Run run_;  // used by thread_ only
  // Set after waiting_ or stopping_, cleared by the thread as it takes a batch: what it looks at without the mutex.
  std::atomic<bool> work_{false};

  std::mutex mutex_;
  std::condition_variable changed_;
  // Guarded by mutex_:
  BatchView batch_;
  BatchCompletion done_;
  bool busy_ = false;     // from start() until run_ has returned
  bool waiting_ = false;  // batch_ and done_ wait for the thread
  bool stopping_ = false;

  std::thread thread_;
};

}  // namespace takt
