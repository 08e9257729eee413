// SPDX-License-Identifier: Apache-2.0
// For tests: a scheduler that is told one event after the other, with times in microseconds.
// Thread-safe: no.
// Owns: the scheduler and what it asked for at the last event.
#pragma once

#include "scheduler/scheduler.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

namespace takt::scheduler {

inline Duration us(std::int64_t count) {
  return std::chrono::microseconds(count);
}
inline TimePoint at_us(std::int64_t count) {
  return TimePoint(us(count));
}

struct Started {
  std::uint64_t batch = 0;
  std::uint32_t model = 0;
  std::uint32_t instance = 0;
  std::vector<std::uint64_t> requests;
};

// A scheduler with a clock in microseconds, and what it asked for at the last event.
class Line {
 public:
  // Any gain is worth a larger batch, so that tests of other rules needn't count with it.
  explicit Line(int lanes = 1)
      : Line(SchedulerOptions{.devices = {{.lanes = lanes, .batch_gain_min = 0.0}}}) {}
  explicit Line(SchedulerOptions options) : scheduler_(*Scheduler::create(std::move(options))) {}

  void add(std::uint32_t model, const std::vector<std::uint32_t>& instances, ModelLimits limits,
           std::vector<LatencyPoint> profile) {
    ModelAdded added;
    added.model = ModelId{model};
    for (const std::uint32_t instance : instances) added.instances.push_back(InstanceId{instance});
    added.limits = limits;
    added.profile = std::move(profile);
    apply(added);
  }
  void arrive(std::uint64_t id, std::uint32_t model, std::optional<std::int64_t> deadline_us = {},
              PriorityClass priority = PriorityClass::normal, int rows = 1) {
    apply(RequestArrived{RequestId{id}, ModelId{model}, priority,
                         deadline_us ? at_us(*deadline_us) : kNever, rows});
  }
  void complete(const Started& batch, std::int64_t exec_us, std::optional<ErrorKind> error = {}) {
    apply(BatchCompleted{BatchId{batch.batch}, InstanceId{batch.instance}, us(exec_us), error});
  }
  void apply(const Event& event) {
    actions_.clear();
    scheduler_.apply(event, at_us(now_us), actions_);
  }

  template <typename T>
  std::vector<T> all() const {
    std::vector<T> found;
    for (const Action& action : actions_) {
      if (const auto* one = std::get_if<T>(&action)) found.push_back(*one);
    }
    return found;
  }
  // Request ids of every batch started at the last event.
  std::vector<Started> started() const {
    std::vector<Started> batches;
    for (const StartBatch& action : all<StartBatch>()) {
      Started& batch = batches.emplace_back();
      batch.batch = action.batch.value;
      batch.model = action.model.value;
      batch.instance = action.instance.value;
      for (const RequestId request : action.requests) batch.requests.push_back(request.value);
    }
    return batches;
  }
  Started only_started() const {
    const auto batches = started();
    EXPECT_EQ(batches.size(), 1U);
    return batches.empty() ? Started{} : batches.front();
  }
  const Scheduler& scheduler() const { return scheduler_; }
  const SchedulerStatistics& statistics() const { return scheduler_.statistics(); }

  std::int64_t now_us = 0;

 private:
  Scheduler scheduler_;
  std::vector<Action> actions_;
};

inline ModelLimits limits(int batch_max, int queue_depth_max = 16, Duration delay = {}) {
  return {.batch_max = batch_max, .queue_depth_max = queue_depth_max, .batch_delay_max = delay};
}
// 100 us for one row, 50 us more for each further row.
inline std::vector<LatencyPoint> hundred_and_fifty() {
  return {{1, us(100), us(100)}, {8, us(450), us(450)}};
}

}  // namespace takt::scheduler
