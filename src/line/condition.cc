// SPDX-License-Identifier: Apache-2.0
#include "line/condition.h"

#include <algorithm>
#include <cstdio>
#include <iterator>
#include <string_view>
#include <vector>

namespace takt::line {
namespace {

using Evidence = std::optional<std::string>;

std::string number(float value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2f", static_cast<double>(value));
  return text;
}

// What a condition found: how many under which name, and the largest value among them.
class Tally {
 public:
  void add(const std::string& name, float value) {
    ++counts_[name];
    max_ = total_ == 0 ? value : std::max(max_, value);
    ++total_;
  }
  [[nodiscard]] int total() const noexcept { return total_; }

  // "open x2 short x1 max 0.97"; `none` when nothing was found.
  [[nodiscard]] std::string text(std::string_view none) const {
    if (total_ == 0) return std::string(none) + " x0";
    std::string text;
    for (const auto& [name, count] : counts_) text += name + " x" + std::to_string(count) + " ";
    return text + "max " + number(max_);
  }

 private:
  std::map<std::string, int> counts_;  // sorted, so that the text doesn't depend on the order
  float max_ = 0;
  int total_ = 0;
};

bool is_any_of(const std::vector<std::string>& names, const std::string& name) {
  return names.empty() || std::ranges::find(names, name) != names.end();
}

bool concerns(const std::string& wanted, const TaskFinding& finding) {
  return wanted.empty() || wanted == finding.task;
}

bool all_answered(const std::string& wanted, const FrameFindings& findings) {
  if (findings.dropped || findings.damage) return false;
  return std::ranges::all_of(findings.tasks, [&](const TaskFinding& finding) {
    return !concerns(wanted, finding) || finding.state == TaskState::answered;
  });
}

const TaskFinding* find(const std::string& task, const FrameFindings& findings) {
  const auto found = std::ranges::find(findings.tasks, task, &TaskFinding::task);
  return found == findings.tasks.end() ? nullptr : &*found;
}

const TaskFinding* find_answered(const std::string& task, const FrameFindings& findings) {
  const TaskFinding* finding = find(task, findings);
  return finding != nullptr && finding->state == TaskState::answered ? finding : nullptr;
}

// More of what is missing could still make the condition false, or true by its absence.
bool needs_everything(const CountRange& count) {
  return count.max.has_value() || count.min == 0;
}

std::string joined(const std::vector<std::string>& names, std::string_view none) {
  if (names.empty()) return std::string(none);
  std::string text = names.front();
  for (std::size_t i = 1; i < names.size(); ++i) text += "," + names[i];
  return text;
}

class Evaluator {
 public:
  Evaluator(const FrameFindings& findings, const std::map<std::string, Polygon>& regions)
      : findings_(findings), regions_(regions) {}

  Evidence operator()(const DetectionsSeen& condition) const {
    if (needs_everything(condition.count) && !all_answered(condition.task, findings_)) return {};
    Tally tally;
    for (const TaskFinding& finding : findings_.tasks) {
      if (!concerns(condition.task, finding)) continue;
      for (const SeenDetection& seen : finding.detections) {
        if (seen.score >= condition.score_min && is_any_of(condition.classes, seen.class_name) &&
            seen.box.area() >= condition.area_min_px &&
            lies(seen.box, condition.region, condition.region_match)) {
          tally.add(seen.class_name, seen.score);
        }
      }
    }
    if (!condition.count.holds(tally.total())) return {};
    return tally.text(joined(condition.classes, "detection"));
  }

  Evidence operator()(const ClassifiedAs& condition) const {
    if (needs_everything(condition.count) && !all_answered(condition.task, findings_)) return {};
    Tally tally;
    for (const TaskFinding& finding : findings_.tasks) {
      if (!concerns(condition.task, finding)) continue;
      for (const SeenClass& seen : finding.classes) {
        if (seen.score >= condition.score_min && is_any_of(condition.classes, seen.class_name)) {
          tally.add(finding.task + "=" + seen.class_name, seen.score);
        }
      }
    }
    if (!condition.count.holds(tally.total())) return {};
    return tally.text(joined(condition.classes, "class"));
  }

  Evidence operator()(const DistanceSeen& condition) const {
    std::string text;
    if (condition.distance_min) {
      const std::optional<float> distance = largest_distance(condition.task);
      if (!distance || !(*distance >= *condition.distance_min)) return {};
      text = "distance " + number(*distance);
    }
    if (condition.distance_min && !condition.differences) return text;
    const CountRange count = condition.differences.value_or(CountRange{});
    if (needs_everything(count) && !all_answered(condition.task, findings_)) return {};
    const Tally tally = differences(condition);
    if (!count.holds(tally.total())) return {};
    return (text.empty() ? "" : text + " ") + tally.text("difference");
  }

  Evidence operator()(const PlacesDisagree& condition) const {
    const TaskFinding* matcher = find_answered(condition.differences, findings_);
    const TaskFinding* detector = find_answered(condition.detections, findings_);
    if (matcher == nullptr || detector == nullptr || !matcher->distance) return {};
    std::string text;
    if (condition.side != PlacesDisagree::Side::unmatched) {
      const Tally tally = undetected(condition, *matcher, *detector);
      if (tally.total() > 0) text = tally.text("") + " undetected by " + condition.detections;
    }
    if (condition.side != PlacesDisagree::Side::undetected) {
      const Tally tally = unmatched(condition, *matcher, *detector);
      if (tally.total() > 0) {
        text +=
            (text.empty() ? "" : " ") + tally.text("") + " unmatched by " + condition.differences;
      }
    }
    return text.empty() ? Evidence{} : Evidence{text};
  }

  Evidence operator()(const ClassesDisagree& condition) const {
    const TaskFinding* classifier = find(condition.task, findings_);
    const TaskFinding* detector =
        classifier == nullptr ? nullptr : find(classifier->from_task, findings_);
    if (detector == nullptr) return {};
    Tally tally;
    for (const SeenClass& seen : classifier->classes) {
      if (!seen.detection || *seen.detection >= detector->detections.size()) continue;
      const SeenDetection& detection = detector->detections[*seen.detection];
      if (seen.score >= condition.score_min && detection.score >= condition.detection_score_min &&
          contradicts(condition, seen.class_name, detection.class_name)) {
        tally.add(detection.class_name + "->" + seen.class_name, seen.score);
      }
    }
    return tally.total() > 0 ? Evidence{condition.task + " " + tally.text("")} : Evidence{};
  }

  Evidence operator()(const TaskMissed& condition) const {
    std::string text;
    for (const TaskFinding& finding : findings_.tasks) {
      if (!concerns(condition.task, finding)) continue;
      const bool late =
          finding.state == TaskState::late && condition.how != TaskMissed::How::failed;
      const bool failed =
          finding.state == TaskState::failed && condition.how != TaskMissed::How::late;
      if (!late && !failed) continue;
      if (!text.empty()) text += " ";
      text += finding.task + " " + std::string(to_string(finding.state));
    }
    return text.empty() ? Evidence{} : Evidence{text};
  }

  Evidence operator()(const FrameDamaged& /*condition*/) const {
    return findings_.damage ? Evidence{"damaged"} : Evidence{};
  }

 private:
  [[nodiscard]] bool lies(const Box& box, const std::string& region, RegionMatch match) const {
    if (region.empty()) return true;
    const auto polygon = regions_.find(region);
    if (polygon == regions_.end()) return false;  // check() refuses such a rule
    return match == RegionMatch::inside ? inside(box, polygon->second)
                                        : touching(box, polygon->second);
  }

  [[nodiscard]] std::optional<float> largest_distance(const std::string& task) const {
    std::optional<float> largest;
    for (const TaskFinding& finding : findings_.tasks) {
      if (!concerns(task, finding) || !finding.distance) continue;
      largest = std::max(largest.value_or(finding.distance->distance), finding.distance->distance);
    }
    return largest;
  }

  [[nodiscard]] Tally differences(const DistanceSeen& condition) const {
    Tally tally;
    for (const TaskFinding& finding : findings_.tasks) {
      if (!concerns(condition.task, finding) || !finding.distance) continue;
      for (const Difference& seen : finding.distance->differences) {
        if (seen.area_px >= condition.area_min_px &&
            lies(seen.box, condition.region, RegionMatch::touching)) {
          tally.add("difference", seen.distance);
        }
      }
    }
    return tally;
  }

  static bool overlap(const Box& a, const Box& b, float margin_px) {
    return a.x1 - margin_px < b.x2 + margin_px && b.x1 - margin_px < a.x2 + margin_px &&
           a.y1 - margin_px < b.y2 + margin_px && b.y1 - margin_px < a.y2 + margin_px;
  }

  static Tally undetected(const PlacesDisagree& condition, const TaskFinding& matcher,
                          const TaskFinding& detector) {
    Tally tally;
    for (const Difference& difference : matcher.distance->differences) {
      if (difference.area_px < condition.area_min_px) continue;
      const bool seen =
          std::ranges::any_of(detector.detections, [&](const SeenDetection& detection) {
            return detection.score >= condition.score_min &&
                   overlap(detection.box, difference.box, condition.margin_px);
          });
      if (!seen) tally.add("difference", difference.distance);
    }
    return tally;
  }

  static Tally unmatched(const PlacesDisagree& condition, const TaskFinding& matcher,
                         const TaskFinding& detector) {
    Tally tally;
    for (const SeenDetection& detection : detector.detections) {
      if (!(detection.score >= condition.score_min)) continue;
      const bool seen =
          std::ranges::any_of(matcher.distance->differences, [&](const Difference& difference) {
            return difference.area_px >= condition.area_min_px &&
                   overlap(detection.box, difference.box, condition.margin_px);
          });
      if (!seen) tally.add(detection.class_name, detection.score);
    }
    return tally;
  }

  static bool contradicts(const ClassesDisagree& condition, const std::string& classified,
                          const std::string& detected) {
    const bool false_alarm = classified == condition.false_alarm_class;
    switch (condition.side) {
      case ClassesDisagree::Side::false_alarm:
        return false_alarm;
      case ClassesDisagree::Side::other_class:
        return !false_alarm && classified != detected;
      case ClassesDisagree::Side::either:
        return false_alarm || classified != detected;
    }
    return false;
  }

  const FrameFindings& findings_;
  const std::map<std::string, Polygon>& regions_;
};

}  // namespace

bool CountRange::holds(int count) const noexcept {
  return count >= min.value_or(max ? 0 : 1) && (!max || count <= *max);
}

std::optional<std::string> evidence(const Condition& condition, const FrameFindings& findings,
                                    const std::map<std::string, Polygon>& regions) {
  return std::visit(Evaluator(findings, regions), condition);
}

}  // namespace takt::line
