// SPDX-License-Identifier: Apache-2.0
// Detection transformers: logits [Q,C+1] with "no object" last (softmax; Carion et al., "End-to-End
// Object Detection with Transformers", 2020) or [Q,C] (sigmoid; Deformable DETR and its successors),
// and boxes [Q,4] as centre x, centre y, width, height in 0..1 of the model's input. No suppression:
// the queries are trained to be unique.
#include "task/nms.h"
#include "task/outputs.h"
#include "task/postprocessors.h"

#include <algorithm>
#include <cmath>

namespace takt::postprocess {
namespace {

struct Outputs {
  std::size_t logits = 0;
  std::size_t boxes = 0;
};

struct BestClass {
  int index = 0;
  float score = 0;
};

// Softmax over all logits; the last, "no object", takes its share but can't win.
BestClass best_by_softmax(std::span<const float> logits) {
  const auto last = logits.end() - 1;
  const auto best = std::max_element(logits.begin(), last);
  const float largest = *std::ranges::max_element(logits);
  float sum = 0;
  for (const float logit : logits) sum += std::exp(logit - largest);
  return {static_cast<int>(best - logits.begin()), std::exp(*best - largest) / sum};
}

BestClass best_by_sigmoid(std::span<const float> logits) {
  const auto best = std::ranges::max_element(logits);
  return {static_cast<int>(best - logits.begin()), 1.0F / (1.0F + std::exp(-*best))};
}

class Detr final : public Postprocessor {
 public:
  Detr(const PostprocessSpec& spec, Outputs at, const Signature& signature)
      : spec_(spec),
        at_(at),
        logits_name_(signature.outputs[at.logits].name),
        boxes_name_(signature.outputs[at.boxes].name) {}

  Result<TaskResult> run(std::span<const TensorView> outputs,
                         const Placement& placement) const override {
    if (auto checked = check_placement(placement); !checked) {
      return std::unexpected(checked.error());
    }
    if (std::max(at_.logits, at_.boxes) >= outputs.size()) return corrupt(logits_name_, "missing");
    const auto logits = read_floats(outputs[at_.logits], logits_name_);
    if (!logits) return std::unexpected(logits.error());
    const auto boxes = read_floats(outputs[at_.boxes], boxes_name_);
    if (!boxes) return std::unexpected(boxes.error());
    const auto shape = sample_shape(outputs[at_.logits].shape, 2);
    const auto classes = static_cast<std::int64_t>(spec_.classes.size());
    if (!shape || ((*shape)[1] != classes && (*shape)[1] != classes + 1) ||
        boxes->values.size() != static_cast<std::size_t>((*shape)[0]) * 4) {
      return corrupt(logits_name_, "shape " + to_string(outputs[at_.logits].shape) +
                                       " with boxes " + to_string(outputs[at_.boxes].shape) +
                                       ", expected [Q," + std::to_string(classes) + "] or [Q," +
                                       std::to_string(classes + 1) + "] with [Q,4]");
    }
    auto found =
        read(logits->values, boxes->values, static_cast<std::size_t>((*shape)[1]), placement);
    if (!found) return std::unexpected(std::move(found.error()));
    keep_best(*found, static_cast<std::size_t>(spec_.detections_max));
    map_to_source(*found, placement);
    return TaskResult(std::move(*found));
  }

 private:
  [[nodiscard]] Result<std::vector<Detection>> read(std::span<const float> logits,
                                                    std::span<const float> boxes, std::size_t width,
                                                    const Placement& placement) const {
    const bool no_object = width > spec_.classes.size();
    const auto model_width = static_cast<float>(placement.model_width);
    const auto model_height = static_cast<float>(placement.model_height);
    std::vector<Detection> found;
    for (std::size_t q = 0; q < boxes.size() / 4; ++q) {
      const auto row = logits.subspan(q * width, width);
      const BestClass best = no_object ? best_by_softmax(row) : best_by_sigmoid(row);
      if (best.score < spec_.score_min) continue;
      const float* box = boxes.data() + 4 * q;
      if (box[2] < 0 || box[3] < 0) {
        return corrupt(boxes_name_, "query " + std::to_string(q) + " has a box of negative size");
      }
      found.push_back(
          {best.index, best.score,
           Box{(box[0] - box[2] / 2) * model_width, (box[1] - box[3] / 2) * model_height,
               (box[0] + box[2] / 2) * model_width, (box[1] + box[3] / 2) * model_height}});
    }
    return found;
  }

  PostprocessSpec spec_;
  Outputs at_;
  std::string logits_name_;
  std::string boxes_name_;
};

bool fits(const TensorSpec& output, std::int64_t columns) {
  const auto shape = sample_shape(output.shape, 2);
  return is_floating(output.type) && shape && ((*shape)[1] == columns || (*shape)[1] == -1);
}

// By name where the exporter gave one, else the only output of the shape.
std::vector<std::size_t> outputs_like(const Signature& signature, std::string_view word,
                                      std::initializer_list<std::int64_t> columns) {
  std::vector<std::size_t> fitting;
  std::vector<std::size_t> named;
  for (std::size_t i = 0; i < signature.outputs.size(); ++i) {
    const TensorSpec& output = signature.outputs[i];
    if (!std::ranges::any_of(columns, [&](std::int64_t n) { return fits(output, n); })) continue;
    fitting.push_back(i);
    if (output.name.find(word) != std::string::npos) named.push_back(i);
  }
  return named.size() == 1 ? named : fitting;
}

}  // namespace

Made make_detr(const PostprocessSpec& spec, const Signature& signature) {
  if (auto checked = check_layout(spec, {}); !checked) return std::unexpected(checked.error());
  if (spec.classes.empty()) {
    return fail(ErrorKind::invalid_input,
                "classes is empty; list the model's class names in order");
  }
  const auto classes = static_cast<std::int64_t>(spec.classes.size());
  const auto boxes = outputs_like(signature, "box", {4});
  auto logits = outputs_like(signature, "logit", {classes, classes + 1});
  if (boxes.size() == 1) std::erase(logits, boxes.front());
  if (boxes.size() != 1 || logits.size() != 1) {
    return fail(ErrorKind::invalid_input,
                "the model has " + describe(signature) + "; with " + std::to_string(classes) +
                    " classes expected one of logits [Q," + std::to_string(classes + 1) +
                    "] (the last is \"no object\") or [Q," + std::to_string(classes) +
                    "] and one of boxes [Q,4]; check classes, and name the outputs 'logits' and "
                    "'boxes' when exporting the model");
  }
  return std::make_unique<Detr>(spec, Outputs{logits.front(), boxes.front()}, signature);
}

}  // namespace takt::postprocess
