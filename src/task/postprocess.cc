// SPDX-License-Identifier: Apache-2.0
#include "core/suggest.h"
#include "task/postprocessors.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace takt {
namespace {

struct Entry {
  std::string_view name;
  std::string_view result;  // what its TaskResult holds
  postprocess::Made (*make)(const PostprocessSpec&, const Signature&);
};

constexpr std::array kEntries{
    Entry{"yolo", "detections", postprocess::make_yolo},
    Entry{"boxes_labels_scores", "detections", postprocess::make_boxes_labels_scores},
    Entry{"detr", "detections", postprocess::make_detr},
    Entry{"softmax", "a class", postprocess::make_softmax},
    Entry{"embedding_distance", "a distance", postprocess::make_embedding_distance},
    Entry{"distance_map", "a distance", postprocess::make_distance_map},
    Entry{"raw", "tensors", postprocess::make_raw},
};

std::string_view result_of(const TaskSpec& task) {
  const auto* const entry = std::ranges::find(kEntries, task.postprocess.name, &Entry::name);
  return entry == kEntries.end() ? std::string_view{} : entry->result;
}

Result<void> check_numbers(const PostprocessSpec& spec) {
  const auto refuse = [](const std::string& field, float found, const std::string& expected) {
    return fail(ErrorKind::invalid_input,
                field + " is " + std::to_string(found) + ", expected " + expected);
  };
  const auto fraction = [](float value) { return value >= 0 && value <= 1; };
  if (!fraction(spec.score_min)) return refuse("score_min", spec.score_min, "0 to 1");
  if (!fraction(spec.iou_max)) return refuse("iou_max", spec.iou_max, "0 to 1");
  if (spec.detections_max < 1) {
    return refuse("detections_max", static_cast<float>(spec.detections_max), "1 or more");
  }
  if (!std::isfinite(spec.distance_max)) {
    return refuse("distance_max", spec.distance_max, "a finite number");
  }
  return {};
}

}  // namespace

namespace postprocess {

Result<void> check_layout(const PostprocessSpec& spec,
                          std::initializer_list<std::string_view> known) {
  if (spec.layout == "auto" || std::ranges::find(known, spec.layout) != known.end()) return {};
  std::vector<std::string> names{"auto"};
  names.insert(names.end(), known.begin(), known.end());
  return fail(ErrorKind::invalid_input,
              "unknown layout '" + spec.layout + "'" + suggestion(spec.layout, names));
}

Result<void> check_placement(const Placement& placement) {
  if (placement.model_width > 0 && placement.model_height > 0) return {};
  return fail(ErrorKind::invalid_input, "the placement doesn't say the size of the model's input");
}

void map_to_source(std::vector<Detection>& detections, const Placement& placement) {
  for (Detection& detection : detections) detection.box = to_source(detection.box, placement);
  std::erase_if(detections, [](const Detection& detection) { return detection.box.area() <= 0; });
}

}  // namespace postprocess

std::vector<std::string> postprocessor_names() {
  std::vector<std::string> names;
  names.reserve(kEntries.size());
  for (const Entry& entry : kEntries) names.emplace_back(entry.name);
  return names;
}

Result<void> check_fallback(const TaskSpec& task, const TaskSpec& fallback) {
  const auto refuse = [](const std::string& why) { return fail(ErrorKind::invalid_input, why); };
  if (!fallback.fallback_task.empty()) {
    return refuse("a fallback has none of its own: " + task.name + " -> " + fallback.name + " -> " +
                  fallback.fallback_task + "; say else: review");
  }
  if (fallback.crop) {
    return refuse("task '" + fallback.name +
                  "' cuts crops of its own; a fallback looks where the task that it stands in for "
                  "looks");
  }
  if (fallback.model == task.model && fallback.version == task.version) {
    return refuse("it runs the same model '" + task.model + "', which fails with it");
  }
  if (result_of(fallback) != result_of(task)) {
    return refuse("'" + fallback.postprocess.name + "' gives " + std::string(result_of(fallback)) +
                  ", but '" + task.postprocess.name + "' gives " + std::string(result_of(task)));
  }
  std::vector<std::string> expected = task.postprocess.classes;
  std::vector<std::string> found = fallback.postprocess.classes;
  std::ranges::sort(expected);
  std::ranges::sort(found);
  if (found != expected) {
    return refuse("task '" + fallback.name + "' has other classes than '" + task.name +
                  "'; the rules know those of '" + task.name + "'");
  }
  return {};
}

Result<std::unique_ptr<Postprocessor>> make_postprocessor(const PostprocessSpec& spec,
                                                          const Signature& signature) {
  const auto* const entry = std::ranges::find(kEntries, spec.name, &Entry::name);
  if (entry == kEntries.end()) {
    return fail(ErrorKind::invalid_input, "no post-processor '" + spec.name + "'" +
                                              suggestion(spec.name, postprocessor_names()));
  }
  if (auto checked = check_numbers(spec); !checked) {
    return std::unexpected(std::move(checked.error()).within(spec.name));
  }
  auto made = entry->make(spec, signature);
  if (!made) return std::unexpected(std::move(made.error()).within(spec.name));
  return made;
}

}  // namespace takt
