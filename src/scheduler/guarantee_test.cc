// SPDX-License-Identifier: Apache-2.0
// Critical tasks that pass the schedulability test of their theory miss no deadline, whatever else
// the device has to do. TAKT_SIM_SEED=<n> replays the task set that a failure named.
#include "scheduler/expected_arrivals.h"
#include "scheduler/invariants_fixture.h"
#include "scheduler/random.h"
#include "scheduler/seeds_fixture.h"
#include "scheduler/simulator.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace takt::scheduler {
namespace {

Duration us(std::int64_t count) {
  return std::chrono::microseconds(count);
}

constexpr std::int64_t kHyperperiodUs = 80'000;  // a multiple of every interval below

// Non-preemptive earliest deadline first on one lane (Jeffay, Stanat and Martel 1991, theorem 4.1,
// for deadlines equal to intervals; George, Rivierre and Spuri 1996 for shorter ones): within every
// length L, the work that is due and the longest run of anything due later fit. `other`: the longest
// run of less urgent work. All times in microseconds; with utilisation up to 1 a hyperperiod and the
// longest deadline are long enough to look at.
bool passes(const std::vector<SporadicTask>& tasks, Duration other) {
  double utilisation = 0;
  for (const SporadicTask& task : tasks) {
    utilisation +=
        static_cast<double>(task.exec.count()) / static_cast<double>(task.min_interval.count());
  }
  if (utilisation > 1) return false;
  for (const SporadicTask& each : tasks) {
    for (Duration length = each.deadline; length <= us(2 * kHyperperiodUs);
         length += each.min_interval) {
      Duration blocking = other;
      Duration due{};
      for (const SporadicTask& task : tasks) {
        if (task.deadline > length) {
          blocking = std::max(blocking, task.exec);
        } else {
          due += task.exec * ((length - task.deadline) / task.min_interval + 1);
        }
      }
      if (blocking + due > length) return false;
    }
  }
  return true;
}

struct Case {
  Workload workload;
  std::vector<SporadicTask> tasks;  // of the first streams
  Duration other{};                 // longest run of a single request of the others
};

SimulatedModel random_model(Random& random, std::uint32_t id) {
  SimulatedModel model;
  model.added.model = ModelId{id};
  model.added.instances = {InstanceId{id}};
  model.added.limits = {.batch_max = static_cast<int>(random.between(1, 8)),
                        .queue_depth_max = 100'000};
  const Duration overhead = us(random.between(50, 2000));
  const Duration per_row = us(random.between(10, 800));
  for (int batch = 1; batch <= model.added.limits.batch_max; ++batch) {
    model.added.profile.push_back({batch, overhead, overhead + per_row * batch});
  }
  model.times = ExecutionTimes::exactly_p99;
  return model;
}

Duration exec_of(const SimulatedModel& model, int rows) {
  return model.added.profile[static_cast<std::size_t>(rows) - 1].p99;
}

void add_critical(Random& random, Case& made, std::uint32_t flow, int jitter_divisor) {
  constexpr std::int64_t kIntervals[] = {5'000, 8'000, 10'000, 16'000, 20'000, 40'000, 80'000};
  const auto chosen = random.between(0, static_cast<std::int64_t>(made.workload.models.size()) - 1);
  SimulatedModel& model = made.workload.models[static_cast<std::size_t>(chosen)];
  SporadicTask task;
  task.min_interval = us(kIntervals[random.between(0, 6)]);
  const int rows = random.chance(0.7) ? 1 : model.added.limits.batch_max;
  task.exec = exec_of(model, rows);
  task.deadline = random.chance(0.5)
                      ? task.min_interval
                      : std::min(task.min_interval, task.exec + us(random.between(500, 20'000)));
  ArrivalProcess process{.model = model.added.model, .priority = PriorityClass::critical};
  // The grid stays, so that two arrivals are at least the interval less the jitter apart.
  process.jitter_max = task.min_interval / random.between(jitter_divisor, 4 * jitter_divisor);
  process.interval = task.min_interval + process.jitter_max;
  process.phase = us(random.between(0, to_us(task.min_interval)));
  process.deadline_min = process.deadline_max = task.deadline;
  process.rows_min = process.rows_max = rows;
  process.flow = FlowId{flow};
  model.expected.push_back({.model = model.added.model,
                            .flow = process.flow,
                            .min_interval = task.min_interval,
                            .deadline = task.deadline,
                            .rows = rows});
  made.workload.arrivals.push_back(process);
  made.tasks.push_back(task);
}

// Less urgent streams that may ask for much more than is left.
void add_other(Random& random, Case& made, Duration phase) {
  const auto chosen = random.between(0, static_cast<std::int64_t>(made.workload.models.size()) - 1);
  const SimulatedModel& model = made.workload.models[static_cast<std::size_t>(chosen)];
  ArrivalProcess process{.model = model.added.model};
  process.priority = static_cast<PriorityClass>(random.between(1, 3));
  process.pattern = ArrivalPattern::poisson;
  process.rows_max = static_cast<int>(random.between(1, model.added.limits.batch_max));
  process.interval = exec_of(model, 1) * random.between(1, 8) / 4;
  process.phase = phase;
  if (random.chance(0.6)) {
    process.deadline_min = us(random.between(1'000, 20'000));
    process.deadline_max = process.deadline_min * 3;
  }
  process.flow = FlowId{static_cast<std::uint32_t>(100 + random.between(0, 2))};
  made.other = std::max(made.other, exec_of(model, process.rows_max));
  made.workload.arrivals.push_back(process);
}

Case random_case(std::uint64_t seed, int jitter_divisor, Duration others_phase) {
  Random random(seed);
  Case made;
  made.workload.seed = seed;
  made.workload.options.devices = {{.lanes = 1}};
  made.workload.duration = us(400'000);
  made.workload.requests_max = 400;
  if (random.chance(0.3)) made.workload.options.background_share_min = 0.1;
  for (std::uint32_t id = 0; id < static_cast<std::uint32_t>(random.between(1, 4)); ++id) {
    made.workload.models.push_back(random_model(random, id));
  }
  for (std::int64_t n = random.between(1, 4); n > 0; --n) {
    add_critical(random, made, static_cast<std::uint32_t>(n), jitter_divisor);
  }
  for (std::int64_t n = random.between(1, 3); n > 0; --n) add_other(random, made, others_phase);
  return made;
}

// False when the simulation is wrong.
void expect_no_critical_miss(const Case& made, SimulationResult& sum) {
  Invariants invariants(made.workload);
  const auto result = simulate(made.workload, &invariants);
  ASSERT_TRUE(result) << result.error().message;
  for (const std::string& violation : invariants.violations()) ADD_FAILURE() << violation;
  for (std::size_t i = 0; i < made.tasks.size(); ++i) {
    const StreamResult& stream = result->streams[i];
    EXPECT_EQ(stream.in_time, stream.offered)
        << "critical stream " << i << ": " << stream.late << " late, " << stream.expired
        << " expired, " << stream.refused[0] << " refused";
    sum.events += stream.offered;
  }
  sum.statistics.batches_bounded += result->statistics.batches_bounded;
  sum.statistics.reservations += result->statistics.reservations;
}

TEST(Guarantee, TaskSetsThatPassTheNonPreemptiveEdfTestMissNothing) {
  SimulationResult sum;
  int passed = 0;
  for (const std::uint64_t seed : seeds(300)) {
    const Case made = random_case(seed, 2, Duration{});
    if (!passes(made.tasks, made.other)) continue;
    ++passed;
    expect_no_critical_miss(made, sum);
    ASSERT_FALSE(HasFailure()) << replay(seed, "Guarantee.TaskSets*");
  }
  if (replays()) return;
  EXPECT_GT(passed, 30) << "enough sets pass";
  EXPECT_GT(sum.statistics.batches_bounded, 0U) << "some batches had to stay small";
}

// Runs that are too long for the critical tasks wait until the next arrival has come and gone, as
// long as arrivals are regular: each comes before it counts as overdue. The others begin when every
// task has been seen once.
TEST(Guarantee, RegularTasksThatFitAloneMissNothingBehindLongerRuns) {
  SimulationResult sum;
  int passed = 0;
  for (const std::uint64_t seed : seeds(300)) {
    const Case made = random_case(seed, 8, us(100'000));
    if (!passes(made.tasks, Duration{}) || passes(made.tasks, made.other)) continue;
    ++passed;
    expect_no_critical_miss(made, sum);
    ASSERT_FALSE(HasFailure()) << replay(seed, "Guarantee.RegularTasks*");
  }
  if (replays()) return;
  EXPECT_GT(passed, 30) << "enough sets pass";
  EXPECT_GT(sum.statistics.reservations, 0U) << "some lanes had to idle";
}

// The scheduler's own bound is the theory's: a set passes with a run of exactly that length, and not
// with one that is longer.
TEST(Guarantee, BlockingSlackIsTheLongestRunThatTheTestAllows) {
  int fitting = 0;
  for (const std::uint64_t seed : seeds(300)) {
    const Case made = random_case(seed, 2, Duration{});
    const std::optional<Duration> slack = blocking_slack(made.tasks);
    ASSERT_EQ(slack.has_value(), passes(made.tasks, Duration{}))
        << replay(seed, "Guarantee.BlockingSlack*");
    if (!slack) continue;
    ++fitting;
    EXPECT_TRUE(passes(made.tasks, *slack)) << seed;
    EXPECT_FALSE(passes(made.tasks, *slack + Duration(1))) << seed;
  }
  if (replays()) return;
  EXPECT_GT(fitting, 30);
}

}  // namespace
}  // namespace takt::scheduler
