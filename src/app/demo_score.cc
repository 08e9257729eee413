// SPDX-License-Identifier: Apache-2.0
#include "app/demo_score.h"

#include <vector>

namespace takt::app {
namespace {

constexpr float kIouMin = 0.33F;

// Greedy, best score first (detections come sorted by score): each finds at most one defect.
void match(const line::VerdictRecord& record, float score_min, Score& score) {
  std::vector<bool> found(record.known_defects.size(), false);
  for (const line::NamedDetection& detection : record.detections) {
    if (detection.score < score_min) continue;
    std::size_t best = found.size();
    float best_iou = kIouMin;
    for (std::size_t i = 0; i < found.size(); ++i) {
      const float overlap = iou(detection.box, record.known_defects[i].box);
      if (!found[i] && overlap > best_iou) {
        best = i;
        best_iou = overlap;
      }
    }
    if (best == found.size()) {
      ++score.false_alarms;
      continue;
    }
    found[best] = true;
    const bool right = detection.class_name == record.known_defects[best].class_name;
    ++(right ? score.defects_found : score.defects_wrong_class);
  }
}

}  // namespace

void DemoScore::on_verdict(const line::VerdictRecord& record) {
  if (!record.truth_known) return;
  const std::scoped_lock lock(mutex_);
  ++score_.boards;
  if (record.by_fallback) return;
  ++score_.boards_judged;
  score_.defects += record.known_defects.size();
  match(record, score_min_, score_);
  const bool defective = !record.known_defects.empty();
  if (defective && record.verdict == Verdict::pass) ++score_.escapes;
  if (!defective && record.verdict == Verdict::reject) ++score_.overkill;
}

Score DemoScore::score() const {
  const std::scoped_lock lock(mutex_);
  return score_;
}

}  // namespace takt::app
