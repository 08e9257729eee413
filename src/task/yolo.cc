// SPDX-License-Identifier: Apache-2.0
// Raw heads of the YOLO family: a row of centre x, centre y, width, height in model pixels and class
// scores in 0..1 for each anchor; v5 has an objectness before the class scores.
// One label a box, that of the best class; with multi_label every class above the threshold, which
// is how mean average precision is usually measured.
#include "task/nms.h"
#include "task/outputs.h"
#include "task/postprocessors.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <functional>
#include <limits>
#include <string>

namespace takt::postprocess {
namespace {

struct Layout {
  std::string_view name;
  bool objectness;
  bool anchors_first;  // [anchors, values] rather than [values, anchors]
};

constexpr std::array kLayouts{Layout{"v8", false, false}, Layout{"v8_transposed", false, true},
                              Layout{"v5", true, true}};

std::int64_t values_per_anchor(const Layout& layout, std::size_t classes) noexcept {
  return (layout.objectness ? 5 : 4) + static_cast<std::int64_t>(classes);
}

// A model's output that a layout reads.
struct Head {
  std::size_t output = 0;
  Layout layout{};
  bool exact = false;  // the dimension is known and right, rather than "any"
};

std::string expectation(std::size_t classes) {
  const std::string v8 = std::to_string(classes + 4);
  return "with " + std::to_string(classes) + " classes expected [" + v8 +
         ",anchors] (layout v8), [anchors," + v8 + "] (v8_transposed) or [anchors," +
         std::to_string(classes + 5) + "] (v5)";
}

// Every reading of the outputs; those by a dimension of "any" count only if there is no other.
std::vector<Head> heads_of(const PostprocessSpec& spec, const Signature& signature) {
  std::vector<Head> heads;
  for (std::size_t i = 0; i < signature.outputs.size(); ++i) {
    const auto shape = sample_shape(signature.outputs[i].shape, 2);
    if (!shape || !is_floating(signature.outputs[i].type)) continue;
    for (const Layout& layout : kLayouts) {
      if (spec.layout != "auto" && spec.layout != layout.name) continue;
      const std::int64_t found = (*shape)[layout.anchors_first ? 1 : 0];
      const bool exact = found == values_per_anchor(layout, spec.classes.size());
      if (exact || found == -1) heads.push_back({i, layout, exact});
    }
  }
  if (std::ranges::any_of(heads, &Head::exact)) std::erase_if(heads, std::not_fn(&Head::exact));
  return heads;
}

// The anchors' candidates, in pixels of the model's input.
struct Reader {
  std::span<const float> values;
  std::size_t anchors = 0;
  std::size_t classes = 0;
  float score_min = 0;
  bool multi_label = false;
  std::string_view output;

  [[nodiscard]] Result<std::vector<Detection>> values_first() const;
  [[nodiscard]] Result<std::vector<Detection>> anchors_first(bool objectness) const;
  [[nodiscard]] Result<Detection> candidate(std::size_t anchor, std::array<float, 4> box,
                                            int class_index, float score) const;
};

Result<Detection> Reader::candidate(std::size_t anchor, std::array<float, 4> box, int class_index,
                                    float score) const {
  const auto [x, y, width, height] = box;
  const auto at = [anchor] { return " at anchor " + std::to_string(anchor); };
  if (score > 1.001F) {
    return corrupt(output, "score " + std::to_string(score) + at() +
                               ", expected 0 to 1: was the model exported without its sigmoid?");
  }
  if (width < 0 || height < 0) {
    return corrupt(output, "a box of negative size " + std::to_string(width) + "x" +
                               std::to_string(height) + at());
  }
  return Detection{class_index, std::min(score, 1.0F),
                   Box{x - width / 2, y - height / 2, x + width / 2, y + height / 2}};
}

// [values, anchors]: the best score of every anchor, class row by class row, which vectorises; then
// a closer look only at the few anchors above the threshold.
Result<std::vector<Detection>> Reader::values_first() const {
  const auto row = [&](std::size_t value) { return values.data() + value * anchors; };
  std::vector<float> best(row(4), row(5));
  for (std::size_t c = 1; c < classes; ++c) {
    const float* __restrict scores = row(4 + c);
    float* __restrict highest = best.data();
    for (std::size_t a = 0; a < anchors; ++a) highest[a] = std::max(highest[a], scores[a]);
  }
  std::vector<Detection> found;
  for (std::size_t a = 0; a < anchors; ++a) {
    if (best[a] < score_min) continue;
    const float label_min = multi_label ? score_min : best[a];
    bool labelled = false;
    for (std::size_t c = 0; c < classes; ++c) {
      const float score = row(4 + c)[a];
      if (score < label_min || (labelled && !multi_label)) continue;
      auto made =
          candidate(a, {row(0)[a], row(1)[a], row(2)[a], row(3)[a]}, static_cast<int>(c), score);
      if (!made) return std::unexpected(std::move(made.error()));
      found.push_back(*made);
      labelled = true;
    }
  }
  return found;
}

// The largest score, if one is at least 0; otherwise any of them. Compared as integers, which order
// like floats from 0 on and, unlike floats, may be compared in parallel.
float largest(std::span<const float> scores) noexcept {
  auto bits = std::numeric_limits<std::int32_t>::min();
  for (const float score : scores) bits = std::max(bits, std::bit_cast<std::int32_t>(score));
  return std::bit_cast<float>(bits);
}

Result<std::vector<Detection>> Reader::anchors_first(bool objectness) const {
  const std::size_t first = objectness ? 5 : 4;
  std::vector<Detection> found;
  for (std::size_t a = 0; a < anchors; ++a) {
    const float* anchor = values.data() + a * (first + classes);
    const float object = objectness ? anchor[4] : 1.0F;
    if (object < score_min) continue;  // a class score is at most 1
    const std::span<const float> scores(anchor + first, classes);
    const float best = largest(scores);
    if (object * best < score_min) continue;
    const auto best_class =
        static_cast<std::size_t>(std::ranges::find(scores, best) - scores.begin());
    for (std::size_t c = 0; c < classes; ++c) {
      const float score = object * scores[c];
      if (multi_label ? score < score_min : c != best_class) continue;
      auto made =
          candidate(a, {anchor[0], anchor[1], anchor[2], anchor[3]}, static_cast<int>(c), score);
      if (!made) return std::unexpected(std::move(made.error()));
      found.push_back(*made);
    }
  }
  return found;
}

class Yolo final : public Postprocessor {
 public:
  Yolo(const PostprocessSpec& spec, Head head, std::string output)
      : spec_(spec), head_(head), output_(std::move(output)) {}

  Result<TaskResult> run(std::span<const TensorView> outputs,
                         const Placement& placement) const override {
    if (head_.output >= outputs.size()) return corrupt(output_, "missing");
    const TensorView& view = outputs[head_.output];
    const auto shape = sample_shape(view.shape, 2);
    const std::size_t classes = spec_.classes.size();
    if (!shape ||
        (*shape)[head_.layout.anchors_first ? 1 : 0] != values_per_anchor(head_.layout, classes)) {
      return corrupt(output_, "shape " + to_string(view.shape) + ", " + expectation(classes));
    }
    const auto floats = read_floats(view, output_);
    if (!floats) return std::unexpected(floats.error());
    const auto anchors = static_cast<std::size_t>((*shape)[head_.layout.anchors_first ? 0 : 1]);
    const Reader reader{floats->values,  anchors,           classes,
                        spec_.score_min, spec_.multi_label, output_};
    auto found = head_.layout.anchors_first ? reader.anchors_first(head_.layout.objectness)
                                            : reader.values_first();
    if (!found) return std::unexpected(std::move(found.error()));
    suppress(*found, {spec_.iou_max, spec_.class_agnostic, spec_.detections_max});
    map_to_source(*found, placement);
    return TaskResult(std::move(*found));
  }

 private:
  PostprocessSpec spec_;
  Head head_;
  std::string output_;
};

}  // namespace

Made make_yolo(const PostprocessSpec& spec, const Signature& signature) {
  if (auto checked = check_layout(spec, {"v8", "v8_transposed", "v5"}); !checked) {
    return std::unexpected(checked.error());
  }
  if (spec.classes.empty()) {
    return fail(ErrorKind::invalid_input,
                "classes is empty; list the model's class names in order");
  }
  const auto heads = heads_of(spec, signature);
  if (heads.empty()) {
    return fail(ErrorKind::invalid_input,
                "the model has " + describe(signature) + "; " + expectation(spec.classes.size()) +
                    "; check the number of classes" +
                    (spec.layout == "auto" ? "" : " and layout '" + spec.layout + "'"));
  }
  if (heads.size() > 1) {
    std::string readings;
    for (const Head& head : heads) {
      readings += (readings.empty() ? "" : " or ") + std::string(head.layout.name) + " ('" +
                  signature.outputs[head.output].name + "')";
    }
    return fail(ErrorKind::invalid_input, "the model has " + describe(signature) +
                                              ", which can be read as " + readings +
                                              "; set layout to one of v8, v8_transposed, v5");
  }
  return std::make_unique<Yolo>(spec, heads.front(), signature.outputs[heads.front().output].name);
}

}  // namespace takt::postprocess
