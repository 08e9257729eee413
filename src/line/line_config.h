// SPDX-License-Identifier: Apache-2.0
// One line as it is configured: its tasks, its deadline, its queues, its decision.
// Thread-safe: plain values.
// Owns: plain values.
#pragma once

#include "core/ids.h"
#include "core/time.h"
#include "line/decision.h"
#include "memory/frame_ring.h"
#include "task/task.h"

#include <cstddef>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace takt::line {

struct RingOptions {
  std::size_t capacity = 8;
  RingPolicy policy = RingPolicy::drop_oldest;
};

// A classification that is sure enough renames the detection in the record; rules see both.
struct RelabelOptions {
  bool enabled = false;
  float score_min = 0.5F;
  std::string false_alarm_class = "false-alarm";  // never becomes a name
};

struct LineConfig {
  std::string name;
  FlowId flow{};                   // lines of the same class take turns; its own for each line
  std::string recipe;              // for frames that name none
  std::vector<std::string> tasks;  // names of the `tasks:` section
  // From capture to verdict. Empty: offline inspection, as fast as the machine can.
  std::optional<Duration> deadline;
  // How long before the deadline the timer decides, so that the verdict is out by then; at most a
  // tenth of the deadline.
  Duration verdict_margin = std::chrono::milliseconds(1);
  // Without a deadline a frame is given up after this long without its answers (a device that
  // hangs).
  Duration patience = std::chrono::seconds(60);
  RingOptions ring;
  std::size_t frames_in_flight_max = 8;
  // Verdicts leave in the order of their frames. Empty: yes without a deadline, no with one (an
  // early verdict doesn't wait for a slow frame).
  std::optional<bool> in_order;
  DecisionSpec decision;
  RelabelOptions relabel;
  // Verdicts that wait for the sinks. A full queue skips the sinks (the journal has the verdict); a
  // line without a deadline waits instead.
  std::size_t sink_queue_max = 1024;
  // How many of those may keep their pixels, each holding its slots; further ones are queued
  // without.
  std::size_t sink_pictures_max = 16;
  std::set<Verdict> pictures{Verdict::reject, Verdict::review};  // whose pixels the sinks get
  // How long stop() waits for frames of a line without a deadline before it answers them.
  Duration drain_max = std::chrono::seconds(10);
};

}  // namespace takt::line
