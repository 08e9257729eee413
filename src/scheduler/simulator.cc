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
constexpr std::uint32_t kNoFrame = UINT32_MAX;
constexpr std::size_t kStagesMax = 64;  // of a line

struct Pending {
  enum class Kind : std::uint8_t {
    arrival,
    frame,
    stage,
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
  // Stream, line, frame and stage, batch, request, timer generation, instance or model.
  std::uint64_t subject = 0;

  bool operator<(const Pending& other) const {  // the latest is the least, for priority_queue
    return at != other.at ? at > other.at : order > other.order;
  }
};

struct SimulatedRequest {
  std::uint32_t stream = 0;
  TimePoint arrived;
  TimePoint deadline;
  Duration overhead{};
  std::uint32_t frame = kNoFrame;
  std::uint32_t stage = 0;
};

// A frame on its way. A stage whose parent failed is never asked, as in a line.
struct SimulatedFrame {
  std::uint32_t process = 0;
  TimePoint arrived;
  TimePoint deadline;
  std::size_t stages_open = 0;
  bool executed = true;  // all of it so far, in time or not
  bool in_time = true;
  std::uint64_t stages_failed = 0;  // a bit each
  TimePoint last;                   // answer
  std::array<int, kStagesMax> requests_open{};
};

// Where an instance runs, and how long batches really take there.
struct SimulatedInstance {
  std::size_t model = 0;  // in Workload::models
  DeviceId device;
  std::size_t times = 0;  // in Simulation::times_ and real_
  std::optional<BatchId> batch;
};

struct SimulatedBatch {
  InstanceId instance;
  TimePoint started;
  Duration overhead{};
  double left_ns = 0;  // at full speed
  double speed = 1;
  TimePoint seen;                // when left_ns was taken
  std::uint64_t completion = 0;  // the order of the event that ends it
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
    std::size_t streams = workload.arrivals.size();
    for (const FrameProcess& process : workload.frames) {
      first_stream_.push_back(streams);
      streams += process.stages.size();
    }
    result_.streams.resize(streams);
    result_.frames.resize(workload.frames.size());
    result_.lane_time.resize(workload.options.devices.size());
    running_.resize(workload.options.devices.size());
    for (std::size_t i = 0; i < workload.models.size(); ++i) {
      const ModelAdded& added = workload.models[i].added;
      const std::size_t id = added.model.value;
      model_index_.resize(std::max(model_index_.size(), id + 1));
      model_index_[id] = i;
      const SimulatedModel& model = workload.models[i];
      const DeviceTimes first{model.times, model.samples, model.contention, model.batch_overhead};
      place(i, added.device, added.instances, added.profile, first);
      for (std::size_t j = 0; j < model.replicas.size(); ++j) {
        const ReplicaAdded& replica = model.replicas[j];
        place(i, replica.device, replica.instances, replica.profile,
              j < model.replica_times.size() ? model.replica_times[j] : first);
      }
    }
    contended_ =
        std::ranges::any_of(real_, [](const DeviceTimes& real) { return real.contention != 1.0; });
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
      const ArrivalProcess& process = workload_.arrivals[i];
      if (process.pattern != ArrivalPattern::listed) {
        plan(process.phase, Pending::Kind::arrival, i);
      } else if (!process.listed.empty()) {
        plan(process.listed.front().at, Pending::Kind::arrival, i);
      }
    }
    for (std::uint32_t i = 0; i < workload_.frames.size(); ++i) {
      plan(workload_.frames[i].phase, Pending::Kind::frame, i);
      announce(workload_.frames[i]);
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
    for (FrameResult& frames : result_.frames) std::ranges::sort(frames.latencies);
    result_.statistics = scheduler_.statistics();
    result_.action_hash = hash_.value();
    result_.end = now_;
    return std::move(result_);
  }

 private:
  void place(std::size_t model, DeviceId device, const std::vector<InstanceId>& instances,
             const std::vector<LatencyPoint>& profile, const DeviceTimes& real) {
    const std::size_t times = times_.size();
    real_.push_back(real);
    times_.emplace_back(profile, workload_.models[model].added.limits.batch_max);
    for (const InstanceId instance : instances) {
      if (instances_.size() <= instance.value) instances_.resize(instance.value + std::size_t{1});
      instances_[instance.value] = {.model = model, .device = device, .times = times, .batch = {}};
      in_order_.push_back(instance);
    }
  }

  std::uint64_t plan(Duration after, Pending::Kind kind, std::uint64_t subject) {
    pending_.push({now_ + after, ++planned_, kind, subject});
    return planned_;
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
      case Pending::Kind::frame:
        return begin_frame(static_cast<std::uint32_t>(next.subject));
      case Pending::Kind::stage:
        return ask(static_cast<std::uint32_t>(next.subject / kStagesMax),
                   next.subject % kStagesMax);
      case Pending::Kind::completion:
        if (batches_[next.subject].completion == next.order) complete(next.subject);
        return;
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
    requests_.push_back({index, now_, deadline, model_of(process.model).request_overhead});
    ++result_.streams[index].offered;
    if (random_.chance(process.cancel_probability)) {
      const Duration within = deadline == kNever ? process.interval * 10 : deadline - now_;
      plan(Duration(random_.between(0, within.count())), Pending::Kind::cancel, id.value);
    }
    const int rows = process.pattern == ArrivalPattern::listed
                         ? process.listed[result_.streams[index].offered - 1].rows
                         : static_cast<int>(random_.between(process.rows_min, process.rows_max));
    apply(RequestArrived{id, process.model, process.priority, deadline, rows, process.bytes,
                         process.flow});
  }

  [[nodiscard]] const SimulatedModel& model_of(ModelId model) const {
    return workload_.models[model_index_[model.value]];
  }

  Duration exponential(Duration mean) {
    return Duration(
        static_cast<std::int64_t>(random_.exponential(static_cast<double>(mean.count()))));
  }

  void plan_next_arrival(const ArrivalProcess& process, std::uint32_t index) {
    if (process.pattern == ArrivalPattern::listed) {
      const std::size_t next = result_.streams[index].offered + 1;
      if (next >= process.listed.size()) return;
      plan(std::max(Duration{}, TimePoint(process.listed[next].at) - now_), Pending::Kind::arrival,
           index);
      return;
    }
    if (process.pattern == ArrivalPattern::poisson) {
      plan(exponential(process.interval), Pending::Kind::arrival, index);
      return;
    }
    // The grid stays: the jitter of one arrival doesn't move the next.
    const auto number = static_cast<std::int64_t>(result_.streams[index].offered) + 1;
    const TimePoint grid = TimePoint(process.phase) + process.interval * number;
    const Duration jitter(random_.between(0, process.jitter_max.count()));
    plan(std::max(Duration{}, grid + jitter - now_), Pending::Kind::arrival, index);
  }

  // Frames ----------------------------------------------------------------------------------------

  // As Stages::announce of src/line, for lines that keep a pace.
  void announce(const FrameProcess& process) {
    constexpr int kEarlyDivisor = 10;
    if (process.pattern != ArrivalPattern::periodic || process.deadline <= Duration{}) return;
    for (std::size_t i = 0; i < process.stages.size(); ++i) {
      const FrameStage& stage = process.stages[i];
      if (stage.parent || stage.priority != PriorityClass::critical) continue;
      const Duration time = stage.deadline > Duration{} ? std::min(process.deadline, stage.deadline)
                                                        : process.deadline;
      const Duration within = time - expected_after(process, i);
      if (within <= Duration{}) continue;
      apply(ArrivalsExpected{.model = stage.model,
                             .flow = process.flow,
                             .min_interval = process.interval - process.interval / kEarlyDivisor,
                             .deadline = within});
    }
  }

  void begin_frame(std::uint32_t index) {
    const FrameProcess& process = workload_.frames[index];
    FrameResult& result = result_.frames[index];
    if (stopping_ || requests_.size() >= workload_.requests_max ||
        result.offered >= process.frames_max) {
      return;
    }
    ++result.offered;
    if (process.pattern == ArrivalPattern::poisson) {
      plan(exponential(process.interval), Pending::Kind::frame, index);
    } else {
      const auto number = static_cast<std::int64_t>(result.offered);
      plan(TimePoint(process.phase) + process.interval * number - now_, Pending::Kind::frame,
           index);
    }
    SimulatedFrame& frame = frames_.emplace_back();
    frame.process = index;
    frame.arrived = now_;
    frame.deadline = process.deadline > Duration{} ? now_ + process.deadline : kNever;
    frame.stages_open = process.stages.size();
    const auto id = static_cast<std::uint32_t>(frames_.size() - 1);
    for (std::size_t i = 0; i < process.stages.size(); ++i) {
      if (!process.stages[i].parent) ask(id, i);
    }
  }

  void ask(std::uint32_t id, std::size_t index) {
    const FrameProcess& process = workload_.frames[frames_[id].process];
    const FrameStage& stage = process.stages[index];
    const TimePoint deadline = stage_deadline(frames_[id], index);
    const auto stream = static_cast<std::uint32_t>(first_stream_[frames_[id].process] + index);
    frames_[id].requests_open[index] = stage.requests;
    if (stage.requests <= 0) return end_stage(id, index);
    for (int i = 0; i < stage.requests; ++i) {
      const RequestId request{requests_.size()};
      requests_.push_back({stream, now_, deadline, model_of(stage.model).request_overhead, id,
                           static_cast<std::uint32_t>(index)});
      ++result_.streams[stream].offered;
      apply(RequestArrived{request, stage.model, stage.priority, deadline, 1, 0, process.flow});
    }
  }

  // As Stages::stage_deadline of src/line: what follows must still fit behind it.
  TimePoint stage_deadline(const SimulatedFrame& frame, std::size_t index) const {
    const FrameProcess& process = workload_.frames[frame.process];
    const FrameStage& stage = process.stages[index];
    TimePoint end = frame.deadline;
    if (stage.deadline > Duration{}) end = std::min(end, frame.arrived + stage.deadline);
    const Duration after = expected_after(process, index);
    if (end == kNever || after == Duration{}) return end;
    return end - after < now_ + expected_of(stage) ? end : end - after;
  }

  Duration expected_after(const FrameProcess& process, std::size_t index) const {
    Duration longest{};
    for (std::size_t i = index + 1; i < process.stages.size(); ++i) {
      if (process.stages[i].parent != index) continue;
      longest = std::max(longest, expected_of(process.stages[i]) + expected_after(process, i));
    }
    return longest;
  }

  Duration expected_of(const FrameStage& stage) const {
    const int batch_max = std::max(1, model_of(stage.model).added.limits.batch_max);
    const int rows = std::max(1, stage.requests);
    const int batches = (rows + batch_max - 1) / batch_max;
    return scheduler_.expected_p99(stage.model, std::min(rows, batch_max)) * batches;
  }

  // `executed`: with a result, be it late. The children of a stage follow once the scheduler has
  // heard of the rest of this event.
  void end_request(const SimulatedRequest& request, bool executed, bool in_time) {
    if (request.frame == kNoFrame) return;
    SimulatedFrame& frame = frames_[request.frame];
    frame.executed &= executed;
    frame.in_time &= in_time;
    if (!executed) frame.stages_failed |= std::uint64_t{1} << request.stage;
    frame.last = now_ + request.overhead;
    if (--frame.requests_open[request.stage] == 0) end_stage(request.frame, request.stage);
  }

  void end_stage(std::uint32_t id, std::size_t index) {
    SimulatedFrame& frame = frames_[id];
    close_stage(frame, id, index);
    if (frame.stages_open > 0) return;
    FrameResult& result = result_.frames[frame.process];
    ++(frame.executed && frame.in_time ? result.in_time : result.missed);
    if (frame.executed) result.latencies.push_back(frame.last - frame.arrived);
  }

  void close_stage(SimulatedFrame& frame, std::uint32_t id, std::size_t index) {
    const FrameProcess& process = workload_.frames[frame.process];
    const bool failed = (frame.stages_failed >> index & 1U) != 0;
    --frame.stages_open;
    for (std::size_t i = index + 1; i < process.stages.size(); ++i) {
      if (process.stages[i].parent != index) continue;
      if (failed) {
        frame.stages_failed |= std::uint64_t{1} << i;
        close_stage(frame, id, i);
      } else {
        plan(Duration{}, Pending::Kind::stage, id * kStagesMax + i);
      }
    }
  }

  // Batches ---------------------------------------------------------------------------------------

  void start(const StartBatch& action) {
    SimulatedInstance& instance = instances_[action.instance.value];
    const SimulatedModel& simulated = workload_.models[instance.model];
    SimulatedBatch batch;
    batch.instance = action.instance;
    batch.started = now_;
    batch.requests.assign(action.requests.begin(), action.requests.end());
    batch.overhead = real_[instance.times].batch_overhead;
    batch.seen = now_;
    const Duration time = batch.overhead + draw(simulated.slowdown, instance.times, action.rows);
    batch.left_ns = static_cast<double>(time.count());
    batch.failed = random_.chance(simulated.failure_probability);
    batch.rows = action.rows;
    instance.batch = action.batch;
    batch.completion = plan(time, Pending::Kind::completion, action.batch.value);
    batches_.resize(std::max<std::size_t>(batches_.size(), action.batch.value + 1));
    batches_[action.batch.value] = std::move(batch);
    if (!contended_) return;
    running_[instance.device.value].push_back(action.batch);
    share_device(instance.device);
  }

  // The lanes of a device have become busier or idler: what runs there goes on at another speed.
  void share_device(DeviceId device) {
    const std::vector<BatchId>& running = running_[device.value];
    const int lanes = workload_.options.devices[device.value].lanes;
    const double busy = lanes > 1 ? static_cast<double>(running.size() - 1) / (lanes - 1) : 0;
    for (const BatchId id : running) {
      SimulatedBatch& batch = batches_[id.value];
      const double contention = real_[instances_[batch.instance.value].times].contention;
      const double speed = 1.0 / (1.0 + (contention - 1.0) * busy);
      if (speed == batch.speed) continue;
      batch.left_ns -= batch.speed * static_cast<double>((now_ - batch.seen).count());
      batch.seen = now_;
      batch.speed = speed;
      const Duration left(static_cast<std::int64_t>(std::max(0.0, batch.left_ns) / speed));
      batch.completion = plan(left, Pending::Kind::completion, id.value);
    }
  }

  Duration draw(double slowdown, std::size_t index, int rows) {
    const LatencyProfile& times = times_[index];
    const DeviceTimes& real = real_[index];
    const auto p50 = static_cast<double>(std::max(Duration(1), times.p50(rows)).count());
    const auto p99 = static_cast<double>(times.p99(rows).count());
    if (real.times == ExecutionTimes::exactly_p99) {
      return Duration(static_cast<std::int64_t>(p99 * slowdown));
    }
    if (real.times == ExecutionTimes::sampled) {
      const double drawn = draw_sample(real.samples, times, rows);
      return Duration(static_cast<std::int64_t>(drawn * slowdown));
    }
    constexpr double kStandardNormalP99 = 2.3263478740408408;
    const double sigma = std::log(std::max(1.0, p99 / p50)) / kStandardNormalP99;
    return Duration(static_cast<std::int64_t>(p50 * slowdown * std::exp(sigma * random_.normal())));
  }

  double draw_sample(const std::vector<ExecutionSamples>& samples, const LatencyProfile& times,
                     int rows) {
    const auto distance = [rows](const ExecutionSamples& s) { return std::abs(s.batch - rows); };
    const ExecutionSamples& nearest = *std::ranges::min_element(samples, {}, distance);
    const double place = random_.uniform() * static_cast<double>(nearest.sorted.size() - 1);
    const auto below = static_cast<std::size_t>(place);
    const std::size_t above = std::min(below + 1, nearest.sorted.size() - 1);
    const auto low = static_cast<double>(nearest.sorted[below].count());
    const auto high = static_cast<double>(nearest.sorted[above].count());
    double drawn = low + (place - static_cast<double>(below)) * (high - low);
    // What disturbs a batch lasts as long whatever its size; a smaller one is never quicker than
    // its share.
    const auto typical = static_cast<double>(times.p50(nearest.batch).count());
    const auto wanted = static_cast<double>(times.p50(rows).count());
    if (rows > nearest.batch) drawn += wanted - typical;
    if (rows < nearest.batch) drawn *= wanted / std::max(1.0, typical);
    return drawn;
  }

  void complete(std::uint64_t id) {
    SimulatedBatch& batch = batches_[id];
    const SimulatedModel& model = workload_.models[instances_[batch.instance.value].model];
    const bool too_large = model.memory_rows_max > 0 && batch.rows > model.memory_rows_max &&
                           now_.time_since_epoch() < model.memory_short_until;
    const Duration exec = std::max(Duration{}, now_ - batch.started - batch.overhead);
    BatchCompleted completed{BatchId{id}, batch.instance, exec, std::nullopt};
    if (batch.failed) completed.error = ErrorKind::internal;
    if (too_large) completed.error = ErrorKind::out_of_memory;
    if (!batch.lost) end(batch, BatchId{id}, completed.error.has_value());
    if (too_large) apply(RanOutOfMemory{completed.instance, batch.rows});
    apply(completed);
  }

  void end(SimulatedBatch& batch, BatchId number, bool failed) {
    SimulatedInstance& instance = instances_[batch.instance.value];
    instance.batch.reset();
    if (contended_) {
      std::erase(running_[instance.device.value], number);
      share_device(instance.device);
    }
    result_.lane_time[instance.device.value] += now_ - batch.started;
    for (const RequestId id : batch.requests) {
      const SimulatedRequest& request = requests_[id.value];
      StreamResult& stream = result_.streams[request.stream];
      const TimePoint answered = now_ + request.overhead;
      const bool in_time = answered <= request.deadline;
      ++(failed ? stream.failed : in_time ? stream.in_time : stream.late);
      if (!failed) stream.latencies.push_back(answered - request.arrived);
      end_request(request, !failed, !failed && in_time);
    }
    batch.requests = {};
  }

  void lose(InstanceId instance) {
    if (stopping_) return;
    plan(workload_.faults.down, Pending::Kind::ready, instance.value);
    if (const auto running = instances_[instance.value].batch) {
      SimulatedBatch& batch = batches_[running->value];
      batch.lost = true;
      end(batch, *running, true);
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
    end_request(requests_[action.request.value], false, false);
  }
  void obey(const Expire& action) {
    ++stream_of(action.request).expired;
    end_request(requests_[action.request.value], false, false);
  }
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
  std::vector<DeviceTimes> real_;             // likewise, what happens there
  std::vector<SimulatedInstance> instances_;  // by id
  std::vector<InstanceId> in_order_;
  std::priority_queue<Pending> pending_;
  std::vector<SimulatedRequest> requests_;  // by id
  std::vector<SimulatedBatch> batches_;     // by id
  bool contended_ = false;
  std::vector<std::vector<BatchId>> running_;  // by device, if contended_
  std::vector<std::size_t> model_index_;       // in Workload::models, by id
  std::vector<SimulatedFrame> frames_;
  std::vector<std::size_t> first_stream_;  // of each line, in SimulationResult::streams
  std::vector<Action> actions_;
  std::optional<Error> model_refused_;
  Hash hash_;
  SimulationResult result_;
  TimePoint now_{};
  std::uint64_t planned_ = 0;
  std::uint64_t timer_generation_ = 0;
  bool stopping_ = false;
};

bool knows(const Workload& workload, ModelId wanted) {
  return std::ranges::any_of(
      workload.models, [&](const SimulatedModel& model) { return model.added.model == wanted; });
}

Result<void> check_frames(const Workload& workload, const FrameProcess& process) {
  if (process.interval <= Duration{} || process.pattern == ArrivalPattern::listed) {
    return fail(ErrorKind::invalid_input, "expected interval > 0, periodic or poisson");
  }
  if (process.stages.empty() || process.stages.size() > kStagesMax) {
    return fail(ErrorKind::invalid_input,
                "expected 1 to " + std::to_string(kStagesMax) + " stages");
  }
  for (std::size_t i = 0; i < process.stages.size(); ++i) {
    const FrameStage& stage = process.stages[i];
    const std::string place = "stages[" + std::to_string(i) + "]: ";
    if (!knows(workload, stage.model)) {
      return fail(ErrorKind::invalid_input,
                  place + "there is no model " + std::to_string(stage.model.value));
    }
    if (stage.parent && *stage.parent >= i) {
      return fail(ErrorKind::invalid_input, place + "comes before its parent");
    }
  }
  return {};
}

Result<void> check(const Workload& workload) {
  for (std::size_t i = 0; i < workload.models.size(); ++i) {
    const SimulatedModel& model = workload.models[i];
    const auto unknown = [](const ReplicaAdded& replica) { return replica.profile.empty(); };
    const auto no_samples = [](ExecutionTimes times, const std::vector<ExecutionSamples>& samples) {
      const auto empty = [](const ExecutionSamples& s) { return s.sorted.empty(); };
      return times == ExecutionTimes::sampled &&
             (samples.empty() || std::ranges::any_of(samples, empty));
    };
    const auto no_samples_there = [&](const DeviceTimes& real) {
      return no_samples(real.times, real.samples);
    };
    if (!model.added.profile.empty() && !no_samples(model.times, model.samples) &&
        std::ranges::none_of(model.replicas, unknown) &&
        std::ranges::none_of(model.replica_times, no_samples_there)) {
      continue;
    }
    return fail(ErrorKind::invalid_input,
                "models[" + std::to_string(i) + "]: no latency profile; measure it by loading it");
  }
  for (std::size_t i = 0; i < workload.arrivals.size(); ++i) {
    const ArrivalProcess& process = workload.arrivals[i];
    const std::string place = "arrivals[" + std::to_string(i) + "]: ";
    if (!knows(workload, process.model)) {
      return fail(ErrorKind::invalid_input,
                  place + "there is no model " + std::to_string(process.model.value));
    }
    if (!std::ranges::is_sorted(process.listed, {}, &ListedArrival::at)) {
      return fail(ErrorKind::invalid_input, place + "listed times fall back");
    }
    if (process.interval <= Duration{} || process.jitter_max < Duration{} ||
        process.deadline_min > process.deadline_max || process.rows_min > process.rows_max) {
      return fail(ErrorKind::invalid_input,
                  place +
                      "expected interval > 0, jitter_max >= 0, deadline_min <= deadline_max and "
                      "rows_min <= rows_max");
    }
  }
  for (std::size_t i = 0; i < workload.frames.size(); ++i) {
    if (Result<void> checked = check_frames(workload, workload.frames[i]); !checked) {
      return std::unexpected(
          std::move(checked.error()).within("frames[" + std::to_string(i) + "]"));
    }
  }
  return {};
}

Duration nearest_rank(const std::vector<Duration>& sorted, double quantile) {
  if (sorted.empty()) return Duration{};
  const double rank = std::ceil(quantile * static_cast<double>(sorted.size()));
  const auto index = static_cast<std::size_t>(std::max(1.0, rank)) - 1;
  return sorted[std::min(index, sorted.size() - 1)];
}

}  // namespace

std::uint64_t StreamResult::answered() const noexcept {
  const std::uint64_t refusals = std::accumulate(refused.begin(), refused.end(), std::uint64_t{0});
  return in_time + late + failed + refusals + expired + cancelled;
}

Duration StreamResult::latency_quantile(double quantile) const {
  return nearest_rank(latencies, quantile);
}

Duration FrameResult::latency_quantile(double quantile) const {
  return nearest_rank(latencies, quantile);
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
