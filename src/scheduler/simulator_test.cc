// SPDX-License-Identifier: Apache-2.0
// The scheduler under thousands of random workloads, 10,000 with TAKT_LONG. TAKT_SIM_WORKLOADS sets
// how many, and TAKT_SIM_SEED=<n> replays the one workload that a failure named.
#include "scheduler/simulator.h"

#include "scheduler/invariants_fixture.h"
#include "scheduler/random.h"
#include "scheduler/seeds_fixture.h"

#include <gtest/gtest.h>

namespace takt::scheduler {
namespace {

#if defined(TAKT_SANITIZED) || !defined(NDEBUG)
constexpr std::uint64_t kWorkloadsDefault = 300;
#else
constexpr std::uint64_t kWorkloadsDefault = 4000;
#endif

Duration us(std::int64_t count) {
  return std::chrono::microseconds(count);
}

std::vector<LatencyPoint> random_profile(Random& random, int batch_max) {
  const Duration overhead = us(random.between(50, 3000));
  const Duration per_row = us(random.between(10, 1500));
  const std::int64_t spread_percent = random.between(0, 60);
  std::vector<LatencyPoint> profile;
  for (int batch = 1; batch <= std::max(1, batch_max); batch *= 2) {
    if (batch > 1 && random.chance(0.3)) continue;
    const Duration p50 = overhead + per_row * batch;
    profile.push_back({batch, p50, p50 + p50 * spread_percent / 100});
  }
  return profile;
}

SimulatedModel random_model(Random& random, const Workload& workload, std::uint32_t& instances) {
  constexpr int kBatchMax[] = {0, 1, 2, 3, 4, 8, 16};
  SimulatedModel model;
  model.added.model = ModelId{static_cast<std::uint32_t>(workload.models.size())};
  model.added.device = DeviceId{static_cast<std::uint32_t>(
      random.between(0, static_cast<std::int64_t>(workload.options.devices.size()) - 1))};
  for (std::int64_t i = random.between(1, 3); i > 0; --i) {
    model.added.instances.push_back(InstanceId{instances++});
  }
  model.added.limits.batch_max = kBatchMax[random.between(0, 6)];
  model.added.limits.queue_depth_max = static_cast<int>(random.between(1, 64));
  if (random.chance(0.3)) model.added.limits.batch_delay_max = us(random.between(100, 3000));
  if (random.chance(0.2)) model.added.limits.queue_bytes_max = random.between(1, 64) * 1000;
  if (random.chance(0.2))
    model.added.limits.concurrency_max = static_cast<int>(random.between(1, 2));
  model.added.profile = random_profile(random, model.added.limits.batch_max);
  for (std::uint32_t i = 0; i < workload.options.devices.size(); ++i) {
    if (DeviceId{i} == model.added.device || !random.chance(0.25)) continue;
    ReplicaAdded replica{.model = {}, .device = DeviceId{i}, .instances = {}, .profile = {}};
    for (std::int64_t n = random.between(1, 2); n > 0; --n) {
      replica.instances.push_back(InstanceId{instances++});
    }
    replica.profile = random.chance(0.5) ? model.added.profile
                                         : random_profile(random, model.added.limits.batch_max);
    model.replicas.push_back(std::move(replica));
  }
  if (random.chance(0.3)) {
    model.added.limits.class_room =
        static_cast<int>(random.between(0, (model.added.limits.queue_depth_max - 1) / 3));
  }
  return model;
}

ArrivalProcess random_arrivals(Random& random, const SimulatedModel& model) {
  const std::int64_t alone = to_us(model.added.profile.front().p99);
  ArrivalProcess process;
  process.model = model.added.model;
  process.priority = static_cast<PriorityClass>(random.between(0, 3));
  process.pattern = random.chance(0.5) ? ArrivalPattern::periodic : ArrivalPattern::poisson;
  process.interval = us(random.between(1 + alone / 4, alone * 6));
  process.phase = us(random.between(0, alone));
  if (random.chance(0.5)) process.jitter_max = process.interval / 3;
  if (!random.chance(0.15)) {
    process.deadline_min = us(random.between(alone / 2, alone * 4));
    process.deadline_max = process.deadline_min * random.between(1, 6);
  }
  if (random.chance(0.4)) {
    process.rows_max =
        static_cast<int>(random.between(1, std::max(1, model.added.limits.batch_max)));
  }
  if (random.chance(0.3)) process.cancel_probability = 0.1;
  process.bytes = random.between(0, 4000);
  process.flow = FlowId{static_cast<std::uint32_t>(random.between(0, 3))};
  return process;
}

// Makes the stream critical and regular, and says so.
void announce(ArrivalProcess& process, SimulatedModel& model) {
  process.priority = PriorityClass::critical;
  process.pattern = ArrivalPattern::periodic;
  process.jitter_max = process.interval / 10;
  const Duration deadline = process.deadline_min > Duration{} ? process.deadline_min : us(5000);
  model.expected.push_back({.model = model.added.model,
                            .flow = process.flow,
                            .min_interval = process.interval - process.jitter_max,
                            .deadline = deadline,
                            .rows = process.rows_max});
}

void run_short_of_memory(Random& random, Workload& workload) {
  for (DeviceOptions& device : workload.options.devices) {
    device.memory_quiet = us(random.between(2'000, 100'000));
  }
  for (SimulatedModel& model : workload.models) {
    if (random.chance(0.3)) continue;
    model.memory_rows_max = static_cast<int>(random.between(1, 8));
    model.memory_short_until = us(random.between(10'000, 400'000));
  }
}

Workload random_workload(std::uint64_t seed) {
  Random random(seed);
  Workload workload;
  workload.seed = seed;
  workload.duration = us(random.between(50'000, 400'000));
  workload.requests_max = 500;
  for (std::int64_t i = random.between(1, 3); i > 0; --i) {
    workload.options.devices.push_back({.lanes = static_cast<int>(random.between(1, 3))});
  }
  if (random.chance(0.2)) workload.options.background_share_min = 0.2;
  const bool exact = random.chance(0.5);
  const bool failing = random.chance(0.2);
  std::uint32_t instances = 0;
  for (std::int64_t i = random.between(1, random.chance(0.1) ? 24 : 5); i > 0; --i) {
    SimulatedModel model = random_model(random, workload, instances);
    if (exact) model.times = ExecutionTimes::exactly_p99;
    if (!exact && random.chance(0.2)) model.slowdown = 2.0;
    if (failing) model.failure_probability = 0.1;
    workload.models.push_back(model);
    workload.arrivals.push_back(random_arrivals(random, model));
    if (random.chance(0.5)) workload.arrivals.push_back(random_arrivals(random, model));
    if (random.chance(0.2)) announce(workload.arrivals.back(), workload.models.back());
  }
  if (random.chance(0.2)) {
    workload.faults.mean_between = us(random.between(10'000, 100'000));
    workload.faults.down = us(random.between(1'000, 20'000));
  }
  if (random.chance(0.1)) {
    workload.suspensions.mean_between = us(random.between(20'000, 200'000));
    workload.suspensions.down = us(random.between(1'000, 20'000));
  }
  if (random.chance(0.25)) run_short_of_memory(random, workload);
  return workload;
}

bool is_exact(const Workload& workload) {
  return workload.models.front().times == ExecutionTimes::exactly_p99;
}

void check_workload(std::uint64_t seed) {
  const Workload workload = random_workload(seed);
  Invariants invariants(workload);
  const auto result = simulate(workload, &invariants);
  ASSERT_TRUE(result) << result.error().message;
  for (const std::string& violation : invariants.violations()) ADD_FAILURE() << violation;
  EXPECT_TRUE(result->stopped) << "the scheduler runs empty when stopped";
  for (std::size_t i = 0; i < result->streams.size(); ++i) {
    const StreamResult& stream = result->streams[i];
    EXPECT_EQ(stream.offered, stream.answered()) << "stream " << i << " lost or doubled a request";
    if (is_exact(workload)) {
      EXPECT_EQ(stream.late, 0U) << "late, though execution took exactly what the profile says";
    }
  }
}

TEST(SchedulerSimulation, KeepsItsPromisesUnderRandomWorkloads) {
  for (const std::uint64_t seed : seeds(kWorkloadsDefault)) {
    check_workload(seed);
    ASSERT_FALSE(HasFailure()) << replay(seed, "SchedulerSimulation.KeepsItsPromises*");
  }
}

TEST(SchedulerSimulation, ReachesEveryKindOfEndOfARequest) {
  StreamResult sum;
  std::uint64_t lost_batches = 0;
  std::uint64_t ignored = 0;
  std::uint64_t reservations = 0;
  std::uint64_t bounded = 0;
  std::array<std::uint64_t, kPriorityClassCount> shed{};
  std::uint64_t steps_down = 0;
  std::uint64_t steps_up = 0;
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    const auto result = simulate(random_workload(seed));
    ASSERT_TRUE(result);
    for (const StreamResult& stream : result->streams) {
      sum.in_time += stream.in_time;
      sum.late += stream.late;
      sum.failed += stream.failed;
      sum.expired += stream.expired;
      sum.cancelled += stream.cancelled;
      for (std::size_t i = 0; i < sum.refused.size(); ++i) sum.refused[i] += stream.refused[i];
    }
    lost_batches += result->statistics.batches_lost;
    ignored += result->statistics.completions_ignored;
    reservations += result->statistics.reservations;
    bounded += result->statistics.batches_bounded;
    for (std::size_t i = 0; i < shed.size(); ++i) shed[i] += result->statistics.shed[i];
    steps_down += result->statistics.memory_steps_down;
    steps_up += result->statistics.memory_steps_up;
  }
  EXPECT_GT(sum.in_time, 1000U);
  EXPECT_GT(sum.late, 0U);
  EXPECT_GT(sum.failed, 0U);
  EXPECT_GT(sum.expired, 0U);
  EXPECT_GT(sum.cancelled, 0U);
  EXPECT_GT(sum.refused[static_cast<std::size_t>(RefusalReason::cannot_meet_deadline)], 100U);
  EXPECT_GT(sum.refused[static_cast<std::size_t>(RefusalReason::queue_full)], 0U);
  EXPECT_GT(sum.refused[static_cast<std::size_t>(RefusalReason::queue_bytes_full)], 0U);
  EXPECT_GT(sum.refused[static_cast<std::size_t>(RefusalReason::model_suspended)], 0U);
  EXPECT_GT(shed[static_cast<std::size_t>(PriorityClass::background)], 0U);
  EXPECT_GT(shed[static_cast<std::size_t>(PriorityClass::normal)], 0U);
  EXPECT_EQ(shed[static_cast<std::size_t>(PriorityClass::critical)], 0U);
  EXPECT_GT(steps_down, 0U);
  EXPECT_GT(steps_up, 0U);
  EXPECT_GT(reservations, 0U);
  EXPECT_GT(bounded, 0U);
  EXPECT_GT(lost_batches, 0U);
  EXPECT_EQ(ignored, lost_batches) << "a completion that comes after its instance was lost";
}

TEST(SchedulerSimulation, SameSeedGivesTheSameActions) {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    const auto once = simulate(random_workload(seed));
    const auto again = simulate(random_workload(seed));
    ASSERT_TRUE(once && again);
    EXPECT_EQ(once->action_hash, again->action_hash) << "seed " << seed;
    EXPECT_EQ(once->end, again->end);
  }
}

TEST(SchedulerSimulation, OtherSeedsGiveOtherActions) {
  const auto one = simulate(random_workload(1));
  const auto two = simulate(random_workload(2));
  ASSERT_TRUE(one && two);
  EXPECT_NE(one->action_hash, two->action_hash);
}

// One model of 1 ms on one lane, so that sums can be done by hand.
Workload one_lane(Duration interval, Duration deadline) {
  Workload workload;
  workload.options.devices = {{.lanes = 1}};
  workload.models.push_back({.added = {.model = ModelId{0},
                                       .device = DeviceId{0},
                                       .instances = {InstanceId{0}},
                                       .limits = {.batch_max = 1, .queue_depth_max = 100},
                                       .profile = {{1, us(1000), us(1000)}}},
                             .times = ExecutionTimes::exactly_p99});
  workload.arrivals.push_back({.model = ModelId{0},
                               .interval = interval,
                               .deadline_min = deadline,
                               .deadline_max = deadline});
  return workload;
}

TEST(SchedulerSimulation, UnderOverloadWhatIsAcceptedIsInTimeAndTheLaneStaysFull) {
  Workload workload = one_lane(us(300), us(5000));  // 3.3 times what the lane can do
  const auto result = simulate(workload);
  ASSERT_TRUE(result);
  const StreamResult& stream = result->streams[0];
  EXPECT_EQ(stream.expired, 0U) << "with equal relative deadlines admission is exact";
  EXPECT_EQ(stream.late, 0U);
  EXPECT_EQ(stream.in_time + stream.refused[0], stream.offered);
  EXPECT_GE(stream.in_time, 1000U) << "1 s of 1 ms batches";
}

TEST(SchedulerSimulation, UnderLightLoadLatencyIsTheExecutionTime) {
  const auto result = simulate(one_lane(us(2000), us(5000)));
  ASSERT_TRUE(result);
  EXPECT_EQ(result->streams[0].in_time, result->streams[0].offered);
  EXPECT_EQ(result->streams[0].latency_quantile(0.5), us(1000));
  EXPECT_EQ(result->streams[0].latency_quantile(1.0), us(1000));
}

TEST(SchedulerSimulation, BackgroundGetsItsShareOfAFullLane) {
  Workload workload = one_lane(us(900), Duration{});
  workload.options.background_share_min = 0.2;
  workload.models[0].added.limits.queue_depth_max = 20;
  SimulatedModel background = workload.models[0];
  background.added.model = ModelId{1};
  background.added.instances = {InstanceId{1}};
  workload.models.push_back(background);
  workload.arrivals.push_back(
      {.model = ModelId{1}, .priority = PriorityClass::background, .interval = us(900)});
  workload.duration = std::chrono::seconds(5);
  const auto shared = simulate(workload);
  ASSERT_TRUE(shared);
  const auto ran = static_cast<double>(shared->streams[1].in_time);
  EXPECT_NEAR(ran / 5000.0, 0.2, 0.02);

  workload.arrivals[0].priority = PriorityClass::critical;
  const auto critical = simulate(workload);
  ASSERT_TRUE(critical);
  EXPECT_LE(critical->streams[1].in_time, 25U) << "only what is left when the stream has ended";
  EXPECT_GT(critical->statistics.background_unmet, 4000U);
}

// Over random loads of the other classes: background that always waits gets its share of the lane,
// give or take a run of each, as long as no critical work takes it.
TEST(SchedulerSimulation, BackgroundIsNeverStarvedBelowItsShare) {
  for (const std::uint64_t seed : seeds(200)) {
    Random random(seed);
    Workload workload = one_lane(us(random.between(300, 2000)), Duration{});
    workload.seed = seed;
    workload.options.background_share_min = 0.05 * static_cast<double>(random.between(1, 10));
    workload.arrivals[0].priority = static_cast<PriorityClass>(random.between(1, 2));
    workload.arrivals[0].pattern = ArrivalPattern::poisson;
    workload.models[0].added.limits.queue_depth_max = 8;
    SimulatedModel background = workload.models[0];
    background.added.model = ModelId{1};
    background.added.instances = {InstanceId{1}};
    const Duration exec = us(random.between(200, 4000));
    background.added.profile = {{1, exec, exec}};
    workload.models.push_back(background);
    workload.arrivals.push_back(
        {.model = ModelId{1}, .priority = PriorityClass::background, .interval = exec / 2});
    const auto result = simulate(workload);
    ASSERT_TRUE(result);
    const Duration got = exec * static_cast<std::int64_t>(result->streams[1].in_time);
    const auto owed = Duration(static_cast<std::int64_t>(
        workload.options.background_share_min * static_cast<double>(workload.duration.count())));
    ASSERT_GE(got, owed - exec * 2 - us(1000)) << replay(seed, "*NeverStarved*");
  }
}

// A flow that sends little gets what it asks for beside one that floods the model.
TEST(SchedulerSimulation, FlowsOfOneClassShareAFullLane) {
  Workload workload = one_lane(us(200), Duration{});
  workload.models[0].added.limits.queue_depth_max = 1000;
  workload.arrivals.push_back(workload.arrivals[0]);
  workload.arrivals[1].interval = us(2500);  // 0.4 of the lane
  workload.arrivals[1].flow = FlowId{1};
  workload.duration = us(150'000);  // the queue doesn't fill up to its limit
  const auto result = simulate(workload);
  ASSERT_TRUE(result);
  EXPECT_EQ(result->streams[1].in_time, result->streams[1].offered);
  EXPECT_LE(result->streams[1].latency_quantile(1.0), us(3000))
      << "its turn comes after at most the batch that runs and one of the other flow";
}

TEST(SchedulerSimulation, ListedArrivalsComeWhenTheyAreListed) {
  Workload workload = one_lane(us(1000), Duration{});
  workload.arrivals[0].pattern = ArrivalPattern::listed;
  workload.arrivals[0].listed = {{us(0)}, {us(100)}, {us(5000)}};
  const auto result = simulate(workload);
  ASSERT_TRUE(result);
  // 1 ms alone; behind the first one, 100 us after it came; alone again.
  EXPECT_EQ(result->streams[0].latencies, (std::vector<Duration>{us(1000), us(1000), us(1900)}));
}

TEST(SchedulerSimulation, OverheadsBelongToTheLatencyAndTheLane) {
  Workload workload = one_lane(us(1000), Duration{});
  workload.models[0].batch_overhead = us(50);
  workload.models[0].request_overhead = us(20);
  workload.arrivals[0].pattern = ArrivalPattern::listed;
  workload.arrivals[0].listed = {{us(0)}, {us(0)}};
  const auto result = simulate(workload);
  ASSERT_TRUE(result);
  EXPECT_EQ(result->streams[0].latencies, (std::vector<Duration>{us(1070), us(2120)}));
  EXPECT_EQ(result->lane_time[0], us(2100));
}

// Two lanes, each half as fast while both are busy: the first runs 500 us alone, then both share
// until it ends after another 1000 us, and the second, half done, needs 500 us more alone.
TEST(SchedulerSimulation, BusyLanesSlowEachOtherDown) {
  Workload workload = one_lane(us(1000), Duration{});
  workload.options.devices[0].lanes = 2;
  workload.models[0].added.instances = {InstanceId{0}, InstanceId{1}};
  workload.models[0].contention = 2.0;
  workload.arrivals[0].pattern = ArrivalPattern::listed;
  workload.arrivals[0].listed = {{us(0)}, {us(500)}};
  const auto result = simulate(workload);
  ASSERT_TRUE(result);
  EXPECT_EQ(result->streams[0].latencies, (std::vector<Duration>{us(1500), us(1500)}));
}

TEST(SchedulerSimulation, SamplesAreDrawnAsTheyAreSpread) {
  Workload workload = one_lane(us(10'000), Duration{});
  workload.models[0].times = ExecutionTimes::sampled;
  workload.models[0].samples = {{1, {us(1000), us(3000)}}};  // uniform between them
  workload.duration = std::chrono::seconds(20);
  const auto result = simulate(workload);
  ASSERT_TRUE(result);
  EXPECT_NEAR(static_cast<double>(to_us(result->streams[0].latency_quantile(0.5))), 2000, 100);
  EXPECT_GE(result->streams[0].latencies.front(), us(1000));
  EXPECT_LE(result->streams[0].latencies.back(), us(3000));
}

// A frame asks one request of the model, then, once that is answered, three more of another.
Workload cascade(int crops) {
  Workload workload = one_lane(us(1000), Duration{});
  workload.arrivals.clear();
  SimulatedModel crop = workload.models[0];
  crop.added.model = ModelId{1};
  crop.added.instances = {InstanceId{1}};
  crop.added.profile = {{1, us(200), us(200)}};
  workload.models.push_back(crop);
  workload.frames.push_back(
      {.interval = us(10'000),
       .deadline = us(5000),
       .stages = {{.model = ModelId{0}}, {.model = ModelId{1}, .parent = 0, .requests = crops}}});
  return workload;
}

TEST(SchedulerSimulation, CropsFollowTheirParent) {
  const auto result = simulate(cascade(3));
  ASSERT_TRUE(result);
  const FrameResult& frames = result->frames[0];
  EXPECT_EQ(frames.offered, 100U);
  EXPECT_EQ(frames.in_time, 100U);
  EXPECT_EQ(result->streams[0].offered, 100U);
  EXPECT_EQ(result->streams[1].offered, 300U);
  EXPECT_EQ(frames.latency_quantile(0.5), us(1600)) << "1 ms, then three of 200 us on one lane";
  EXPECT_EQ(result->streams[1].latency_quantile(1.0), us(600)) << "from when the crops were asked";
}

TEST(SchedulerSimulation, AFrameWhoseParentCantBeInTimeIsMissedWithoutCrops) {
  Workload workload = cascade(3);
  workload.frames[0].deadline = us(900);
  const auto result = simulate(workload);
  ASSERT_TRUE(result);
  EXPECT_EQ(result->frames[0].missed, result->frames[0].offered);
  EXPECT_EQ(result->streams[1].offered, 0U);
}

// 3 ms of other work come just before each frame, whose deadline leaves no time for it: a lane that
// knows of the frames waits for them.
TEST(SchedulerSimulation, CriticalFramesOfALineThatKeepsAPaceAreAnnounced) {
  Workload workload = cascade(0);
  workload.frames[0].stages.resize(1);
  workload.frames[0].stages[0].priority = PriorityClass::critical;
  workload.frames[0].deadline = us(2000);
  workload.models[1].added.profile = {{1, us(3000), us(3000)}};
  workload.arrivals.push_back({.model = ModelId{1}, .interval = us(10'000), .phase = us(9000)});
  const auto announced = simulate(workload);
  ASSERT_TRUE(announced);
  EXPECT_EQ(announced->frames[0].missed, 0U);
  EXPECT_GT(announced->statistics.reservations, 0U);
  workload.frames[0].stages[0].priority = PriorityClass::high;
  const auto unknown = simulate(workload);
  ASSERT_TRUE(unknown);
  EXPECT_GT(unknown->frames[0].missed, 90U);
}

TEST(SchedulerSimulation, AFrameWithoutCropsEndsWithItsParent) {
  const auto result = simulate(cascade(0));
  ASSERT_TRUE(result);
  EXPECT_EQ(result->frames[0].in_time, 100U);
  EXPECT_EQ(result->frames[0].latency_quantile(1.0), us(1000));
}

TEST(SchedulerSimulation, RejectsAWorkloadThatMakesNoSense) {
  Workload workload = one_lane(us(1000), us(5000));
  workload.arrivals[0].model = ModelId{7};
  EXPECT_EQ(simulate(workload).error().message, "workload: arrivals[0]: there is no model 7");
  workload = one_lane(Duration{}, us(5000));
  EXPECT_EQ(simulate(workload).error().kind, ErrorKind::invalid_input);
  workload = one_lane(us(1000), us(5000));
  workload.models[0].added.profile.clear();
  EXPECT_EQ(simulate(workload).error().kind, ErrorKind::invalid_input);
  workload = one_lane(us(1000), us(5000));
  workload.models[0].added.device = DeviceId{3};
  EXPECT_EQ(simulate(workload).error().kind, ErrorKind::invalid_input);
  workload = one_lane(us(1000), us(5000));
  workload.options.devices.clear();
  EXPECT_EQ(simulate(workload).error().kind, ErrorKind::invalid_input);
  workload = one_lane(us(1000), us(5000));
  workload.arrivals[0].listed = {{us(5)}, {us(4)}};
  EXPECT_EQ(simulate(workload).error().kind, ErrorKind::invalid_input);
  workload = one_lane(us(1000), us(5000));
  workload.models[0].times = ExecutionTimes::sampled;
  EXPECT_EQ(simulate(workload).error().kind, ErrorKind::invalid_input) << "without samples";
  workload = cascade(1);
  std::swap(workload.frames[0].stages[0], workload.frames[0].stages[1]);
  EXPECT_EQ(simulate(workload).error().kind, ErrorKind::invalid_input);
}

}  // namespace
}  // namespace takt::scheduler
