// SPDX-License-Identifier: Apache-2.0
// What the tasks of a line found in one frame, with class names: all that a decision may look at.
// Thread-safe: plain values.
// Owns: plain values.
#pragma once

#include "core/image.h"
#include "core/result.h"
#include "task/task.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace takt::line {

enum class TaskState : std::uint8_t {
  answered,
  late,     // no answer at the frame's deadline, or refused because it could not be in time
  failed,   // answered with an error, at least for one of its crops
  not_run,  // the task that it takes its crops from did not answer
};

[[nodiscard]] std::string_view to_string(TaskState state) noexcept;

struct SeenDetection {
  std::string class_name;
  float score = 0;
  Box box;
};

struct SeenClass {
  std::string class_name;
  float score = 0;
  // Of a crop: the detection that it was cut out for, by its index in the finding of `from_task`.
  std::optional<std::size_t> detection{};
};

// The model that was asked where the task's own failed.
struct StandIn {
  std::string task;  // whose model it is
  std::string model;
  std::int64_t version = 0;
  Error cause;                   // why it was asked: the first failure of the task's own model
  std::optional<Error> error{};  // set: it failed too
};

struct TaskFinding {
  std::string task;
  TaskState state = TaskState::answered;
  std::optional<Error> error;  // set unless answered; of the task's own model
  Verdict fallback = Verdict::review;
  std::string from_task;  // of a task that looks at crops
  // What came in, also when not everything did.
  std::vector<SeenDetection> detections;
  std::vector<SeenClass> classes;
  std::optional<DistanceResult> distance;
  std::optional<StandIn> stand_in{};
};

struct FrameFindings {
  std::optional<Error> damage;  // the frame could not be read
  bool dropped = false;         // the frame gave way to others
  std::vector<TaskFinding> tasks;
};

}  // namespace takt::line
