// SPDX-License-Identifier: Apache-2.0
// The dispatcher's part that tells of steps on the ladder of degradation.
#include "engine/dispatcher.h"

#include <algorithm>
#include <string>
#include <utility>

namespace takt::engine {
namespace {

// A queue is one for all of the model's devices.
std::string devices_of(const ServedModel& model) {
  std::string names;
  for (const ServedReplicaPtr& replica : model.replicas())
    names += (names.empty() ? "" : ", ") + replica->info.device;
  return names;
}

}  // namespace

void Dispatcher::act(const scheduler::BatchLimitChanged& action) {
  const auto found = models_.find(action.model);
  if (found == models_.end()) return;
  const Replica* const replica = found->second.on(action.device);
  if (replica == nullptr) return;
  replica->served->batch_limit = action.rows;
  const bool lowered = action.rows < action.rows_before;
  const std::string rows =
      std::to_string(action.rows) + " of " + std::to_string(action.rows_max) + " rows";
  Event event{.kind = lowered ? EventKind::batch_limit_lowered : EventKind::batch_limit_raised,
              .at = clock_.now(),
              .name = found->second.served->label(),
              .device = replica->served->info.device,
              .text = lowered
                          ? "memory ran out: its batches have at most " + rows +
                                " until it has sufficed for memory_quiet; give it more memory, or "
                                "lower its batch_max or the number of instances"
                          : "memory sufficed for memory_quiet: its batches have at most " + rows,
              .rows = action.rows};
  happenings_.tell(event);
}

void Dispatcher::note_shed(const PendingRequest& request) {
  const PriorityClass priority = request.request.priority;
  ++counters_->shed[static_cast<std::size_t>(priority)];
  const auto known = std::ranges::find_if(shed_, [&](const Shed& shed) {
    return shed.model == request.model && shed.priority == priority;
  });
  if (known != shed_.end()) {
    ++known->count;
  } else {
    shed_.push_back({request.model, priority, 1});
  }
}

// Once a round and not once a request: under overload there is enough to do.
void Dispatcher::tell_shed() {
  for (const Shed& shed : shed_) {
    happenings_.tell({.kind = EventKind::requests_shed,
                      .at = clock_.now(),
                      .name = shed.model->label(),
                      .device = devices_of(*shed.model),
                      .text = std::to_string(shed.count) + " of class " +
                              std::string(to_string(shed.priority)) +
                              " gave way to more urgent requests in its full queue; send less, "
                              "add instances, or raise queue_depth_max or queue_bytes_max",
                      .count = shed.count});
  }
  shed_.clear();
}

}  // namespace takt::engine
