// SPDX-License-Identifier: Apache-2.0
#include "scheduler/simulator.h"

#include "scheduler/profile.h"
#include "scheduler/random.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>
#include <queue>
#include <utility>

namespace takt::scheduler {

namespace {

constexpr std::uint32_t kStopStream = UINT32_MAX;

struct Pending {
  enum class Kind : std::uint8_t {
    arrival,
    completion,
    cancel,
    timer,
    lost,
    ready,
    suspended,
    stop
  };
  TimePoint at;
  std::uint64_t order = 0;  // equal times happen in the order in which they were planned
  Kind kind = Kind::timer;
  std::uint64_t subject = 0;  // stream, batch, request, timer generation, instance or model

  bool operator<(const Pending& other) const {  // the latest is the least, for priority_queue
    return at != other.at ? at > other.at : order > other.order;
  }
};

struct SimulatedRequest {
  std::uint32_t stream = 0;
  TimePoint arrived;
  TimePoint deadline;
};

// Where an instance runs, and how long batches really take there.
struct SimulatedInstance {
  std::size_t model = 0;  // in Workload::models
  DeviceId device;
  std::size_t times = 0;  // in Simulation::times_
  std::optional<BatchId> batch;
};

struct SimulatedBatch {
  InstanceId instance;
  TimePoint started;
  Duration exec{};
  bool failed = false;
  int rows = 0;
  bool lost = false;  // with its instance; the completion still comes, as it may in life
  std::vector<RequestId> requests;
};

class Hash {
 public:
  void add(std::uint64_t value) { value_ = mix64(value_ ^ value); }
  [[nodiscard]] std::uint64_t value() const { return value_; }

  void add(const StartBatch& a) {
    add(1);
    add(a.batch.value);
    add(a.instance.value);
    for (const RequestId request : a.requests) add(request.value);
  }
  void add(const Refuse& a) {
    add(2);
    add(a.request.value);
    add(static_cast<std::uint64_t>(a.reason));
  }
  void add(const Expire& a) { add(3), add(a.request.value); }
  void add(const Cancelled& a) { add(4), add(a.request.value); }
  void add(const ArmTimer& a) {
    add(5), add(static_cast<std::uint64_t>(a.at.time_since_epoch().count()));
  }
  void add(const ModelRefused& a) { add(6), add(a.model.value); }
  void add(const ModelDrained& a) { add(7), add(a.model.value); }
  void add(const LaneReserved& a) { add(9), add(a.device.value); }
  void add(const BatchLimitChanged& a) { add(10), add(static_cast<std::uint64_t>(a.rows)); }
  void add(const Stopped& /*a*/) { add(8); }

 private:
  std::uint64_t value_ = 0;
};

class Simulation {
 public:
  Simulation(const Workload& workload, Scheduler scheduler, SimulationObserver* observer)
      : workload_(workload),
        scheduler_(std::move(scheduler)),
        observer_(observer),
        random_(workload.seed) {
    result_.streams.resize(workload.arrivals.size());
    result_.lane_time.resize(workload.options.devices.size());
    for (std::size_t i = 0; i < workload.models.size(); ++i) {
      const ModelAdded& added = workload.models[i].added;
      place(i, added.device, added.instances, added.profile);
      for (const ReplicaAdded& replica : workload.models[i].replicas) {
        place(i, replica.device, replica.instances, replica.profile);
      }
    }
  }

  Result<SimulationResult> run() {
    for (const SimulatedModel& model : workload_.models) {
      apply(model.added);
      for (ReplicaAdded replica : model.replicas) {
        replica.model = model.added.model;
        apply(replica);
      }
      for (ArrivalsExpected expected : model.expected) {
        expected.model = model.added.model;
        apply(expected);
      }
    }
    for (std::uint32_t i = 0; i < workload_.arrivals.size(); ++i) {
      plan(workload_.arrivals[i].phase, Pending::Kind::arrival, i);
    }
    for (const InstanceId instance : in_order_) plan_loss(instance);
    for (std::size_t i = 0; i < workload_.models.size(); ++i) plan_suspension(i);
    plan(workload_.duration, Pending::Kind::stop, kStopStream);
    while (!pending_.empty() && !model_refused_) {
      const Pending next = pending_.top();
      pending_.pop();
      now_ = next.at;
      happen(next);
    }
    if (model_refused_) return std::unexpected(*model_refused_);
    for (StreamResult& stream : result_.streams) std::ranges::sort(stream.latencies);
    result_.statistics = scheduler_.statistics();
    result_.action_hash = hash_.value();
    result_.end = now_;
    return std::move(result_);
  }

 private:
  void place(std::size_t model, DeviceId device, const std::vector<InstanceId>& instances,
             const std::vector<LatencyPoint>& profile) {
    const std::size_t times = times_.size();
    times_.emplace_back(profile, workload_.models[model].added.limits.batch_max);
    for (const InstanceId instance : instances) {
      if (instances_.size() <= instance.value) instances_.resize(instance.value + std::size_t{1});
      instances_[instance.value] = {.model = model, .device = device, .times = times, .batch = {}};
      in_order_.push_back(instance);
    }
  }

  void plan(Duration after, Pending::Kind kind, std::uint64_t subject) {
    pending_.push({now_ + after, ++planned_, kind, subject});
  }

  void plan_loss(InstanceId instance) {
    if (workload_.faults.mean_between <= Duration{}) return;
    const double mean = static_cast<double>(workload_.faults.mean_between.count());
    plan(Duration(static_cast<std::int64_t>(random_.exponential(mean))), Pending::Kind::lost,
         instance.value);
  }

  void happen(const Pending& next) {
    switch (next.kind) {
      case Pending::Kind::arrival:
        return arrive(static_cast<std::uint32_t>(next.subject));
      case Pending::Kind::completion:
        return complete(next.subject);
      case Pending::Kind::cancel:
        return apply(RequestCancelled{RequestId{next.subject}});
      case Pending::Kind::timer:
        if (next.subject == timer_generation_) apply(TimerFired{});
        return;
      case Pending::Kind::lost:
        return lose(InstanceId{static_cast<std::uint32_t>(next.subject)});
      case Pending::Kind::ready:
        return come_back(InstanceId{static_cast<std::uint32_t>(next.subject)});
      case Pending::Kind::suspended:
        return suspend(static_cast<std::size_t>(next.subject));
      case Pending::Kind::stop:
        stopping_ = true;
        return apply(Stop{});
    }
  }

  void arrive(std::uint32_t index) {
    if (stopping_ || requests_.size() >= workload_.requests_max) return;
    const ArrivalProcess& process = workload_.arrivals[index];
    plan_next_arrival(process, index);
    TimePoint deadline = kNever;
    if (process.deadline_max > Duration{}) {
      deadline = now_ + Duration(random_.between(process.deadline_min.count(),
                                                 process.deadline_max.count()));
    }
    const RequestId id{requests_.size()};
    requests_.push_back({index, now_, deadline});
    ++result_.streams[index].offered;
    if (random_.chance(process.cancel_probability)) {
      const Duration within = deadline == kNever ? process.interval * 10 : deadline - now_;
      plan(Duration(random_.between(0, within.count())), Pending::Kind::cancel, id.value);
    }
    const int rows = static_cast<int>(random_.between(process.rows_min, process.rows_max));
    apply(RequestArrived{id, process.model, process.priority, deadline, rows, process.bytes,
                         process.flow});
  }

  void plan_next_arrival(const ArrivalProcess& process, std::uint32_t index) {
    if (process.pattern == ArrivalPattern::poisson) {
      const double mean = static_cast<double>(process.interval.count());
      plan(Duration(static_cast<std::int64_t>(random_.exponential(mean))), Pending::Kind::arrival,
           index);
      return;
    }
    // The grid stays: the jitter of one arrival doesn't move the next.
    const auto number = static_cast<std::int64_t>(result_.streams[index].offered) + 1;
    const TimePoint grid = TimePoint(process.phase) + process.interval * number;
    const Duration jitter(random_.between(0, process.jitter_max.count()));
    plan(std::max(Duration{}, grid + jitter - now_), Pending::Kind::arrival, index);
  }

  void start(const StartBatch& action) {
    SimulatedInstance& instance = instances_[action.instance.value];
    const SimulatedModel& simulated = workload_.models[instance.model];
    SimulatedBatch batch;
    batch.instance = action.instance;
    batch.started = now_;
    batch.requests.assign(action.requests.begin(), action.requests.end());
    batch.exec = draw(simulated, times_[instance.times], action.rows);
    batch.failed = random_.chance(simulated.failure_probability);
    batch.rows = action.rows;
    instance.batch = action.batch;
    plan(batch.exec, Pending::Kind::completion, action.batch.value);
    batches_.resize(std::max<std::size_t>(batches_.size(), action.batch.value + 1));
    batches_[action.batch.value] = std::move(batch);
  }

  Duration draw(const SimulatedModel& model, const LatencyProfile& times, int rows) {
    const auto p50 = static_cast<double>(std::max(Duration(1), times.p50(rows)).count());
    const auto p99 = static_cast<double>(times.p99(rows).count());
    if (model.times == ExecutionTimes::exactly_p99) {
      return Duration(static_cast<std::int64_t>(p99 * model.slowdown));
    }
    constexpr double kStandardNormalP99 = 2.3263478740408408;
    const double sigma = std::log(std::max(1.0, p99 / p50)) / kStandardNormalP99;
    return Duration(
        static_cast<std::int64_t>(p50 * model.slowdown * std::exp(sigma * random_.normal())));
  }

  void complete(std::uint64_t id) {
    SimulatedBatch& batch = batches_[id];
    const SimulatedModel& model = workload_.models[instances_[batch.instance.value].model];
    const bool too_large = model.memory_rows_max > 0 && batch.rows > model.memory_rows_max &&
                           now_.time_since_epoch() < model.memory_short_until;
    BatchCompleted completed{BatchId{id}, batch.instance, batch.exec, std::nullopt};
    if (batch.failed) completed.error = ErrorKind::internal;
    if (too_large) completed.error = ErrorKind::out_of_memory;
    if (!batch.lost) end(batch, completed.error.has_value());
    if (too_large) apply(RanOutOfMemory{completed.instance, batch.rows});
    apply(completed);
  }

  void end(SimulatedBatch& batch, bool failed) {
    SimulatedInstance& instance = instances_[batch.instance.value];
    instance.batch.reset();
    result_.lane_time[instance.device.value] += now_ - batch.started;
    for (const RequestId id : batch.requests) {
      const SimulatedRequest& request = requests_[id.value];
      StreamResult& stream = result_.streams[request.stream];
      ++(failed ? stream.failed : now_ <= request.deadline ? stream.in_time : stream.late);
      if (!failed) stream.latencies.push_back(now_ - request.arrived);
    }
    batch.requests = {};
  }

  void lose(InstanceId instance) {
    if (stopping_) return;
    plan(workload_.faults.down, Pending::Kind::ready, instance.value);
    if (const auto running = instances_[instance.value].batch) {
      SimulatedBatch& batch = batches_[running->value];
      batch.lost = true;
      end(batch, true);
    }
    apply(InstanceLost{instance});
  }

  void plan_suspension(std::size_t model) {
    if (workload_.suspensions.mean_between <= Duration{}) return;
    const double mean = static_cast<double>(workload_.suspensions.mean_between.count());
    plan(Duration(static_cast<std::int64_t>(random_.exponential(mean))), Pending::Kind::suspended,
         model);
  }

  void suspend(std::size_t index) {
    const ModelAdded& model = workload_.models[index].added;
    if (stopping_ || model.instances.empty()) return;
    apply(ModelSuspended{model.model});
    plan(workload_.suspensions.down, Pending::Kind::ready, model.instances.front().value);
    plan_suspension(index);
  }

  void come_back(InstanceId instance) {
    plan_loss(instance);
    const std::size_t model = instances_[instance.value].model;
    apply(InstanceReady{.instance = instance, .model = workload_.models[model].added.model});
  }

  void apply(const Event& event) {
    ++result_.events;
    actions_.clear();
    scheduler_.apply(event, now_, actions_);
    for (const Action& action : actions_) {
      hash_.add(static_cast<std::uint64_t>(now_.time_since_epoch().count()));
      std::visit([this](const auto& asked) { hash_.add(asked), obey(asked); }, action);
    }
    if (observer_ != nullptr) observer_->applied(event, now_, actions_, scheduler_);
  }

  void obey(const StartBatch& action) { start(action); }
  void obey(const Refuse& action) {
    ++stream_of(action.request).refused[static_cast<std::size_t>(action.reason)];
  }
  void obey(const Expire& action) { ++stream_of(action.request).expired; }
  void obey(const Cancelled& action) { ++stream_of(action.request).cancelled; }
  void obey(const ArmTimer& action) {
    plan(std::max(Duration{}, action.at - now_), Pending::Kind::timer, ++timer_generation_);
  }
  void obey(const ModelRefused& action) { model_refused_ = action.error; }
  void obey(const ModelDrained& /*action*/) {}
  void obey(const LaneReserved& /*action*/) {}
  void obey(const BatchLimitChanged& /*action*/) {}
  void obey(const Stopped& /*action*/) { result_.stopped = true; }

  StreamResult& stream_of(RequestId id) { return result_.streams[requests_[id.value].stream]; }

  const Workload& workload_;
  Scheduler scheduler_;
  SimulationObserver* observer_;
  Random random_;
  std::vector<LatencyProfile> times_;         // the truth, by replica
  std::vector<SimulatedInstance> instances_;  // by id
  std::vector<InstanceId> in_order_;
  std::priority_queue<Pending> pending_;
  std::vector<SimulatedRequest> requests_;  // by id
  std::vector<SimulatedBatch> batches_;     // by id
  std::vector<Action> actions_;
  std::optional<Error> model_refused_;
  Hash hash_;
  SimulationResult result_;
  TimePoint now_{};
  std::uint64_t planned_ = 0;
  std::uint64_t timer_generation_ = 0;
  bool stopping_ = false;
};

Result<void> check(const Workload& workload) {
  for (std::size_t i = 0; i < workload.models.size(); ++i) {
    const SimulatedModel& model = workload.models[i];
    const auto unknown = [](const ReplicaAdded& replica) { return replica.profile.empty(); };
    if (!model.added.profile.empty() && std::ranges::none_of(model.replicas, unknown)) continue;
    return fail(ErrorKind::invalid_input,
                "models[" + std::to_string(i) + "]: no latency profile; measure it by loading it");
  }
  for (std::size_t i = 0; i < workload.arrivals.size(); ++i) {
    const ArrivalProcess& process = workload.arrivals[i];
    const std::string place = "arrivals[" + std::to_string(i) + "]: ";
    const bool known = std::ranges::any_of(workload.models, [&](const SimulatedModel& model) {
      return model.added.model == process.model;
    });
    if (!known) {
      return fail(ErrorKind::invalid_input,
                  place + "there is no model " + std::to_string(process.model.value));
    }
    if (process.interval <= Duration{} || process.jitter_max < Duration{} ||
        process.deadline_min > process.deadline_max || process.rows_min > process.rows_max) {
      return fail(ErrorKind::invalid_input,
                  place +
                      "expected interval > 0, jitter_max >= 0, deadline_min <= deadline_max and "
                      "rows_min <= rows_max");
    }
  }
  return {};
}

}  // namespace

std::uint64_t StreamResult::answered() const noexcept {
  const std::uint64_t refusals = std::accumulate(refused.begin(), refused.end(), std::uint64_t{0});
  return in_time + late + failed + refusals + expired + cancelled;
}

Duration StreamResult::latency_quantile(double quantile) const {
  if (latencies.empty()) return Duration{};
  const double rank = std::ceil(quantile * static_cast<double>(latencies.size()));
  const auto index = static_cast<std::size_t>(std::max(1.0, rank)) - 1;
  return latencies[std::min(index, latencies.size() - 1)];
}

Result<SimulationResult> simulate(const Workload& workload, SimulationObserver* observer) {
  if (auto checked = check(workload); !checked) {
    return std::unexpected(std::move(checked.error()).within("workload"));
  }
  auto scheduler = Scheduler::create(workload.options);
  if (!scheduler) return std::unexpected(std::move(scheduler.error()).within("workload"));
  return Simulation(workload, std::move(*scheduler), observer).run();
}

}  // namespace takt::scheduler
