// SPDX-License-Identifier: Apache-2.0
// The post-processors behind make_postprocessor, one file each; for src/task only.
// Thread-safe: the factories are pure functions; the products as task.h says.
// Owns: nothing.
#pragma once

#include "task/task.h"

#include <memory>

namespace takt::postprocess {

using Made = Result<std::unique_ptr<Postprocessor>>;

[[nodiscard]] Made make_yolo(const PostprocessSpec& spec, const Signature& signature);
[[nodiscard]] Made make_boxes_labels_scores(const PostprocessSpec& spec,
                                            const Signature& signature);
[[nodiscard]] Made make_detr(const PostprocessSpec& spec, const Signature& signature);
[[nodiscard]] Made make_softmax(const PostprocessSpec& spec, const Signature& signature);
[[nodiscard]] Made make_embedding_distance(const PostprocessSpec& spec, const Signature& signature);
[[nodiscard]] Made make_distance_map(const PostprocessSpec& spec, const Signature& signature);
[[nodiscard]] Made make_raw(const PostprocessSpec& spec, const Signature& signature);

// invalid_input unless spec.layout is "auto" or one of `known`.
[[nodiscard]] Result<void> check_layout(const PostprocessSpec& spec,
                                        std::initializer_list<std::string_view> known);

// invalid_input unless the placement knows the size of the model's input, as place() sets it.
[[nodiscard]] Result<void> check_placement(const Placement& placement);

// Boxes of the model's input in pixels of the image; what lies outside the image altogether goes.
void map_to_source(std::vector<Detection>& detections, const Placement& placement);

}  // namespace takt::postprocess
