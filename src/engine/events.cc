// SPDX-License-Identifier: Apache-2.0
#include "engine/events.h"

namespace takt::engine {

std::string_view to_string(EventKind kind) noexcept {
  switch (kind) {
    case EventKind::worker_lost:
      return "worker_lost";
    case EventKind::worker_back:
      return "worker_back";
    case EventKind::circuit_opened:
      return "circuit_opened";
    case EventKind::circuit_closed:
      return "circuit_closed";
    case EventKind::device_restarted:
      return "device_restarted";
    case EventKind::batch_limit_lowered:
      return "batch_limit_lowered";
    case EventKind::batch_limit_raised:
      return "batch_limit_raised";
    case EventKind::requests_shed:
      return "requests_shed";
    case EventKind::lane_reserved:
      return "lane_reserved";
  }
  return "unknown";
}

void Events::tell(const Event& event) {
  count(event.kind, event.kind == EventKind::requests_shed ? event.count : 1);
  if (observer_) observer_(event);
}

EventCounts Events::counts() const {
  EventCounts counts{};
  for (std::size_t i = 0; i < counts.size(); ++i) counts[i] = counts_[i];
  return counts;
}

}  // namespace takt::engine
