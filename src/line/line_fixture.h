// SPDX-License-Identifier: Apache-2.0
// What the tests of a line stand on: an engine that answers when told to, a journal in memory,
// frames and models of a small board line.
// Thread-safe: ScriptedClient, MemoryJournal, Collector and ScriptedSource from any thread.
// Owns: plain values; results and frames lie in slot pools, so that a leak shows.
#pragma once

#include "engine/inference_client.h"
#include "line/line_config.h"
#include "line/sink.h"
#include "line/source.h"
#include "memory/slot_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace takt::line {

inline constexpr int kBoardSide = 64;

// True as soon as `condition` holds; false when it doesn't within ten seconds.
inline bool eventually(const std::function<bool()>& condition) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::yield();
  }
  return true;
}

inline std::shared_ptr<SlotPool> make_pool(const std::string& name, std::uint32_t count) {
  const std::array<SizeClass, 1> classes{SizeClass{16384, count}};
  return *SlotPool::create(name, classes);
}

// The answers of a model: outputs in its signature's order.
struct Answer {
  std::vector<TensorSpec> specs;  // shapes with the batch dimension
  std::vector<std::vector<std::byte>> values;

  template <typename T>
  Answer& add(DataType type, Shape shape, const std::vector<T>& data) {
    specs.push_back({"", type, std::move(shape)});
    auto& bytes = values.emplace_back(data.size() * sizeof(T));
    if (!data.empty()) std::memcpy(bytes.data(), data.data(), bytes.size());
    return *this;
  }
};

inline Answer found(const std::vector<Detection>& detections) {
  std::vector<float> boxes;
  std::vector<std::int64_t> labels;
  std::vector<float> scores;
  for (const Detection& d : detections) {
    boxes.insert(boxes.end(), {d.box.x1, d.box.y1, d.box.x2, d.box.y2});
    labels.push_back(d.class_index);
    scores.push_back(d.score);
  }
  const auto n = static_cast<std::int64_t>(detections.size());
  Answer answer;
  answer.add(DataType::fp32, {1, n, 4}, boxes);
  answer.add(DataType::int64, {1, n}, labels);
  return answer.add(DataType::fp32, {1, n}, scores);
}

// Probabilities of open, short, false-alarm.
inline Answer classified(std::size_t index, float score) {
  std::vector<float> values(3, (1 - score) / 2);
  values[index] = score;
  return Answer().add(DataType::fp32, {1, 3}, values);
}

// One cell of 8x8 pixels of the board with this distance; all others are zero.
inline Answer distance_at(std::size_t column, std::size_t row, float distance) {
  std::vector<float> values(64, 0);
  values[row * 8 + column] = distance;
  return Answer().add(DataType::fp32, {1, 8, 8}, values);
}

// Keeps requests until the test answers them: the engine's side of the seam.
class ScriptedClient final : public InferenceClient {
 public:
  struct Waiting {
    RequestId id;
    std::string model;
    InferRequest request;
    InferCompletion done;
  };
  // Decides at submit: an answer, an error, or nothing (the request waits).
  using Responder = std::function<std::optional<Result<Answer>>(const std::string& model,
                                                                const InferRequest& request)>;

  ScriptedClient() {
    const Shape stack{2, kBoardSide, kBoardSide};
    const Shape single{1, kBoardSide, kBoardSide};
    add("detector", {{{"images", DataType::fp32, stack}},
                     {{"boxes", DataType::fp32, {-1, 4}},
                      {"labels", DataType::int64, {-1}},
                      {"scores", DataType::fp32, {-1}}},
                     8});
    add("detector-small", models_.front().signature);
    add("matcher", {{{"board", DataType::fp32, single}, {"golden", DataType::fp32, single}},
                    {{"distance", DataType::fp32, {8, 8}}},
                    8});
    add("classifier",
        {{{"images", DataType::fp32, {2, 32, 32}}}, {{"probabilities", DataType::fp32, {3}}}, 4});
    add("classifier-second",
        {{{"images", DataType::fp32, {2, 48, 48}}}, {{"probabilities", DataType::fp32, {3}}}, 4});
  }
  // What still waits is answered, as the engine does when it stops.
  ~ScriptedClient() override { answer_all(Error{ErrorKind::unavailable, "stopped"}); }

  void add(const std::string& name, Signature signature) {
    ModelInfo info;
    info.id = ModelId{static_cast<std::uint32_t>(models_.size())};
    info.name = name;
    info.version = 3;
    info.signature = std::move(signature);
    models_.push_back(std::move(info));
  }
  void expect_arrivals(ModelId model, FlowId flow, Duration min_interval, Duration deadline,
                       int rows) override {
    const std::scoped_lock lock(mutex_);
    announced_.push_back({model, flow, min_interval, deadline, rows});
  }
  struct Announced {
    ModelId model;
    FlowId flow;
    Duration min_interval;
    Duration deadline;
    int rows;
  };
  std::vector<Announced> announced() const {
    const std::scoped_lock lock(mutex_);
    return announced_;
  }
  void respond(Responder responder) {
    const std::scoped_lock lock(mutex_);
    responder_ = std::move(responder);
  }
  void expect_p99(const std::string& model, Duration p99) { p99_[model] = p99; }

  Result<ModelInfo> find(std::string_view model, std::optional<std::int64_t>) const override {
    const auto found = std::ranges::find(models_, model, &ModelInfo::name);
    if (found != models_.end()) return *found;
    return fail(ErrorKind::unavailable, "no model '" + std::string(model) + "'");
  }

  RequestId submit(InferRequest request, InferCompletion done) override {
    const std::string model = models_[request.model.value].name;
    std::unique_lock lock(mutex_);
    std::optional<Result<Answer>> now;
    if (responder_) now = responder_(model, request);
    const RequestId id{++last_id_};
    if (now) {
      lock.unlock();
      deliver(done, std::move(*now));
    } else {
      waiting_.push_back({id, model, std::move(request), std::move(done)});
    }
    return id;
  }

  void cancel(RequestId request) override {
    const std::scoped_lock lock(mutex_);
    cancelled_.push_back(request);
  }

  Duration expected_p99(ModelId model, int) const override {
    const auto found = p99_.find(models_[model.value].name);
    return found == p99_.end() ? Duration{} : found->second;
  }

  // Answers the oldest waiting request of a model; false when there is none.
  bool answer(const std::string& model, Result<Answer> answer) {
    std::unique_lock lock(mutex_);
    const auto found = std::ranges::find(waiting_, model, &Waiting::model);
    if (found == waiting_.end()) return false;
    Waiting waiting = std::move(*found);
    waiting_.erase(found);
    lock.unlock();
    deliver(waiting.done, std::move(answer));
    return true;
  }
  void answer_at(std::size_t index, Result<Answer> answer) {
    std::unique_lock lock(mutex_);
    Waiting waiting = std::move(waiting_[index]);
    waiting_.erase(waiting_.begin() + static_cast<std::ptrdiff_t>(index));
    lock.unlock();
    deliver(waiting.done, std::move(answer));
  }
  // Answers what waits now as a responder would.
  void respond_to_waiting(const Responder& responder) {
    while (waiting() > 0) {
      std::optional<Result<Answer>> answer = responder(model_at(0), InferRequest{});
      answer_at(0, std::move(*answer));
    }
  }
  void answer_all(const Error& error) {
    while (waiting() > 0) answer_at(0, std::unexpected(error));
  }

  [[nodiscard]] std::size_t waiting() const {
    const std::scoped_lock lock(mutex_);
    return waiting_.size();
  }
  [[nodiscard]] std::size_t waiting(const std::string& model) const {
    const std::scoped_lock lock(mutex_);
    return static_cast<std::size_t>(std::ranges::count(waiting_, model, &Waiting::model));
  }
  [[nodiscard]] std::string model_at(std::size_t index) const {
    const std::scoped_lock lock(mutex_);
    return waiting_[index].model;
  }
  // The n-th waiting request of a model, for a look; valid until it is answered.
  [[nodiscard]] const InferRequest& request(const std::string& model, std::size_t n = 0) const {
    const std::scoped_lock lock(mutex_);
    for (const Waiting& waiting : waiting_) {
      if (waiting.model == model && n-- == 0) return waiting.request;
    }
    throw std::out_of_range("no such request waits");
  }
  [[nodiscard]] std::size_t cancelled() const {
    const std::scoped_lock lock(mutex_);
    return cancelled_.size();
  }
  [[nodiscard]] const SlotPool& results() const { return *results_; }

 private:
  void deliver(InferCompletion& done, Result<Answer> answer) {
    if (!answer) {
      done(std::unexpected(answer.error()));
      return;
    }
    InferResult result;
    result.hold = *results_->acquire(1);
    const std::span<std::byte> room = result.hold.bytes();
    std::size_t at = 0;
    for (std::size_t i = 0; i < answer->specs.size(); ++i) {
      std::ranges::copy(answer->values[i], room.begin() + static_cast<std::ptrdiff_t>(at));
      result.outputs.push_back({answer->specs[i].type, answer->specs[i].shape,
                                room.subspan(at, answer->values[i].size())});
      at += answer->values[i].size();
    }
    result.timings.batch.compute_end = TimePoint(std::chrono::milliseconds(2));
    done(std::move(result));
  }

  std::vector<ModelInfo> models_;
  std::map<std::string, Duration> p99_;
  std::vector<Announced> announced_;
  const std::shared_ptr<SlotPool> results_ = make_pool("results", 512);
  mutable std::mutex mutex_;
  Responder responder_;
  std::deque<Waiting> waiting_;
  std::vector<RequestId> cancelled_;
  std::uint64_t last_id_ = 0;
};

class MemoryJournal final : public FrameJournal {
 public:
  FrameSeq next_seq(std::string_view) override {
    const std::scoped_lock lock(mutex_);
    return FrameSeq{++last_};
  }
  Result<void> accept(FrameSeq seq, const Frame& frame, std::string_view) override {
    const std::scoped_lock lock(mutex_);
    if (full_) return fail(ErrorKind::unavailable, "no room");
    accepted_.emplace(seq, frame.name);
    return {};
  }
  Result<void> verdict(const VerdictRecord& record) override {
    const std::scoped_lock lock(mutex_);
    if (full_) return fail(ErrorKind::unavailable, "no room");
    ++verdicts_[record.seq];
    return {};
  }
  Result<std::vector<VerdictRecord>> unanswered(std::string_view) override { return unanswered_; }

  void set_full(bool full) {
    const std::scoped_lock lock(mutex_);
    full_ = full;
  }
  void leave_unanswered(VerdictRecord record) { unanswered_.push_back(std::move(record)); }
  [[nodiscard]] std::size_t accepted() const {
    const std::scoped_lock lock(mutex_);
    return accepted_.size();
  }
  [[nodiscard]] std::map<FrameSeq, int> verdicts() const {
    const std::scoped_lock lock(mutex_);
    return verdicts_;
  }
  [[nodiscard]] bool holds_verdict(FrameSeq seq) const { return verdicts().contains(seq); }

 private:
  mutable std::mutex mutex_;
  std::uint64_t last_ = 0;
  bool full_ = false;
  std::map<FrameSeq, std::string> accepted_;
  std::map<FrameSeq, int> verdicts_;
  std::vector<VerdictRecord> unanswered_;
};

// Keeps what it is told, as a sink and as an observer.
class Collector final : public Sink, public VerdictObserver {
 public:
  std::string_view name() const noexcept override { return "collector"; }
  Result<void> write(const VerdictRecord& record) override {
    on_verdict(record);
    return {};
  }
  Result<void> flush() override { return {}; }
  void on_verdict(const VerdictRecord& record) override {
    const std::scoped_lock lock(mutex_);
    records_.push_back(record);
    with_pictures_ += record.images.empty() ? 0 : 1;
    records_.back().images.clear();
  }
  [[nodiscard]] std::vector<VerdictRecord> records() const {
    const std::scoped_lock lock(mutex_);
    return records_;
  }
  [[nodiscard]] std::size_t size() const { return records().size(); }
  // Throws, and so fails the test, while there is none.
  [[nodiscard]] VerdictRecord last() const { return records().at(size() - 1); }
  [[nodiscard]] int with_pictures() const {
    const std::scoped_lock lock(mutex_);
    return with_pictures_;
  }
  [[nodiscard]] std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const VerdictRecord& record : records()) names.push_back(record.frame);
    return names;
  }

 private:
  mutable std::mutex mutex_;
  std::vector<VerdictRecord> records_;
  int with_pictures_ = 0;
};

// Gives the frames that the test puts in.
class ScriptedSource final : public Source {
 public:
  std::string describe() const override { return "scripted"; }
  Duration interval() const override { return interval_; }
  // Before the line starts.
  void set_interval(Duration interval) { interval_ = interval; }
  std::optional<std::uint64_t> total() const override { return std::nullopt; }
  std::optional<Frame> next() override {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return ended_ || !frames_.empty(); });
    if (frames_.empty()) return std::nullopt;
    Frame frame = std::move(frames_.front());
    frames_.pop_front();
    return frame;
  }
  void stop() noexcept override { end(); }

  void give(Frame frame) {
    {
      const std::scoped_lock lock(mutex_);
      frames_.push_back(std::move(frame));
    }
    changed_.notify_all();
  }
  // No further frame comes; those given before do.
  void end() {
    {
      const std::scoped_lock lock(mutex_);
      ended_ = true;
    }
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Frame> frames_;
  bool ended_ = false;
  Duration interval_{};
};

// A board and its golden template, in one slot each.
inline Frame board_frame(const std::shared_ptr<SlotPool>& pool, const std::string& name,
                         TimePoint captured) {
  Frame frame;
  frame.name = name;
  frame.part_id = "part-" + name;
  frame.captured = captured;
  for (const char* role : {"board", "golden"}) {
    FrameImage& image = frame.images.emplace_back();
    image.role = role;
    image.slot = *pool->acquire(std::size_t{kBoardSide} * kBoardSide);
    image.view = {reinterpret_cast<const std::uint8_t*>(image.slot.bytes().data()), kBoardSide,
                  kBoardSide, kBoardSide, PixelFormat::gray8};
  }
  return frame;
}

// Detector and matcher in parallel, the classifier on the detector's crops.
inline std::vector<TaskSpec> board_tasks() {
  TaskSpec defects;
  defects.name = "defects";
  defects.model = "detector";
  defects.inputs = {{"", {"board", "golden"}}};
  defects.postprocess.name = "boxes_labels_scores";
  defects.postprocess.layout = "detectron2";
  defects.postprocess.classes = {"open", "short"};
  defects.postprocess.score_min = 0.01F;
  TaskSpec difference;
  difference.name = "difference";
  difference.model = "matcher";
  difference.inputs = {{"golden", {"golden"}}, {"board", {"board"}}};
  difference.postprocess.name = "distance_map";
  TaskSpec kinds;
  kinds.name = "kinds";
  kinds.model = "classifier";
  kinds.inputs = {{"", {"board", "golden"}}};
  kinds.postprocess.name = "softmax";
  kinds.postprocess.layout = "probabilities";
  kinds.postprocess.classes = {"open", "short", "false-alarm"};
  kinds.preprocess.fit = Fit::stretch;
  kinds.crop = CropSpec{"defects", 1.5F, 8, 0.25F, 3};
  return {defects, difference, kinds};
}

// The same with a fallback for the detector and one for the classifier.
inline std::vector<TaskSpec> board_tasks_with_fallbacks() {
  std::vector<TaskSpec> tasks = board_tasks();
  TaskSpec small = tasks[0];
  small.name = "defects-small";
  small.model = "detector-small";
  small.postprocess.classes = {"short", "open"};  // in its own order
  TaskSpec second = tasks[2];
  second.name = "kinds-second";
  second.model = "classifier-second";
  second.crop.reset();
  tasks[0].fallback_task = small.name;
  tasks[2].fallback_task = second.name;
  tasks.push_back(small);
  tasks.push_back(second);
  return tasks;
}

// Rejects what the detector is sure of, passes what nobody objects to, in 100 ms.
inline LineConfig board_line() {
  LineConfig config;
  config.name = "pcb";
  config.recipe = "pcb/1";
  config.tasks = {"defects", "difference", "kinds"};
  config.deadline = std::chrono::milliseconds(100);
  config.decision.verdict_default = Verdict::pass;
  config.decision.rules = {
      {"defect", {DetectionsSeen{.task = "defects", .score_min = 0.5F}}, Verdict::reject, ""}};
  config.decision.routes = {{Verdict::pass, "next"}, {Verdict::review, "table"}};
  return config;
}

inline Detection detection(int class_index, float score, Box box = {10, 10, 20, 20}) {
  return {class_index, score, box};
}

}  // namespace takt::line
