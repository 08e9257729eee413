// SPDX-License-Identifier: Apache-2.0
#include "line/line_plan.h"

#include "core/suggest.h"

#include <algorithm>
#include <utility>

namespace takt::line {
namespace {

std::string place_of(const TaskSpec& task) {
  return "tasks." + task.name;
}

// The model's input that a TaskInput feeds; an unnamed one takes the next in order.
Result<std::size_t> input_index(const TaskInput& input, std::size_t position,
                                const Signature& signature) {
  if (input.tensor.empty()) {
    if (position < signature.inputs.size()) return position;
    return fail(ErrorKind::invalid_input, "inputs: more entries than the model has inputs (" +
                                              std::to_string(signature.inputs.size()) + ")");
  }
  std::vector<std::string> names;
  names.reserve(signature.inputs.size());
  for (const TensorSpec& spec : signature.inputs) names.push_back(spec.name);
  const auto found = std::ranges::find(names, input.tensor);
  if (found != names.end()) return static_cast<std::size_t>(found - names.begin());
  return fail(ErrorKind::invalid_input, "inputs: the model has no input '" + input.tensor + "'" +
                                            suggestion(input.tensor, names));
}

Result<void> plan_inputs(PlannedTask& task) {
  const Signature& signature = task.model.signature;
  task.roles.resize(signature.inputs.size());
  for (std::size_t i = 0; i < task.spec.inputs.size(); ++i) {
    const TaskInput& input = task.spec.inputs[i];
    const Result<std::size_t> index = input_index(input, i, signature);
    if (!index) return std::unexpected(index.error());
    if (!task.roles[*index].empty()) {
      return fail(ErrorKind::invalid_input,
                  "inputs: '" + signature.inputs[*index].name + "' is fed twice");
    }
    task.roles[*index] = input.images;
  }
  for (std::size_t i = 0; i < task.roles.size(); ++i) {
    if (!task.roles[i].empty()) continue;
    return fail(ErrorKind::invalid_input, "inputs: say which images feed the model's input '" +
                                              signature.inputs[i].name +
                                              "', such as inputs: [board, golden]");
  }
  return {};
}

Result<void> plan_size(PlannedTask& task) {
  const TensorSpec& input = task.model.signature.inputs.front();
  const std::size_t rank = input.shape.size();
  if (rank < 3) {
    return fail(ErrorKind::invalid_input, "the model's input '" + input.name + "' has shape " +
                                              takt::to_string(input.shape) +
                                              "; an image needs channels, height and width");
  }
  const bool channels_last = task.spec.preprocess.channels_last;
  const std::int64_t height = input.shape[channels_last ? rank - 3 : rank - 2];
  const std::int64_t width = input.shape[channels_last ? rank - 2 : rank - 1];
  if (height <= 0 || width <= 0) {
    return fail(ErrorKind::invalid_input,
                "the model's input '" + input.name + "' has shape " + takt::to_string(input.shape) +
                    "; export the model with a fixed height and width, only the batch may be "
                    "dynamic");
  }
  task.model_width = static_cast<int>(width);
  task.model_height = static_cast<int>(height);
  return {};
}

Result<void> plan_fallback(PlannedTask& task, std::span<const TaskSpec> tasks,
                           std::span<const std::string> known, const InferenceClient& client) {
  const std::string& name = task.spec.fallback_task;
  if (name.empty()) return {};
  const std::string place = place_of(task.spec) + ".fallback";
  const auto found = std::ranges::find(tasks, name, &TaskSpec::name);
  if (found == tasks.end()) {
    return fail(ErrorKind::invalid_input,
                place + ": no task '" + name + "'" + suggestion(name, known));
  }
  if (Result<void> checked = check_fallback(task.spec, *found); !checked) {
    return std::unexpected(std::move(checked).error().within(place));
  }
  Result<PlannedTask> planned = plan_task(*found, client);
  if (!planned) return std::unexpected(std::move(planned).error());
  task.fallback = std::make_shared<const PlannedTask>(std::move(*planned));
  return {};
}

Result<void> link(LinePlan& plan, std::span<const std::string> names) {
  for (std::size_t i = 0; i < plan.tasks.size(); ++i) {
    if (!plan.tasks[i].spec.crop) continue;
    const std::string& from = plan.tasks[i].spec.crop->from_task;
    const auto found = std::ranges::find(names, from);
    if (found == names.end()) {
      return fail(ErrorKind::invalid_input, place_of(plan.tasks[i].spec) + ".crop.from: no task '" +
                                                from + "' in this line" + suggestion(from, names));
    }
    const auto parent = static_cast<std::size_t>(found - names.begin());
    plan.tasks[i].parent = parent;
    plan.tasks[parent].children.push_back(i);
  }
  for (const PlannedTask& task : plan.tasks) {
    std::size_t steps = 0;
    for (auto above = task.parent; above; above = plan.tasks[*above].parent) {
      if (++steps <= plan.tasks.size()) continue;
      return fail(ErrorKind::invalid_input,
                  place_of(task.spec) + ".crop.from: the cascade goes round in a circle");
    }
  }
  return {};
}

Result<void> check_limits(const LineConfig& config) {
  const auto refuse = [](const std::string& message) {
    return fail(ErrorKind::invalid_input, message);
  };
  if (config.tasks.empty()) return refuse("tasks: a line needs at least one");
  if (config.frames_in_flight_max == 0) return refuse("frames_in_flight_max: must be 1 or more");
  if (config.ring.capacity == 0) return refuse("ring.capacity: must be 1 or more");
  if (config.sink_queue_max == 0) return refuse("sink_queue_max: must be 1 or more");
  if (config.deadline && *config.deadline <= Duration::zero()) {
    return refuse("deadline: must be above zero, or none");
  }
  if (config.patience <= Duration::zero()) return refuse("patience: must be above zero");
  return {};
}

}  // namespace

Result<PlannedTask> plan_task(const TaskSpec& spec, const InferenceClient& client) {
  PlannedTask task;
  task.spec = spec;
  Result<ModelInfo> model = client.find(spec.model, spec.version);
  if (!model) return std::unexpected(std::move(model).error().within(place_of(spec)));
  task.model = std::move(*model);
  if (task.model.signature.inputs.empty()) {
    return fail(ErrorKind::invalid_input, place_of(spec) + ": the model has no input");
  }
  if (auto planned = plan_inputs(task); !planned) {
    return std::unexpected(std::move(planned).error().within(place_of(spec)));
  }
  if (auto planned = plan_size(task); !planned) {
    return std::unexpected(std::move(planned).error().within(place_of(spec)));
  }
  auto postprocessor = make_postprocessor(spec.postprocess, task.model.signature);
  if (!postprocessor) {
    return std::unexpected(std::move(postprocessor).error().within(place_of(spec)));
  }
  task.postprocessor = std::move(*postprocessor);
  return task;
}

std::string PlannedTask::class_name(int index) const {
  const auto& classes = spec.postprocess.classes;
  if (index >= 0 && static_cast<std::size_t>(index) < classes.size()) {
    return classes[static_cast<std::size_t>(index)];
  }
  return "class-" + std::to_string(index);
}

std::vector<std::string> LinePlan::names() const {
  std::vector<std::string> names;
  names.reserve(tasks.size());
  for (const PlannedTask& task : tasks) names.push_back(task.spec.name);
  return names;
}

Result<LinePlan> make_plan(const LineConfig& config, std::span<const TaskSpec> tasks,
                           const InferenceClient& client) {
  const std::string place = "lines." + config.name;
  if (auto checked = check_limits(config); !checked) {
    return std::unexpected(std::move(checked).error().within(place));
  }
  std::vector<std::string> known;
  known.reserve(tasks.size());
  for (const TaskSpec& spec : tasks) known.push_back(spec.name);
  LinePlan plan;
  plan.flow = config.flow;
  for (std::size_t i = 0; i < config.tasks.size(); ++i) {
    const auto found = std::ranges::find(tasks, config.tasks[i], &TaskSpec::name);
    if (found == tasks.end()) {
      return fail(ErrorKind::invalid_input, place + ".tasks[" + std::to_string(i) + "]: no task '" +
                                                config.tasks[i] + "'" +
                                                suggestion(config.tasks[i], known));
    }
    const std::vector<std::string> planned = plan.names();
    if (std::ranges::find(planned, config.tasks[i]) != planned.end()) {
      return fail(ErrorKind::invalid_input, place + ".tasks[" + std::to_string(i) + "]: '" +
                                                config.tasks[i] + "' is there twice");
    }
    Result<PlannedTask> task = plan_task(*found, client);
    if (!task) return std::unexpected(std::move(task).error());
    if (auto made = plan_fallback(*task, tasks, known, client); !made) {
      return std::unexpected(made.error());
    }
    plan.tasks.push_back(std::move(*task));
  }
  const std::vector<std::string> names = plan.names();
  if (auto linked = link(plan, names); !linked) return std::unexpected(linked.error());
  if (auto checked = check(config.decision, names); !checked) {
    return std::unexpected(std::move(checked).error().within(place + ".decision"));
  }
  return plan;
}

}  // namespace takt::line
