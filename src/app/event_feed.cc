// SPDX-License-Identifier: Apache-2.0
#include "app/event_feed.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <ctime>
#include <utility>

namespace takt::app {
namespace {

// The time of day at which something happened that the monotonic clock has seen at `at`.
std::string time_of_day(TimePoint at, TimePoint now) {
  const auto wall = std::chrono::time_point_cast<std::chrono::milliseconds>(
      std::chrono::system_clock::now() -
      std::chrono::duration_cast<std::chrono::system_clock::duration>(now - at));
  const std::time_t seconds = std::chrono::system_clock::to_time_t(wall);
  std::tm local{};
  ::localtime_r(&seconds, &local);
  return fmt::format("{:%H:%M:%S}.{:03}", local, wall.time_since_epoch().count() % 1000);
}

}  // namespace

void EventFeed::post(const engine::Event& event) {
  const std::scoped_lock lock(mutex_);
  Second& second = seconds_[static_cast<std::size_t>(event.kind)];
  if (second.more == 0 && over(second, event.at)) second = {.begin = event.at};
  if (second.lines < kLinesPerSecondMax && waiting_.size() < kWaitingMax) {
    ++second.lines;
    waiting_.push_back(event);
  } else {
    second.more += event.kind == engine::EventKind::requests_shed ? event.count : 1;
  }
}

std::vector<std::string> EventFeed::take(TimePoint now, bool all) {
  std::vector<engine::Event> events;
  std::vector<std::string> lines;
  std::vector<std::string> more;
  {
    const std::scoped_lock lock(mutex_);
    events.swap(waiting_);
    for (std::size_t i = 0; i < seconds_.size(); ++i) {
      Second& second = seconds_[i];
      if (second.more == 0 || !(all || over(second, now))) continue;
      more.push_back(
          fmt::format("and {} more {}", second.more, to_string(static_cast<engine::EventKind>(i))));
      second = {.begin = now};
    }
  }
  lines.reserve(events.size() + more.size());
  for (const engine::Event& event : events) {
    lines.push_back(fmt::format("{} {} {} on {}: {}", time_of_day(event.at, now),
                                to_string(event.kind), event.name, event.device, event.text));
  }
  lines.insert(lines.end(), more.begin(), more.end());
  return lines;
}

}  // namespace takt::app
