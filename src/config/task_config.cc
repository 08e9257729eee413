// SPDX-License-Identifier: Apache-2.0
#include "config/task_config.h"

#include "config/device_config.h"
#include "core/suggest.h"

#include <algorithm>

namespace takt::config {
namespace {

constexpr double kUnbounded = 1e9;

Result<Fit> parse_fit(std::string_view name) {
  if (name == "letterbox") return Fit::letterbox;
  if (name == "stretch") return Fit::stretch;
  return fail(ErrorKind::invalid_input,
              "unknown fit '" + std::string(name) + "'; expected letterbox or stretch");
}

Result<bool> parse_layout(std::string_view name) {
  if (name == "NCHW" || name == "nchw") return false;
  if (name == "NHWC" || name == "nhwc") return true;
  return fail(ErrorKind::invalid_input,
              "unknown layout '" + std::string(name) + "'; expected NCHW or NHWC");
}

void read_preprocess(Reader& reader, ImagePreprocess& preprocess) {
  reader.word<PixelFormat>("color", preprocess.color, &parse_pixel_format);
  reader.word<Fit>("fit", preprocess.fit, &parse_fit);
  reader.word<bool>("layout", preprocess.channels_last, &parse_layout);
  int pad_value = preprocess.pad_value;
  reader.integer("pad_value", pad_value, 0, 255);
  preprocess.pad_value = static_cast<std::uint8_t>(pad_value);
  reader.number("scale", preprocess.scale, 1e-9, kUnbounded);
  reader.numbers("mean", preprocess.mean);
  reader.numbers("stddev", preprocess.stddev);
  if (std::ranges::any_of(preprocess.stddev, [](float value) { return value <= 0; })) {
    reader.problem("stddev", "each value must be above zero");
  }
}

void read_postprocess(Reader& reader, PostprocessSpec& postprocess) {
  reader.require("name",
                 "one of yolo, boxes_labels_scores, detr, softmax, embedding_distance, "
                 "distance_map, raw");
  reader.text("name", postprocess.name);
  const std::vector<std::string> known = postprocessor_names();
  if (std::ranges::find(known, postprocess.name) == known.end()) {
    reader.problem("name", "no post-processor '" + postprocess.name + "'" +
                               suggestion(postprocess.name, known));
  }
  reader.texts("classes", postprocess.classes);
  reader.number("score_min", postprocess.score_min, 0, 1);
  reader.number("iou_max", postprocess.iou_max, 0, 1);
  reader.integer("detections_max", postprocess.detections_max, 1, 100'000);
  reader.number("distance_max", postprocess.distance_max, 0, kUnbounded);
  reader.text("layout", postprocess.layout);
  reader.boolean("class_agnostic", postprocess.class_agnostic);
  reader.boolean("multi_label", postprocess.multi_label);
}

void read_crop(Reader& reader, CropSpec& crop) {
  reader.require("from", "the name of the task whose detections are looked at again");
  reader.text("from", crop.from_task);
  reader.number("context", crop.context, 0.1, 100);
  reader.number("side_min_px", crop.side_min_px, 1, 100'000);
  reader.number("score_min", crop.score_min, 0, 1);
  reader.integer("crops_max", crop.crops_max, 1, 10'000);
}

// `inputs:` maps the model's input names to image roles; a bare list feeds the only input.
void read_inputs(Reader& reader, TaskSpec& task) {
  if (reader.is_mapping("inputs")) {
    reader.mapping("inputs", [&](Reader& inputs) {
      for (const std::string& tensor : inputs.keys()) {
        TaskInput input{.tensor = tensor, .images = {}};
        inputs.texts(tensor, input.images);
        task.inputs.push_back(std::move(input));
      }
    });
  } else {
    TaskInput input;
    reader.texts("inputs", input.images);
    task.inputs = {input};
  }
  const bool named = std::ranges::none_of(
      task.inputs, [](const TaskInput& input) { return input.images.empty(); });
  if (!named || task.inputs.empty()) {
    reader.problem("inputs",
                   "names no image; expected roles of the line's images, such as [board, golden]");
  }
}

// A verdict, or who is asked before it comes to that: {task: NAME} or {model: NAME}, with else:.
// Returns the model, if it is one.
std::string read_fallback(Reader& reader, TaskSpec& task) {
  std::string model;
  if (!reader.is_mapping("fallback")) {
    reader.word<Verdict>("fallback", task.fallback, &parse_verdict);
    return model;
  }
  reader.mapping("fallback", [&](Reader& child) {
    child.text("task", task.fallback_task);
    child.text("model", model);
    child.word<Verdict>("else", task.fallback, &parse_verdict);
  });
  if (task.fallback_task.empty() == model.empty()) {
    reader.problem("fallback",
                   "expected one of task and model, such as {model: pcb-detector-small, else: "
                   "review}");
  }
  return model;
}

// The same task with another model; it is asked where the first one's fails.
TaskSpec with_model(const TaskSpec& task, const std::string& model) {
  TaskSpec other = task;
  other.name = task.name + ".fallback";
  other.model = model;
  other.version.reset();
  other.crop.reset();
  other.fallback_task.clear();
  other.fallback = Verdict::review;  // nobody asks for it
  return other;
}

}  // namespace

Result<Isolation> parse_isolation(std::string_view name) {
  if (name == "process") return Isolation::process;
  if (name == "thread") return Isolation::thread;
  return fail(ErrorKind::invalid_input,
              "unknown isolation '" + std::string(name) + "'; expected process or thread");
}

void read_task(const std::string& name, Reader& reader, std::vector<TaskSpec>& tasks) {
  TaskSpec task;
  task.name = name;
  reader.require("model", "the name of a model of the repository");
  reader.text("model", task.model);
  if (reader.has("version")) {
    std::int64_t version = 1;
    reader.integer("version", version, 1, INT64_MAX);
    task.version = version;
  }
  reader.require("inputs", "the image roles that the model sees, such as [board, golden]");
  read_inputs(reader, task);
  reader.mapping("preprocess", [&](Reader& child) { read_preprocess(child, task.preprocess); });
  reader.require("postprocess", "a mapping with a name, such as {name: softmax}");
  reader.mapping("postprocess", [&](Reader& child) { read_postprocess(child, task.postprocess); });
  reader.mapping("crop", [&](Reader& child) { read_crop(child, task.crop.emplace()); });
  reader.word<PriorityClass>("priority", task.priority, &parse_priority);
  reader.duration("deadline", task.deadline);
  const std::string fallback_model = read_fallback(reader, task);
  reader.integer("batch_max", task.batch_max, 0, 4096);
  reader.integer("instances", task.instances, 0, 64);
  task.backends = read_backends(reader);
  reader.word<Isolation>("isolation", task.isolation, &parse_isolation);
  task.cpus = read_cpus(reader);
  reader.texts("devices", task.devices);
  if (reader.is_list("devices") && task.devices.empty()) {
    reader.problem("devices", "names no device; name some, or leave it out to run on all of them");
  }
  reader.integer("queue_depth_max", task.queue_depth_max, 1, 1'000'000);
  reader.bytes("queue_bytes_max", task.queue_bytes_max);
  reader.integer("concurrency_max", task.concurrency_max, 0, 1024);
  if (!fallback_model.empty()) task.fallback_task = task.name + ".fallback";
  tasks.push_back(task);
  if (!fallback_model.empty()) tasks.push_back(with_model(task, fallback_model));
}

}  // namespace takt::config
