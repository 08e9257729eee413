// SPDX-License-Identifier: Apache-2.0
// A task: a model with its pre- and post-processing and its service (class, deadline, fallback).
// Thread-safe: plain values; Postprocessor::run from any thread.
// Owns: plain values.
#pragma once

#include "core/image.h"
#include "core/inference.h"
#include "core/preprocess.h"
#include "core/priority.h"
#include "core/result.h"
#include "core/time.h"
#include "image/placement.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

namespace takt {

enum class Verdict : std::uint8_t { pass, review, reject };  // in rising order of precedence

[[nodiscard]] std::string_view to_string(Verdict verdict) noexcept;
[[nodiscard]] Result<Verdict> parse_verdict(std::string_view name);

// One input of the model, fed from images of a frame by role: ["board", "golden"] stacks two gray
// images.
struct TaskInput {
  std::string tensor;  // the model's input name; empty: the only or next input in order
  std::vector<std::string> images;  // roles of the frame's images
};

// Where the regions of a cascaded task come from: each detection of another task becomes one
// request. The window is square, centred on the box, side = max(context * max(w, h), side_min_px).
struct CropSpec {
  std::string from_task;
  float context = 1.5F;
  float side_min_px = 48;
  float score_min = 0.05F;  // detections below are not looked at again
  int crops_max = 64;       // per frame; the highest scores win, the rest is counted
};

// What src/task/README.md says of each name. A field that a name doesn't use is ignored.
struct PostprocessSpec {
  std::string name =
      "raw";  // yolo, boxes_labels_scores, detr, softmax, embedding_distance, distance_map, raw
  std::vector<std::string> classes;  // class names in the model's order
  float score_min = 0.25F;
  float iou_max = 0.45F;  // yolo: class-wise non-maximum suppression
  int detections_max = 300;
  float distance_max = 1.0F;  // distance_map, embedding_distance: above it is a difference
  // How the output is read; auto: by its shape. yolo: v5 (with objectness), v8, v8_transposed.
  // boxes_labels_scores: torchvision (label 0 is background), detectron2 (labels from 0).
  // softmax: logits, probabilities. embedding_distance: l2, cosine.
  std::string layout = "auto";
  bool class_agnostic = false;  // yolo: suppression across classes
  bool multi_label = false;     // yolo: every class above score_min, not only an anchor's best
};

// Where a task's model runs: in a worker process of its own, whose end takes nothing along, or on
// threads of this process, which saves some microseconds a request.
enum class Isolation : std::uint8_t { process, thread };

struct TaskSpec {
  std::string name;
  std::string model;
  std::optional<std::int64_t> version;  // empty: the repository's version policy
  std::vector<TaskInput> inputs;        // empty: requests bring finished tensors
  ImagePreprocess preprocess;
  PostprocessSpec postprocess;
  std::optional<CropSpec> crop;  // empty: the whole frame
  PriorityClass priority = PriorityClass::normal;
  Duration deadline{};  // zero: the line's frame deadline
  // Another task, whose model is asked where this one's fails while time is left; empty: none. It
  // answers in this task's place: with its class, its deadline and its crops.
  std::string fallback_task;
  Verdict fallback = Verdict::review;  // where no model answers
  int batch_max = 0;                   // rows executed together at most; 0: as config.pbtxt says
  int instances = 0;                   // 0: one for each lane of its device
  std::vector<std::string> backends{"openvino"};  // in order of preference
  Isolation isolation = Isolation::process;
  std::vector<std::string> devices;  // that it may run on, by name; empty: all
  std::vector<int> cpus;             // that its worker may use; empty: its device's
  int queue_depth_max = 1024;        // requests that may wait
  std::size_t queue_bytes_max = 0;   // of input that may wait; 0: no limit
  int concurrency_max = 0;           // batches that run at once; 0: as many as instances
};

struct Detection {
  int class_index = 0;
  float score = 0;
  Box box;  // pixels of the frame's image
};

struct Classification {
  int class_index = 0;
  float score = 0;            // softmax probability of class_index
  std::vector<float> scores;  // of every class
};

// A connected area of the frame that differs from its golden image.
struct Difference {
  Box box;             // pixels of the frame's image
  float distance = 0;  // largest distance inside
  float area_px = 0;   // in pixels of the frame's image
};

struct DistanceResult {
  float distance = 0;  // largest over the map, or the one distance
  std::vector<Difference> differences;
};

struct RawResult {
  std::vector<TensorSpec> specs;
  std::vector<std::vector<std::byte>> tensors;
};

using TaskResult = std::variant<std::vector<Detection>, Classification, DistanceResult, RawResult>;

class Postprocessor {
 public:
  virtual ~Postprocessor() = default;
  // `outputs` in the order of the model's signature, one request (batch dimension 1).
  // Errors: corrupt_output (NaN, boxes without end, a shape that the name doesn't allow).
  [[nodiscard]] virtual Result<TaskResult> run(std::span<const TensorView> outputs,
                                               const Placement& placement) const = 0;
};

// Checks the specification against the model's outputs. Errors: invalid_input, which names what
// doesn't fit.
[[nodiscard]] Result<std::unique_ptr<Postprocessor>> make_postprocessor(const PostprocessSpec& spec,
                                                                        const Signature& signature);
[[nodiscard]] std::vector<std::string> postprocessor_names();

// Whether `fallback` may answer in the place of `task`. Errors: invalid_input (results of another
// kind or with other classes, the same model, crops or a fallback of its own); the message begins
// with what is wrong, not with a place.
[[nodiscard]] Result<void> check_fallback(const TaskSpec& task, const TaskSpec& fallback);

// The square window of a detection, as CropSpec says.
[[nodiscard]] Region crop_window(const Box& box, const CropSpec& spec) noexcept;

}  // namespace takt
