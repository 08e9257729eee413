// SPDX-License-Identifier: Apache-2.0
// The thread that gRPC's events come on, and what other threads hand over to it.
// Thread-safe: post() from any thread; events run on the poller's own. Private to server/grpc.
// Owns: its thread; the queue of events is the server's builder's.
#pragma once

#include <grpcpp/alarm.h>
#include <grpcpp/completion_queue.h>

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace takt::server::rpc {

// What gRPC is given to hand back when an operation has ended.
class Event {
 public:
  Event() = default;
  virtual ~Event() = default;
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  // `ok` as gRPC says of the operation.
  virtual void happened(bool ok) = 0;
};

class Poller {
 public:
  using Work = std::move_only_function<void()>;

  explicit Poller(std::unique_ptr<::grpc::ServerCompletionQueue> queue);
  ~Poller();
  Poller(const Poller&) = delete;
  Poller& operator=(const Poller&) = delete;

  [[nodiscard]] ::grpc::ServerCompletionQueue* queue() noexcept { return queue_.get(); }
  // Calls `work` again and again on the poller's thread, until it stops. Before start(), once.
  void every(std::chrono::milliseconds interval, std::function<void()> work);
  void start();
  // Of the poller's thread: once no further event has come, or after a few, `work` is called, which may
  // be given once before start().
  void at_pauses(std::function<void()> work) { pause_work_ = std::move(work); }
  void want_pause() noexcept {
    if (events_to_pause_ == 0) events_to_pause_ = kEventsMax;
  }
  // Runs `work` on the poller's thread, in the order of the calls.
  void post(Work work);
  // After the server has shut down: waits for the last event.
  void stop();

 private:
  class Handover final : public Event {
   public:
    explicit Handover(Poller& poller) : poller_(poller) {}
    void happened(bool ok) override;

   private:
    Poller& poller_;
  };

  // The alarm of every().
  class Beat final : public Event {
   public:
    explicit Beat(Poller& poller) : poller_(poller) {}
    void happened(bool ok) override;

   private:
    Poller& poller_;
  };

  static constexpr int kEventsMax = 32;
  // Without anything for us, until nothing has come. gRPC's AsyncNext takes the news of one connection,
  // which may be no more than a ping; and the first after an operation that ended on this thread, as the
  // read of a message that had come already, returns without looking.
  static constexpr int kLooks = 4;

  void run();
  [[nodiscard]] bool next(void** tag, bool* ok);
  void set_beat();
  void work();

  const std::unique_ptr<::grpc::ServerCompletionQueue> queue_;
  Handover handover_{*this};
  ::grpc::Alarm alarm_;
  Beat beat_{*this};
  ::grpc::Alarm beat_alarm_;
  std::chrono::milliseconds beat_interval_{0};  // 0: none
  std::function<void()> beat_work_;
  std::function<void()> pause_work_;
  int events_to_pause_ = 0;  // at most; 0: none is wanted. Of the poller's thread
  std::thread thread_;
  std::mutex mutex_;
  // Guarded by mutex_:
  std::vector<Work> posted_;
  bool awaited_ = false;  // the alarm has been set and has not gone off
  bool stopped_ = false;
};

}  // namespace takt::server::rpc
