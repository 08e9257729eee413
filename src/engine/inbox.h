// SPDX-License-Identifier: Apache-2.0
// The way into the dispatcher: what other threads tell it, in one order.
// Thread-safe: post and the counts from any thread, take from the dispatcher.
// Owns: the events in it, and with them the requests.
#pragma once

#include "engine/request.h"
#include "scheduler/event.h"
#include "scheduler/profile.h"

#include <condition_variable>
#include <cstddef>
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
  Instances instances;
  scheduler::ModelAdded added;  // without instances: the dispatcher numbers them
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
// The worker of a model has gone, or serves again.
struct InstancesGone {
  ModelId model;
  bool suspend = false;  // not back soon: its requests are refused at once
};
struct InstancesBack {
  ModelId model;
};
struct ProfileWanted {
  ModelId model;
  std::promise<std::vector<scheduler::ProfilePoint>> profile;
};

using Message = std::variant<Submitted, Withdrawn, BatchEnded, ModelCame, ModelGoes, StopBegins,
                             HurryUp, ClockMoved, InstancesGone, InstancesBack, ProfileWanted>;

class Inbox {
 public:
  explicit Inbox(std::size_t requests_max) : requests_max_(requests_max) {}

  // What comes from callers is bounded. On failure the request is left where it was. Errors:
  // unavailable (full, or closed).
  [[nodiscard]] Result<void> post_request(std::unique_ptr<PendingRequest>& request);
  [[nodiscard]] bool post_withdrawal(RequestId request);
  // What the engine itself posts is bounded by its instances and callers. False when closed: the
  // message is dropped.
  bool post(Message message);

  // Waits for messages, but no longer than `wait_max`; swaps them with `taken`, which must be
  // empty. False once closed and empty.
  [[nodiscard]] bool take(std::vector<Message>& taken, std::optional<Duration> wait_max);
  void close();

  [[nodiscard]] std::size_t depth() const;

 private:
  template <typename M>
  void push(std::unique_lock<std::mutex>& lock, M message);

  const std::size_t requests_max_;

  mutable std::mutex mutex_;
  // Guarded by mutex_:
  std::vector<Message> messages_;
  bool sleeping_ = false;
  bool closed_ = false;

  std::condition_variable wake_;
};

}  // namespace takt::engine
