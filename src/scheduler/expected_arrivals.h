// SPDX-License-Identifier: Apache-2.0
// When critical requests are expected on a device, and how long other runs may block them.
// Thread-safe: no; owned by one scheduler.
// Owns: what was announced and what was learned of each flow's arrivals.
#pragma once

#include "core/ids.h"
#include "core/time.h"
#include "scheduler/event.h"
#include "scheduler/indexed_heap.h"
#include "scheduler/profile.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

namespace takt::scheduler {

// A task whose requests come at least `min_interval` apart; each takes `exec` and must be done
// `deadline` after it came.
struct SporadicTask {
  Duration min_interval{};
  Duration deadline{};
  Duration exec{};
};

// How long a run of other work may block the tasks on one lane so that earliest deadline first
// without preemption still keeps every deadline: the least L - dbf(L) over all deadlines L (Jeffay,
// Stanat and Martel 1991, theorem 4.1, with deadlines other than the interval as by George, Rivierre
// and Spuri 1996, solved for the blocking time). Empty: the tasks don't fit even alone.
[[nodiscard]] std::optional<Duration> blocking_slack(std::span<const SporadicTask> tasks);

// The least of the last 64 to 128 values; Duration::max() before 64.
class RecentMinimum {
 public:
  void add(Duration value) noexcept;
  [[nodiscard]] Duration value() const noexcept {
    return previous_ == Duration::max() ? previous_ : std::min(previous_, current_);
  }
  [[nodiscard]] Duration so_far() const noexcept { return std::min(previous_, current_); }

 private:
  static constexpr int kWindow = 64;
  Duration previous_ = Duration::max();
  Duration current_ = Duration::max();
  int count_ = 0;
};

// Critical flows of one device. One that was announced is believed: a lane may idle for it. One
// that wasn't is learned from its arrivals and only bounds how far batches of others grow.
class ExpectedArrivals {
 public:
  // An announced arrival that doesn't come keeps a lane idle for this part of its interval at most;
  // then it is taken to come at any time.
  static constexpr int kWindowDivisor = 4;
  static constexpr std::size_t kFlowsMax = 256;  // learned ones beyond are not guarded

  // `memory`: a learned flow that is silent for this long is forgotten.
  explicit ExpectedArrivals(Duration memory) : memory_(memory) {}

  void announce(const ArrivalsExpected& announced, const LatencyProfile& profile);
  void withdraw(ModelId model, FlowId flow);
  void withdraw(ModelId model);
  // A critical request came; `profile` is its model's.
  void arrived(const RequestArrived& request, TimePoint now, const LatencyProfile& profile);
  // The model's profile may have changed.
  void profile_changed(ModelId model, const LatencyProfile& profile);

  // The latest end of a run that starts now, so that what is expected can be in time behind it;
  // kNever when nothing is expected. A run that is critical itself is bounded only by announced
  // flows that fit together.
  [[nodiscard]] TimePoint end_latest(TimePoint now, PriorityClass of);
  // Whether critical requests are promised their deadlines here: flows are announced, and fit.
  [[nodiscard]] bool guaranteed() const noexcept { return slack_announced_.has_value(); }
  [[nodiscard]] bool expects(ModelId model) const noexcept {
    return model.value < flows_of_.size() && flows_of_[model.value] > 0;
  }
  [[nodiscard]] std::size_t flows() const noexcept { return ids_.size(); }

  struct Reservation {
    ModelId model;
    TimePoint until;  // the arrival is overdue from then on
  };
  // Set when a run that ends at `end` would make an announced arrival late.
  [[nodiscard]] std::optional<Reservation> reservation(TimePoint now, TimePoint end);

 private:
  struct Flow {
    std::uint64_t key = 0;
    ModelId model;
    bool announced = false;
    int rows = 1;
    SporadicTask task;
    TimePoint last = kNever;  // arrival
    RecentMinimum intervals;
    RecentMinimum deadlines;
  };
  [[nodiscard]] Flow& make(std::uint64_t key, ModelId model);
  void learn(std::uint32_t id, const RequestArrived& request, TimePoint now,
             const LatencyProfile& profile);
  void expect_at(std::uint32_t id, TimePoint next, TimePoint now);
  void open(std::uint32_t id);
  void roll(TimePoint now);
  void forget(std::uint32_t id);
  void refresh_slack();

  Duration memory_;
  std::vector<Flow> flows_;
  std::vector<std::uint32_t> free_;
  std::unordered_map<std::uint64_t, std::uint32_t> ids_;  // by model and flow
  std::vector<std::uint32_t> flows_of_;                   // by model
  std::vector<std::uint32_t> announced_;
  IndexedHeap<TimePoint> ahead_;     // flows whose next arrival lies ahead, by its earliest time
  IndexedHeap<TimePoint> open_;      // flows that may arrive now, by when they are forgotten
  IndexedHeap<TimePoint> reserved_;  // announced flows that aren't overdue, by their next arrival
  IndexedHeap<Duration> slack_;      // how long each may be blocked
  std::optional<Duration> slack_announced_;
  std::size_t announced_open_ = 0;
};

}  // namespace takt::scheduler
