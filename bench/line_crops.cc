// SPDX-License-Identifier: Apache-2.0
// The cascade's model without the line and the models before it.
#include "line_boards.h"
#include "line_infer_clock.h"
#include "line_measure.h"

#include <nlohmann/json.hpp>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

namespace takt::bench {
namespace {

using nlohmann::json;

// Frames whose crops are on their way. A frame is done when its last crop is.
class InFlight {
 public:
  void begin(int frames_max) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return frames_ < frames_max; });
    ++frames_;
  }
  // On the engine's threads.
  void end(const Result<InferResult>& result, bool last_of_frame) {
    const std::scoped_lock lock(mutex_);
    if (!result && error_.empty()) error_ = result.error().message;
    if (!last_of_frame) return;
    --frames_;
    changed_.notify_one();
  }
  void wait_for_all() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return frames_ == 0; });
  }
  [[nodiscard]] std::string error() {
    const std::scoped_lock lock(mutex_);
    return error_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int frames_ = 0;
  std::string error_;
};

InferRequest crop_request(ModelId model, const TaskSpec& task, const Board& board, const Box& box) {
  InferRequest request;
  request.model = model;
  request.priority = task.priority;
  ImageStack stack;
  stack.region = crop_window(box, *task.crop);
  for (const line::FrameImage& image : board.frame.images) {
    stack.images.push_back(image.view);
    request.holds.push_back(image.slot);
  }
  request.inputs.emplace_back(std::move(stack));
  return request;
}

}  // namespace

Result<json> measure_crops(Setup& setup, const CropsOptions& options) {
  const TaskSpec& task = setup.task(options.task);
  if (!task.crop) return fail(ErrorKind::invalid_input, options.task + " takes no crops");
  const Result<ModelInfo> model = setup.engine().find(task.model);
  if (!model) return std::unexpected(model.error());
  Result<std::vector<Board>> boards = make_boards(options.boards);
  if (!boards) return std::unexpected(boards.error());
  std::erase_if(*boards, [](const Board& board) { return board.defects().empty(); });

  InFlight in_flight;
  const auto run = [&](double seconds) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
    std::uint64_t crops = 0;
    for (std::size_t i = 0; std::chrono::steady_clock::now() < end; ++i) {
      const Board& board = (*boards)[i % boards->size()];
      in_flight.begin(options.frames_in_flight);
      auto left = std::make_shared<std::atomic<std::size_t>>(board.defects().size());
      for (const line::KnownDefect& defect : board.defects()) {
        setup.engine().submit(crop_request(model->id, task, board, defect.box),
                              [left, &in_flight](const Result<InferResult>& result) {
                                in_flight.end(result, left->fetch_sub(1) == 1);
                              });
        ++crops;
      }
    }
    in_flight.wait_for_all();
    return static_cast<double>(crops);
  };
  (void)run(options.warm_up_s);
  const EngineStats engine_before = setup.engine().stats();
  const double cpu_before = cpu_use().process_s;
  const auto start = std::chrono::steady_clock::now();
  const double crops = run(options.seconds);
  const double cpu_s = cpu_use().process_s - cpu_before;
  const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
  if (const std::string error = in_flight.error(); !error.empty()) {
    return fail(ErrorKind::internal, error);
  }
  const EngineStats engine = setup.engine().stats();
  return json{{"crops", crops},
              {"crops_per_s", crops / time.count()},
              {"cpu_ms_per_crop", 1e3 * cpu_s / crops},
              {"rows_per_batch", static_cast<double>(engine.rows - engine_before.rows) /
                                     static_cast<double>(engine.batches - engine_before.batches)}};
}

}  // namespace takt::bench
