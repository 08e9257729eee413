// SPDX-License-Identifier: Apache-2.0
// The tasks of a line, resolved against the models that serve: what is needed for each frame.
// Thread-safe: plain values, not changed after make_plan.
// Owns: the post-processors.
#pragma once

#include "core/result.h"
#include "engine/inference_client.h"
#include "line/line_config.h"
#include "task/task.h"

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace takt::line {

struct PlannedTask {
  TaskSpec spec;
  ModelInfo model;
  std::shared_ptr<const Postprocessor> postprocessor;
  std::vector<std::vector<std::string>> roles;  // of the images of each model input
  int model_width = 0;                          // of the first input
  int model_height = 0;
  std::optional<std::size_t> parent;            // the task whose detections are cropped
  std::vector<std::size_t> children;            // the tasks that crop this one's detections
  std::shared_ptr<const PlannedTask> fallback;  // null: none

  [[nodiscard]] std::string class_name(int index) const;
};

struct LinePlan {
  FlowId flow{};
  std::vector<PlannedTask> tasks;  // in the line's order
  [[nodiscard]] std::vector<std::string> names() const;
};

// One task without its fallback. Errors: as make_plan().
[[nodiscard]] Result<PlannedTask> plan_task(const TaskSpec& spec, const InferenceClient& client);

// Resolves config.tasks. Errors: invalid_input (unknown task, a cascade in a circle, images that
// don't fit the model's inputs, an input without a fixed size, post-processing that doesn't fit,
// a fallback that gives something else, a decision that names what isn't there), unavailable (the model doesn't serve). The message
// begins with the task's or line's place in the configuration.
[[nodiscard]] Result<LinePlan> make_plan(const LineConfig& config, std::span<const TaskSpec> tasks,
                                         const InferenceClient& client);

}  // namespace takt::line
