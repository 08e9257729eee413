// SPDX-License-Identifier: Apache-2.0
// Refusals against an exhaustive search on small cases.
#include "scheduler/mirror_fixture.h"
#include "scheduler/random.h"
#include "scheduler/state.h"

#include <gtest/gtest.h>

namespace takt::scheduler {
namespace {

Duration us(std::int64_t count) {
  return std::chrono::microseconds(count);
}
TimePoint at_us(std::int64_t count) {
  return TimePoint(us(count));
}

// Tries every way of growing batches, from a state of one device without further arrivals, and
// finds the earliest time at which a request can finish. Accepted work ahead of it is always done.
class ExhaustiveSearch {
 public:
  struct Model {
    const LatencyProfile* profile = nullptr;
    int rows_max = 1;
    std::vector<MirrorRequest> waiting;
    std::vector<TimePoint> free_at;  // by instance
  };
  struct State {
    TimePoint now;
    std::vector<TimePoint> lane_free_at;
    std::vector<Model> models;
  };

  ExhaustiveSearch(State state, RequestId target) : target_(target) { search(std::move(state)); }
  [[nodiscard]] TimePoint earliest() const { return earliest_; }

 private:
  static bool free_by(const std::vector<TimePoint>& times, TimePoint now) {
    return std::ranges::any_of(times, [now](TimePoint free) { return free <= now; });
  }
  static void occupy(std::vector<TimePoint>& times, TimePoint now, TimePoint until) {
    *std::ranges::find_if(times, [now](TimePoint free) { return free <= now; }) = until;
  }

  static Model* next_model(State& state) {
    Model* best = nullptr;
    for (Model& model : state.models) {
      if (model.waiting.empty() || !free_by(model.free_at, state.now)) continue;
      if (best == nullptr || model.waiting.front() < best->waiting.front()) best = &model;
    }
    return best;
  }

  // The next time at which a lane or an instance becomes free.
  static bool advance(State& state) {
    TimePoint next = kNever;
    const auto look = [&](TimePoint free) {
      if (free > state.now) next = std::min(next, free);
    };
    std::ranges::for_each(state.lane_free_at, look);
    for (const Model& model : state.models) std::ranges::for_each(model.free_at, look);
    state.now = next;
    return next != kNever;
  }

  void search(State state) {
    Model* model = nullptr;
    while ((model = next_model(state)) == nullptr || !free_by(state.lane_free_at, state.now)) {
      if (!advance(state)) return;
    }
    if (state.now >= earliest_) return;
    const auto chosen = static_cast<std::size_t>(model - state.models.data());
    int rows = 0;
    for (std::size_t count = 1; count <= model->waiting.size(); ++count) {
      const MirrorRequest& last = model->waiting[count - 1];
      rows += last.rows;
      if (rows > model->rows_max) return;
      const TimePoint end = state.now + model->profile->p99(rows);
      if (last.id == target_) {
        earliest_ = std::min(earliest_, end);
        return;  // a larger batch is no earlier
      }
      State next = state;
      Model& grown = next.models[chosen];
      grown.waiting.erase(grown.waiting.begin(),
                          grown.waiting.begin() + static_cast<std::ptrdiff_t>(count));
      occupy(grown.free_at, next.now, end);
      occupy(next.lane_free_at, next.now, end);
      search(std::move(next));
    }
  }

  RequestId target_;
  TimePoint earliest_ = kNever;
};

// Judges every refusal for a deadline, and every admission, by exhaustive search.
class Judge : public SimulationObserver {
 public:
  explicit Judge(const Workload& workload) : mirror_(workload) {
    for (const SimulatedModel& model : workload.models) {
      profiles_.emplace_back(model.added.profile, model.added.limits.batch_max);
    }
  }

  void applied(const Event& event, TimePoint now, std::span<const Action> actions,
               const Scheduler& /*scheduler*/) override {
    mirror_.note(event);
    if (const auto* arrived = std::get_if<RequestArrived>(&event)) judge(*arrived, now, actions);
    for (const Action& action : actions) {
      if (const auto* started = std::get_if<StartBatch>(&action)) {
        ASSERT_TRUE(mirror_.note(*started));
      }
      if (const auto* refused = std::get_if<Refuse>(&action)) remove(refused->request, true);
      if (const auto* expired = std::get_if<Expire>(&action)) remove(expired->request);
      if (const auto* cancelled = std::get_if<Cancelled>(&action)) remove(cancelled->request);
    }
  }

  int refusals = 0;
  int wrong_refusals = 0;
  int hopeless_arrivals = 0;  // that couldn't be in time
  int hopeless_admitted = 0;

 private:
  void remove(RequestId id, bool refused = false) {
    ASSERT_TRUE(refused ? mirror_.refuse(id) : mirror_.remove(id));
  }

  void judge(const RequestArrived& arrived, TimePoint now, std::span<const Action> actions) {
    if (arrived.deadline == kNever) return;
    const Refuse* refused = nullptr;
    for (const Action& action : actions) {
      const auto* refusal = std::get_if<Refuse>(&action);
      if (refusal != nullptr && refusal->request == arrived.request) refused = refusal;
    }
    if (refused != nullptr && refused->reason != RefusalReason::cannot_meet_deadline) return;
    const TimePoint earliest = ExhaustiveSearch(state(now), arrived.request).earliest();
    const bool hopeless = earliest > arrived.deadline;
    hopeless_arrivals += hopeless ? 1 : 0;
    if (refused == nullptr) {
      hopeless_admitted += hopeless ? 1 : 0;
      return;
    }
    ++refusals;
    if (hopeless) return;
    ++wrong_refusals;
    ADD_FAILURE() << "request " << arrived.request.value << " at " << to_us(now.time_since_epoch())
                  << " us was refused, but could finish " << (arrived.deadline - earliest).count()
                  << " ns before its deadline; estimated " << refused->late_by.count()
                  << " ns late";
  }

  ExhaustiveSearch::State state(TimePoint now) const {
    ExhaustiveSearch::State state{.now = now, .lane_free_at = {}, .models = {}};
    state.lane_free_at = mirror_.busy_until(DeviceId{0});
    state.lane_free_at.resize(static_cast<std::size_t>(mirror_.lanes(DeviceId{0})), now);
    for (const auto& [index, model] : mirror_.models()) {
      ExhaustiveSearch::Model& copy = state.models.emplace_back();
      copy.profile = &profiles_[index];
      copy.rows_max = model.rows_max();
      copy.waiting = model.waiting;
      for (const auto& [id, instance] : model.instances) {
        copy.free_at.push_back(instance.batch ? instance.expected_end : now);
      }
    }
    return state;
  }

  Mirror mirror_;
  std::vector<LatencyProfile> profiles_;
};

// A small device in overload: queues stay short enough to try everything.
Workload small_case(std::uint64_t seed) {
  Random random(seed);
  Workload workload;
  workload.seed = seed;
  workload.options.devices = {{.lanes = static_cast<int>(random.between(1, 3))}};
  workload.requests_max = 60;
  std::uint32_t instances = 0;
  for (std::uint32_t i = 0; i < static_cast<std::uint32_t>(random.between(1, 3)); ++i) {
    SimulatedModel model;
    model.added.model = ModelId{i};
    model.times = ExecutionTimes::exactly_p99;
    for (std::int64_t n = random.between(1, 3); n > 0; --n) {
      model.added.instances.push_back(InstanceId{instances++});
    }
    model.added.limits = {.batch_max = static_cast<int>(random.between(1, 4)),
                          .queue_depth_max = static_cast<int>(random.between(1, 4))};
    Duration exec{};
    for (int batch = 1; batch <= model.added.limits.batch_max; ++batch) {
      exec += us(random.between(batch == 1 ? 100 : 0, 1000));
      model.added.profile.push_back({batch, exec, exec});
    }
    ArrivalProcess process{.model = ModelId{i}, .pattern = ArrivalPattern::poisson};
    process.priority = static_cast<PriorityClass>(random.between(0, 3));
    process.interval = us(random.between(100, 900));
    process.deadline_min = us(random.between(100, 2000));
    process.deadline_max = process.deadline_min + us(random.between(0, 3000));
    process.rows_max = static_cast<int>(random.between(1, model.added.limits.batch_max));
    workload.arrivals.push_back(process);
    process.priority = static_cast<PriorityClass>(random.between(0, 3));
    workload.arrivals.push_back(process);
    workload.models.push_back(std::move(model));
  }
  return workload;
}

TEST(Admission, RefusesOnlyWhatNoWayOfBatchingFinishesInTime) {
  int refusals = 0;
  int hopeless = 0;
  int admitted = 0;
  for (std::uint64_t seed = 1; seed <= 3000; ++seed) {
    const Workload workload = small_case(seed);
    Judge judge(workload);
    ASSERT_TRUE(simulate(workload, &judge));
    ASSERT_EQ(judge.wrong_refusals, 0) << "small_case(" << seed << ")";
    refusals += judge.refusals;
    hopeless += judge.hopeless_arrivals;
    admitted += judge.hopeless_admitted;
  }
  EXPECT_GT(refusals, 10'000);
  RecordProperty("hopeless_arrivals", hopeless);
  RecordProperty("hopeless_admitted", admitted);
  EXPECT_LT(admitted, hopeless / 4) << "most of what can't be in time is refused at once";
}

TEST(Admission, RefusesExactlyWhatIsLateOnOneLaneWithoutBatching) {
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    Workload workload = small_case(seed);
    workload.options.devices[0].lanes = 1;
    for (SimulatedModel& model : workload.models) {
      model.added.limits.batch_max = 1;
      model.added.profile.resize(1);
    }
    for (ArrivalProcess& process : workload.arrivals) process.rows_max = 1;
    Judge judge(workload);
    ASSERT_TRUE(simulate(workload, &judge));
    ASSERT_EQ(judge.wrong_refusals, 0) << "small_case(" << seed << ")";
    ASSERT_EQ(judge.hopeless_admitted, 0) << "small_case(" << seed << ")";
  }
}

// Beyond a few models with work waiting admission takes sums; they too are from below.
TEST(Admission, RefusesNothingWronglyAmongManyModels) {
  int refusals = 0;
  int hopeless = 0;
  int admitted = 0;
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    Random random(seed);
    Workload workload;
    workload.seed = seed;
    workload.options.devices = {{.lanes = static_cast<int>(random.between(1, 3))}};
    workload.requests_max = 150;
    for (std::uint32_t i = 0; i < 20; ++i) {
      SimulatedModel model;
      model.added.model = ModelId{i};
      model.added.instances = {InstanceId{i}};
      model.added.limits = {.batch_max = 1, .queue_depth_max = 2};
      const Duration exec = us(random.between(100, 1000));
      model.added.profile = {{1, exec, exec}};
      model.times = ExecutionTimes::exactly_p99;
      ArrivalProcess process{.model = ModelId{i}, .pattern = ArrivalPattern::poisson};
      process.priority = static_cast<PriorityClass>(random.between(0, 3));
      process.interval = us(random.between(2'000, 8'000));
      process.deadline_min = us(random.between(1'000, 6'000));
      process.deadline_max = process.deadline_min * 2;
      workload.arrivals.push_back(process);
      workload.models.push_back(std::move(model));
    }
    Judge judge(workload);
    ASSERT_TRUE(simulate(workload, &judge));
    ASSERT_EQ(judge.wrong_refusals, 0) << "seed " << seed;
    refusals += judge.refusals;
    hopeless += judge.hopeless_arrivals;
    admitted += judge.hopeless_admitted;
  }
  EXPECT_GT(refusals, 1000);
  RecordProperty("hopeless_arrivals", hopeless);
  RecordProperty("hopeless_admitted", admitted);
  EXPECT_LT(admitted, hopeless) << "some of what can't be in time is refused at once";
}

TEST(TimeAfterWork, FillsTheLaneThatIsFreeFirst) {
  std::vector<TimePoint> lanes{at_us(100), at_us(0)};
  EXPECT_EQ(time_after_work(lanes, us(0)), at_us(0));
  EXPECT_EQ(time_after_work(lanes, us(60)), at_us(60));
  EXPECT_EQ(time_after_work(lanes, us(100)), at_us(100));
}

TEST(TimeAfterWork, SharesTheRestBetweenTheLanes) {
  std::vector<TimePoint> lanes{at_us(0), at_us(100), at_us(200)};
  EXPECT_EQ(time_after_work(lanes, us(200)), at_us(150));
  EXPECT_EQ(time_after_work(lanes, us(300)), at_us(200));
  EXPECT_EQ(time_after_work(lanes, us(600)), at_us(300));
}

}  // namespace
}  // namespace takt::scheduler
