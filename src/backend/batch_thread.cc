// SPDX-License-Identifier: Apache-2.0
#include "backend/batch_thread.h"

#include "backend/cpus.h"
#include "core/spin.h"

#include <pthread.h>

#include <exception>
#include <memory>
#include <system_error>
#include <utility>

namespace takt {

Result<std::unique_ptr<BatchThread>> BatchThread::create(const std::string& name,
                                                         std::span<const int> cpus, Duration spin,
                                                         Run run) {
  std::unique_ptr<BatchThread> made(new BatchThread(spin, std::move(run)));
  try {
    made->thread_ = std::thread([self = made.get()] { self->serve(); });
  } catch (const std::system_error& error) {
    return fail(ErrorKind::unavailable,
                std::string("no thread for an instance: ") + error.what() +
                    "; open fewer instances or raise the limit (ulimit -u)");
  }
  pthread_setname_np(made->thread_.native_handle(), name.substr(0, 15).c_str());
  if (!cpus.empty()) {
    if (Result<void> confined = use_cpus(made->thread_.native_handle(), cpus); !confined) {
      return std::unexpected(std::move(confined).error().within("an instance's thread"));
    }
  }
  return made;
}

BatchThread::~BatchThread() {
  {
    const std::scoped_lock lock(mutex_);
    stopping_ = true;
  }
  work_ = true;
  changed_.notify_one();
  if (thread_.joinable()) thread_.join();
}

Result<void> BatchThread::start(BatchView batch, BatchCompletion done) {
  {
    const std::scoped_lock lock(mutex_);
    if (stopping_) return fail(ErrorKind::unavailable, "the instance is stopping");
    if (busy_) {
      return fail(ErrorKind::unavailable,
                  "the instance runs a batch; submit again after its completion");
    }
    busy_ = true;
    waiting_ = true;
    batch_ = batch;
    done_ = std::move(done);
  }
  work_ = true;  // not before: who sees it takes the mutex
  changed_.notify_one();
  return {};
}

void BatchThread::look_for_work() const {
  const SystemClock clock;
  const TimePoint end = clock.now() + spin_;
  while (!work_ && clock.now() < end) pause_cpu();
}

void BatchThread::serve() {
  while (true) {
    if (spin_ > Duration{}) look_for_work();
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return waiting_ || stopping_; });
    if (!waiting_) return;
    waiting_ = false;
    work_ = stopping_;
    const BatchView batch = batch_;
    BatchCompletion done = std::move(done_);
    lock.unlock();
    BatchOutcome outcome = run_(batch);
    lock.lock();
    busy_ = false;
    lock.unlock();
    done(std::move(outcome));
    done = nullptr;  // what it captured goes before the next batch is taken
  }
}

}  // namespace takt
