// SPDX-License-Identifier: Apache-2.0
// The way into the dispatcher: what other threads tell it, in one order.
// Thread-safe: every member; serve from one thread.
// Owns: the messages in it, and with them the requests.
#pragma once

#include "core/time.h"
#include "engine/request.h"
#include "scheduler/event.h"
#include "scheduler/profile.h"

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <variant>
#include <vector>

namespace takt::engine {

using Instances = std::vector<std::unique_ptr<Instance>>;

struct Submitted {
  std::unique_ptr<PendingRequest> request;
  scheduler::RequestArrived arrival;  // of the request, made where its data lies in the cache
};
struct Withdrawn {
  RequestId request;
};
// The members are answered already, unless `error` is set and worth splitting.
struct BatchEnded {
  std::shared_ptr<RunningBatch> batch;
  Duration exec{};
  std::optional<Error> error;
};
// What became of a new model; its instances come back when it was refused.
struct Admission {
  Result<void> accepted;
  Instances returned;
};
struct ModelCame {
  std::shared_ptr<const ServedModel> model;
  ServedReplicaPtr replica;
  Instances instances;
  scheduler::ModelAdded added;  // without instances: the dispatcher numbers them
  bool further = false;         // a replica of a model that is there, whose limits stay
  std::promise<Admission> admission;
};
// The instances come back when nothing of the model waits or runs any more.
struct ModelGoes {
  ModelId model;
  std::promise<Instances> drained;
};
struct StopBegins {
  std::promise<void> stopped;
};
// To a removal or stop under way: the patience for the next step is over. Without a model: all.
enum class Hurry : std::uint8_t { refuse_waiting, abandon_running };
struct HurryUp {
  std::optional<ModelId> model;
  Hurry step = Hurry::refuse_waiting;
};
struct ClockMoved {};
// The worker of a model on one device has gone, or serves again.
struct InstancesGone {
  ModelId model;
  DeviceId device;
  bool suspend =
      false;  // not back soon: where no other device runs it, requests are refused at once
};
struct InstancesBack {
  ModelId model;
  DeviceId device;
};
struct ProfileWanted {
  ModelId model;
  DeviceId device;
  std::promise<std::vector<scheduler::ProfilePoint>> profile;
};

using Message = std::variant<Submitted, Withdrawn, BatchEnded, ModelCame, ModelGoes, StopBegins,
                             HurryUp, ClockMoved, InstancesGone, InstancesBack, ProfileWanted,
                             scheduler::ArrivalsExpected>;

// Messages are worked on in turns: one thread at a time has the turn, takes what is there and works
// on it. Whoever posts a request, a withdrawal or the end of a batch while nobody has the turn takes
// it itself, because waking another thread costs more than deciding. The dispatcher's thread does
// the rest: what lies there when a poster has done its share, timers, and messages of threads that
// may hold locks. While some thread looks, posters leave it to that one: what decides stays in the
// caches of one core.
class Inbox {
 public:
  // What a thread that takes the turn will do afterwards, one after the other: what usually takes no
  // longer than `spare` in all.
  struct Offer {
    Duration spare{};  // that is left
    std::vector<std::move_only_function<void()>> errands;
  };
  // Works on messages, in the order in which they came, and says when it wants a turn without one
  // (kNever: not). It may post, and take up the offer, if there is one. Not called by two threads at a
  // time; must not throw.
  using Round = std::function<TimePoint(std::vector<Message>&, Offer*)>;

  explicit Inbox(std::size_t requests_max) : requests_max_(requests_max) {}

  // What comes from callers is bounded; each class leaves an eighth more of the room than the one
  // above it, so that a burst of lower classes leaves room for critical requests. On failure the
  // request is left where it was. Errors: overloaded (full), unavailable (closed). May take the turn, as
  // post_withdrawal, post_end and flush; with `more_come` it is left to flush(), while there is room for plenty.
  [[nodiscard]] Result<void> post_request(std::unique_ptr<PendingRequest>& request,
                                          const scheduler::RequestArrived& arrival);
  void flush(Duration spare);
  [[nodiscard]] bool post_withdrawal(RequestId request);
  // What the engine itself posts is bounded by its instances and callers. False when closed: the
  // message is dropped. `leave`: takes no turn; whoever posts it calls look() soon.
  bool post_end(BatchEnded message, bool leave = false);
  // As post_end, but the dispatcher's thread does the work.
  bool post(Message message);

  // A thread that spins for something else looks here too, with something_posted() and look(), from
  // start_looking() to stop_looking().
  void start_looking() noexcept { lookers_.fetch_add(1, std::memory_order_seq_cst); }
  void stop_looking();
  [[nodiscard]] bool something_posted() const noexcept {
    return posted_.load(std::memory_order_relaxed);
  }
  void look();  // takes the turn if a message waits for one

  // The dispatcher's thread: takes turns until the inbox is closed and empty. Afterwards nobody has
  // the turn, and nobody will.
  void serve(const Clock& clock, Round round);
  void close();

  [[nodiscard]] std::size_t depth() const;

 private:
  using Lock = std::unique_lock<std::mutex>;
  void push(Lock& lock, Message message, bool may_take_turn);
  // The work on what has been pushed.
  void begin(Lock& lock, bool may_take_turn, Offer* offer = nullptr);
  void take_turn(Lock& lock, std::size_t messages_max, Offer* offer = nullptr);
  void wake(Lock& lock);

  const std::size_t requests_max_;

  mutable std::mutex mutex_;
  // Guarded by mutex_:
  std::vector<Message> messages_;
  Round round_;  // empty until serve(); called by whoever has the turn
  bool turn_taken_ = false;
  TimePoint timer_ = kNever;                   // the next turn without a message
  TimePoint asleep_until_ = TimePoint::min();  // of the dispatcher's thread; min: it is awake
  bool closed_ = false;

  // A poster stores the first, then loads the second; whoever stops looking does it the other way
  // round, so at least one of them sees the message.
  alignas(64) std::atomic<bool> posted_{false};
  std::atomic<int> lookers_{0};

  std::vector<Message> taken_;  // of whoever has the turn
  std::condition_variable wake_;
};

}  // namespace takt::engine
