// SPDX-License-Identifier: Apache-2.0
// Detectors that finish the job themselves: boxes [N,4] (corners in model pixels), labels [N] and
// scores [N], as torchvision and Detectron2 export them.
#include "task/nms.h"
#include "task/outputs.h"
#include "task/postprocessors.h"

#include <algorithm>
#include <array>
#include <string>

namespace takt::postprocess {
namespace {

enum Role : std::size_t { kBoxes, kLabels, kScores, kRoleCount };

struct RoleRule {
  std::string_view name;
  std::array<std::string_view, 2> words;  // parts of the output names that exporters use
};

constexpr std::array<RoleRule, kRoleCount> kRules{
    RoleRule{"boxes", {"box", "box"}},
    RoleRule{"labels", {"label", "class"}},
    RoleRule{"scores", {"score", "conf"}},
};

bool carries_name(const RoleRule& rule, const TensorSpec& output) {
  return std::ranges::any_of(rule.words, [&](std::string_view word) {
    return output.name.find(word) != std::string::npos;
  });
}

// `boxes` is null while the boxes are looked for; labels and scores have one dimension less.
bool fits(Role role, const TensorSpec& output, const TensorSpec* boxes) {
  if (role == kBoxes) {
    const auto shape = sample_shape(output.shape, 2);
    if (!shape || !is_floating(output.type)) return false;
    return (*shape)[1] == 4 || ((*shape)[1] == -1 && carries_name(kRules[kBoxes], output));
  }
  const bool type_fits = role == kLabels ? is_label_type(output.type) : is_floating(output.type);
  return type_fits && output.shape.size() + 1 == boxes->shape.size();
}

using Roles = std::array<std::size_t, kRoleCount>;

std::unexpected<Error> unfit(const Signature& signature, const std::string& what) {
  return fail(ErrorKind::invalid_input,
              "the model has " + describe(signature) + "; " + what +
                  "; expected boxes FP32 [N,4], labels INT64 [N] and scores FP32 [N]: name the "
                  "outputs so when exporting the model");
}

// By name where exactly one output carries the word and has the type and shape, else by type and
// shape alone.
Result<std::size_t> find_output(Role role, const Signature& signature, const TensorSpec* boxes) {
  std::vector<std::size_t> fitting;
  std::vector<std::size_t> named;
  for (std::size_t i = 0; i < signature.outputs.size(); ++i) {
    const TensorSpec& output = signature.outputs[i];
    if (!fits(role, output, boxes)) continue;
    fitting.push_back(i);
    if (carries_name(kRules[role], output)) named.push_back(i);
  }
  if (named.size() == 1) return named.front();
  if (fitting.size() == 1) return fitting.front();
  const std::string name(kRules[role].name);
  return unfit(signature,
               fitting.empty() ? "none can be the " + name : "more than one can be the " + name);
}

bool is_background(std::string_view name) noexcept {
  return name == "background" || name == "__background__";
}

// What a label of 0 means: -1 when it is background and classes doesn't list it, so that label 1 is
// classes[0]; otherwise 0.
struct Labels {
  std::int64_t offset = 0;
  bool drop_background = false;  // classes[0] is the background: never a detection
};

Result<Labels> label_rule(const PostprocessSpec& spec, std::string_view labels_output) {
  if (spec.classes.empty()) {
    return fail(ErrorKind::invalid_input,
                "classes is empty; list the model's class names in order");
  }
  if (is_background(spec.classes.front())) return Labels{0, true};
  if (spec.layout == "torchvision") return Labels{-1, true};
  if (spec.layout == "detectron2" || labels_output == "pred_classes") return Labels{0, false};
  return fail(
      ErrorKind::invalid_input,
      "does label 0 of output '" + std::string(labels_output) + "' mean background or '" +
          spec.classes.front() +
          "'? Set layout: torchvision (background) or detectron2 (the first class), or begin "
          "classes with 'background'");
}

class BoxesLabelsScores final : public Postprocessor {
 public:
  BoxesLabelsScores(const PostprocessSpec& spec, Roles roles, Labels labels,
                    const Signature& signature)
      : spec_(spec), roles_(roles), labels_(labels) {
    for (std::size_t role = 0; role < kRoleCount; ++role) {
      names_[role] = signature.outputs[roles[role]].name;
    }
  }

  Result<TaskResult> run(std::span<const TensorView> outputs,
                         const Placement& placement) const override {
    for (std::size_t role = 0; role < kRoleCount; ++role) {
      if (roles_[role] >= outputs.size()) return corrupt(names_[role], "missing");
    }
    const auto boxes = read_floats(outputs[roles_[kBoxes]], names_[kBoxes]);
    if (!boxes) return std::unexpected(boxes.error());
    const auto labels = read_integers(outputs[roles_[kLabels]], names_[kLabels]);
    if (!labels) return std::unexpected(labels.error());
    const auto scores = read_floats(outputs[roles_[kScores]], names_[kScores]);
    if (!scores) return std::unexpected(scores.error());
    const auto shape = sample_shape(outputs[roles_[kBoxes]].shape, 2);
    if (!shape || (*shape)[1] != 4 || scores->values.size() != labels->size() ||
        boxes->values.size() != labels->size() * 4) {
      return corrupt(names_[kBoxes], "shape " + to_string(outputs[roles_[kBoxes]].shape) +
                                         " with " + std::to_string(labels->size()) +
                                         " labels and " + std::to_string(scores->values.size()) +
                                         " scores, expected [N,4], [N] and [N]");
    }
    auto found = read(boxes->values, *labels, scores->values);
    if (!found) return std::unexpected(std::move(found.error()));
    keep_best(*found, static_cast<std::size_t>(spec_.detections_max));
    map_to_source(*found, placement);
    return TaskResult(std::move(*found));
  }

 private:
  [[nodiscard]] Result<std::vector<Detection>> read(std::span<const float> boxes,
                                                    std::span<const std::int64_t> labels,
                                                    std::span<const float> scores) const {
    std::vector<Detection> found;
    for (std::size_t i = 0; i < labels.size(); ++i) {
      if (scores[i] < spec_.score_min) continue;
      if (labels_.drop_background && labels[i] == 0) continue;
      const std::int64_t index = labels[i] + labels_.offset;
      if (index < 0 || index >= static_cast<std::int64_t>(spec_.classes.size())) {
        return corrupt(names_[kLabels], "label " + std::to_string(labels[i]) + ", but there are " +
                                            std::to_string(spec_.classes.size()) +
                                            " classes; check classes and layout");
      }
      if (scores[i] > 1.001F) {
        return corrupt(names_[kScores], "score " + std::to_string(scores[i]) + ", expected 0 to 1");
      }
      const Box box{boxes[4 * i], boxes[4 * i + 1], boxes[4 * i + 2], boxes[4 * i + 3]};
      if (box.width() < 0 || box.height() < 0) {
        return corrupt(names_[kBoxes], "box " + std::to_string(i) + " has a negative size");
      }
      found.push_back({static_cast<int>(index), std::min(scores[i], 1.0F), box});
    }
    return found;
  }

  PostprocessSpec spec_;
  Roles roles_;
  Labels labels_;
  std::array<std::string, kRoleCount> names_;
};

}  // namespace

Made make_boxes_labels_scores(const PostprocessSpec& spec, const Signature& signature) {
  if (auto checked = check_layout(spec, {"torchvision", "detectron2"}); !checked) {
    return std::unexpected(checked.error());
  }
  Roles roles{};
  const TensorSpec* boxes = nullptr;
  for (const Role role : {kBoxes, kLabels, kScores}) {
    const auto output = find_output(role, signature, boxes);
    if (!output) return std::unexpected(output.error());
    roles[role] = *output;
    boxes = &signature.outputs[roles[kBoxes]];
  }
  const auto labels = label_rule(spec, signature.outputs[roles[kLabels]].name);
  if (!labels) return std::unexpected(labels.error());
  return std::make_unique<BoxesLabelsScores>(spec, roles, *labels, signature);
}

}  // namespace takt::postprocess
