// SPDX-License-Identifier: Apache-2.0
#include "server/grpc/poller.h"

#include <grpc/support/time.h>
#include <pthread.h>

#include <utility>

namespace takt::server::rpc {

Poller::Poller(std::unique_ptr<::grpc::ServerCompletionQueue> queue) : queue_(std::move(queue)) {}

Poller::~Poller() {
  stop();
}

void Poller::start() {
  thread_ = std::thread([this] { run(); });
}

void Poller::every(std::chrono::milliseconds interval, std::function<void()> work) {
  beat_interval_ = interval;
  beat_work_ = std::move(work);
}

// Of the poller's thread.
void Poller::set_beat() {
  const std::scoped_lock lock(mutex_);
  if (stopped_ || beat_interval_ == std::chrono::milliseconds(0)) return;
  beat_alarm_.Set(queue_.get(), std::chrono::system_clock::now() + beat_interval_, &beat_);
}

void Poller::Beat::happened(bool ok) {
  if (!ok) return;  // cancelled
  poller_.beat_work_();
  poller_.set_beat();
}

void Poller::run() {
  ::pthread_setname_np(::pthread_self(), "takt-grpc");
  set_beat();
  void* tag = nullptr;
  bool ok = false;
  while (next(&tag, &ok)) static_cast<Event*>(tag)->happened(ok);
}

bool Poller::next(void** tag, bool* ok) {
  if (events_to_pause_ > 0) {
    using Queue = ::grpc::CompletionQueue;
    --events_to_pause_;
    for (int looks = events_to_pause_ > 0 ? kLooks : 0; looks > 0; --looks) {
      const Queue::NextStatus status = queue_->AsyncNext(tag, ok, gpr_time_0(GPR_CLOCK_MONOTONIC));
      if (status != Queue::TIMEOUT) return status == Queue::GOT_EVENT;
    }
    events_to_pause_ = 0;
    pause_work_();
  }
  return queue_->Next(tag, ok);
}

// One alarm wakes the thread for all that is handed over until it looks.
void Poller::post(Work work) {
  const std::scoped_lock lock(mutex_);
  posted_.push_back(std::move(work));
  if (std::exchange(awaited_, true)) return;
  alarm_.Set(queue_.get(), gpr_time_0(GPR_CLOCK_MONOTONIC), &handover_);
}

void Poller::Handover::happened(bool /*ok*/) {
  poller_.work();
}

void Poller::work() {
  std::vector<Work> taken;
  {
    const std::scoped_lock lock(mutex_);
    taken.swap(posted_);
    awaited_ = false;
  }
  for (Work& one : taken) one();
}

void Poller::stop() {
  {
    const std::scoped_lock lock(mutex_);
    if (std::exchange(stopped_, true)) return;
    beat_alarm_.Cancel();
  }
  queue_->Shutdown();
  if (thread_.joinable()) {
    thread_.join();
    return;
  }
  void* tag = nullptr;
  bool ok = false;
  while (queue_->Next(&tag, &ok)) {
  }
}

}  // namespace takt::server::rpc
