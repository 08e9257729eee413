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
  postprocess::Made (*make)(const PostprocessSpec&, const Signature&);
};

constexpr std::array kEntries{
    Entry{"yolo", postprocess::make_yolo},
    Entry{"boxes_labels_scores", postprocess::make_boxes_labels_scores},
    Entry{"detr", postprocess::make_detr},
    Entry{"softmax", postprocess::make_softmax},
    Entry{"embedding_distance", postprocess::make_embedding_distance},
    Entry{"distance_map", postprocess::make_distance_map},
    Entry{"raw", postprocess::make_raw},
};

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
