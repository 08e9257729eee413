// SPDX-License-Identifier: Apache-2.0
// From what the tasks found to one verdict with its reasons and its route, by declared rules.
// Thread-safe: pure functions.
// Owns: plain values.
#pragma once

#include "core/result.h"
#include "line/findings.h"
#include "line/region.h"
#include "task/task.h"

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

namespace takt::line {

// How many things a condition must count: at least `min` and at most `max`. Nothing said: at least
// one. Only `max` said: none is fine too.
struct CountRange {
  std::optional<int> min{};
  std::optional<int> max{};
  [[nodiscard]] bool holds(int count) const noexcept;
};

enum class RegionMatch : std::uint8_t { touching, inside };

// Enough detections of some classes, scores, sizes and places.
struct DetectionsSeen {
  std::string task{};                  // empty: of any task
  std::vector<std::string> classes{};  // empty: any class
  float score_min = 0;
  float area_min_px = 0;
  std::string region{};  // empty: anywhere
  RegionMatch region_match = RegionMatch::touching;
  CountRange count{};
};

// Enough crops (or the frame) that a classifier puts into some classes.
struct ClassifiedAs {
  std::string task{};  // empty: of any task
  std::vector<std::string> classes{};
  float score_min = 0;
  CountRange count{};
};

// The largest distance of a matcher, the number of its differences, or both.
struct DistanceSeen {
  std::string task{};  // empty: of any task
  std::optional<float> distance_min{};
  float area_min_px = 0;  // smaller differences don't count
  std::string region{};   // empty: anywhere
  std::optional<CountRange>
      differences{};  // empty: not asked, unless distance_min is empty as well
};

// A detector and a matcher don't see the same places. Boxes correspond when they overlap after
// each is grown by margin_px on every side.
struct PlacesDisagree {
  enum class Side : std::uint8_t { undetected, unmatched, either };
  std::string differences{};  // the matcher's task
  std::string detections{};   // the detector's task
  // undetected: a difference without a detection; unmatched: a detection without a difference.
  Side side = Side::undetected;
  float area_min_px = 0;  // smaller differences don't exist for this condition
  float score_min = 0;    // nor weaker detections
  float margin_px = 0;
};

// A classifier that looked at a detection again says something else.
struct ClassesDisagree {
  enum class Side : std::uint8_t { false_alarm, other_class, either };
  std::string task{};  // the classifier's task
  Side side = Side::either;
  std::string false_alarm_class = "false-alarm";
  float score_min = 0;            // of the classification
  float detection_score_min = 0;  // of the detection
};

// A task did not answer.
struct TaskMissed {
  enum class How : std::uint8_t { late, failed, either };
  std::string task{};  // empty: any
  How how = How::either;
};

// The source could not read the frame.
struct FrameDamaged {};

using Condition = std::variant<DetectionsSeen, ClassifiedAs, DistanceSeen, PlacesDisagree,
                               ClassesDisagree, TaskMissed, FrameDamaged>;

struct Rule {
  std::string name;
  std::vector<Condition> when;  // all must hold; empty never holds
  Verdict then = Verdict::review;
  std::string route;  // empty: the verdict's route
};

struct DecisionSpec {
  std::vector<Rule> rules;
  // When nothing speaks. `pass` has to be said: a line that forgets a rule sends parts to a person.
  Verdict verdict_default = Verdict::review;
  // Of a frame that no task could judge (dropped, damaged), beside the fallbacks of its tasks.
  Verdict fallback = Verdict::review;
  std::array<Verdict, 3> precedence{Verdict::reject, Verdict::review, Verdict::pass};
  std::map<Verdict, std::string> routes;  // of verdicts whose deciding rule names none
  std::map<std::string, Polygon> regions;
};

struct Decision {
  Verdict verdict = Verdict::review;
  // What spoke, the deciding first: "rule:open-circuit open x2 max 0.97", "task:defects late",
  // "dropped", "damaged: golden image missing", "no rule". Never empty for reject and review. Last,
  // whose answers come from a fallback: "task:defects answered by its fallback small: worker_lost".
  std::vector<std::string> reasons;
  std::string route;
  bool by_fallback = false;  // at least one task did not answer, or none could
};

// Every rule that holds speaks, and so does the fallback of each task that did not answer; the
// verdict that comes first in `precedence` wins. A condition on the absence of something doesn't
// hold while a task that could have seen it has not answered.
[[nodiscard]] Decision decide(const DecisionSpec& spec, const FrameFindings& findings);

// Checks the names of tasks and regions, the ranges and the order. Errors: invalid_input; the
// message says which rule and suggests the nearest name.
[[nodiscard]] Result<void> check(const DecisionSpec& spec, std::span<const std::string> tasks);

}  // namespace takt::line
