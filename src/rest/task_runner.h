// SPDX-License-Identifier: Apache-2.0
// Runs single tasks on pictures that clients bring: decode, pre-process, infer, post-process.
// Thread-safe: every member from any thread.
// Owns: the threads that decode and post-process; client, pool and clock outlive it.
#pragma once

#include "core/priority.h"
#include "core/result.h"
#include "core/time.h"
#include "engine/inference_client.h"
#include "image/decode.h"
#include "line/frame_reader.h"
#include "line/line_plan.h"
#include "memory/slot_pool.h"
#include "server/api_error.h"
#include "task/task.h"

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace takt::rest {

struct TaskRunnerOptions {
  int threads = 1;      // that decode and post-process
  int calls_max = 64;   // that are not answered yet; further ones get resource_exhausted
  Duration deadline{};  // of tasks that have none of their own; 0: none
  // Calls of more urgent tasks have this class: what lines depend on isn't for clients to take.
  PriorityClass most_urgent = PriorityClass::high;
  ImageLimits limits{};
};

// A task as clients may ask for it.
struct TaskCard {
  line::PlannedTask plan;
  std::vector<std::string> roles;  // of the pictures that it takes, in the model's order
};

struct TaskCall {
  std::string task;
  std::vector<line::EncodedImage> images;
  std::shared_ptr<const void> content;  // what the images look into
  std::optional<Duration> deadline{};   // from now; in place of the task's
};

struct TaskAnswer {
  const TaskCard* card = nullptr;
  int width = 0;  // of the pictures
  int height = 0;
  TaskResult result;
  InferTimings timings;
};

class TaskRunner {
 public:
  // Tasks whose answers are plain tensors are left out: clients ask the model itself for them. Errors:
  // as line::make_plan().
  [[nodiscard]] static Result<std::unique_ptr<TaskRunner>> create(std::span<const TaskSpec> tasks,
                                                                  InferenceClient& client,
                                                                  std::shared_ptr<SlotPool> pool,
                                                                  const Clock& clock,
                                                                  TaskRunnerOptions options);
  ~TaskRunner();  // stop()
  TaskRunner(const TaskRunner&) = delete;
  TaskRunner& operator=(const TaskRunner&) = delete;

  // By name.
  [[nodiscard]] const std::map<std::string, TaskCard, std::less<>>& tasks() const noexcept;
  // Errors: not_found, with a suggestion.
  [[nodiscard]] server::ApiResult<const TaskCard*> find(std::string_view task) const;

  // Calls `done` once, here or on a thread of its own. Errors that reach it: not_found,
  // invalid_argument (a role missing, a picture that can't be decoded), resource_exhausted, those of
  // the inference.
  using Done = std::move_only_function<void(server::ApiResult<TaskAnswer>)>;
  void run(TaskCall call, Done done);

  // What is under way is answered first; the engine answers it within its own bounds.
  void stop();

 private:
  struct State;
  explicit TaskRunner(std::unique_ptr<State> state);
  const std::unique_ptr<State> state_;
};

}  // namespace takt::rest
