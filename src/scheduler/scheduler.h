// SPDX-License-Identifier: Apache-2.0
// Decides which requests run together, where and when; a state machine without thread or clock.
// Thread-safe: no; one thread owns it and calls every member.
// Owns: the queues, profiles and the picture of devices and instances; never the requests' data.
#pragma once

#include "core/ids.h"
#include "core/priority.h"
#include "core/result.h"
#include "core/time.h"
#include "scheduler/event.h"
#include "scheduler/profile.h"

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

namespace takt::scheduler {

inline constexpr int kDevicesMax = 64;  // of a scheduler

struct DeviceOptions {
  int lanes = 1;  // batches that may run at once; two CPU cores are two one-thread lanes
  // How long a model must not run out of memory before a batch limit that it lowered is doubled.
  Duration memory_quiet = std::chrono::seconds(30);
  // But for one in 32, a batch grows only while a larger one takes less time a row by at least this share (0.05: 5 %):
  // beyond that it would gain little and make everyone wait longer. 0: any gain will do.
  double batch_gain_min = 0.05;
};

struct SchedulerOptions {
  std::vector<DeviceOptions> devices;  // DeviceId is the index
  // Share of a device's lane time that the background class gets while it has work waiting; 0: what
  // is left over. Critical requests go first all the same, and the unmet share is counted.
  double background_share_min = 0.0;
  // How much lane time the background class may be owed or ahead at most.
  Duration background_owed_max = std::chrono::seconds(1);
  // A learned profile that refuses requests is dropped when nothing was executed for this long:
  // otherwise one bad minute would refuse the model's requests for ever.
  Duration profile_memory = std::chrono::seconds(10);
};

struct SchedulerStatistics {
  std::uint64_t arrived = 0;
  std::uint64_t arrivals_ignored = 0;  // the id was waiting already
  std::uint64_t started = 0;           // requests
  std::uint64_t batches = 0;
  std::uint64_t batches_completed = 0;
  std::uint64_t batches_failed = 0;
  std::uint64_t batches_lost = 0;  // with their instance
  std::uint64_t completions_ignored = 0;
  std::array<std::uint64_t, kRefusalReasonCount> refused{};  // by RefusalReason
  std::array<std::uint64_t, kPriorityClassCount> shed{};     // of those, by the class that gave way
  std::uint64_t expired = 0;
  std::uint64_t cancelled = 0;
  // Batches of other classes started while background waited and was owed its share.
  std::uint64_t background_unmet = 0;
  std::uint64_t profiles_forgotten = 0;
  std::uint64_t announcements_ignored = 0;  // ArrivalsExpected that made no sense
  // Batches that stayed smaller so that an expected critical request can be in time.
  std::uint64_t batches_bounded = 0;
  std::uint64_t reservations = 0;       // LaneReserved
  Duration reserved_time{};             // that devices spent so
  std::uint64_t memory_steps_down = 0;  // BatchLimitChanged, after RanOutOfMemory
  std::uint64_t memory_steps_up = 0;    // after a quiet time
};

class Scheduler {
 public:
  // Errors: invalid_input (no device or more than kDevicesMax, lanes < 1, a share outside [0, 1), a duration
  // below 0, memory_quiet not above 0, batch_gain_min outside [0, 1]).
  [[nodiscard]] static Result<Scheduler> create(SchedulerOptions options);
  Scheduler(Scheduler&&) noexcept;
  Scheduler& operator=(Scheduler&&) noexcept;
  ~Scheduler();

  // Takes one event and appends what is to be done now, in this order. `now` never runs backwards
  // (an earlier time counts as the latest one seen). The spans in StartBatch stay valid until that
  // batch ended. Cost: O(log n) in waiting requests and in models for an arrival that is clearly in
  // time; one that isn't adds O(log n) for each model of its device with work waiting.
  void apply(const Event& event, TimePoint now, std::vector<Action>& actions_out);

  // The p99 execution time of a batch of `rows` as of now, on that device or where it is shortest;
  // zero while unknown.
  [[nodiscard]] Duration expected_p99(ModelId model, int rows) const;
  [[nodiscard]] Duration expected_p99(ModelId model, DeviceId device, int rows) const;
  // The p50, where it is shortest; zero while unknown.
  [[nodiscard]] Duration usual(ModelId model, int rows) const;
  // The longest of the last executions of such a batch there; zero while unknown.
  [[nodiscard]] Duration longest(ModelId model, DeviceId device, int rows) const;
  // To be kept, and given to merge_profile when the model is loaded again; empty if unknown.
  [[nodiscard]] std::vector<ProfilePoint> profile(ModelId model, DeviceId device) const;
  [[nodiscard]] int queue_depth(ModelId model) const;
  // Rows that a batch of several requests may have there now; 0 for what it doesn't know.
  [[nodiscard]] int batch_limit(ModelId model, DeviceId device) const;
  [[nodiscard]] std::size_t waiting() const noexcept;
  [[nodiscard]] std::size_t running() const noexcept;  // batches
  [[nodiscard]] const SchedulerStatistics& statistics() const noexcept;

  class State;

 private:
  explicit Scheduler(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace takt::scheduler
