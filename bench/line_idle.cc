// SPDX-License-Identifier: Apache-2.0
// What the engine adds to one request on an idle machine.
#include "line_boards.h"
#include "line_measure.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <utility>

namespace takt::bench {
namespace {

using nlohmann::json;

double us(Duration duration) {
  return std::chrono::duration<double, std::micro>(duration).count();
}

// The request that the line would make: the whole board, or the crop around its first defect.
InferRequest request_for(ModelId model, const TaskSpec& task, const Signature& signature,
                         const Board& board) {
  InferRequest request;
  request.model = model;
  request.priority = task.priority;
  ImageStack whole;
  if (task.crop) whole.region = crop_window(board.defects().front().box, *task.crop);
  for (const line::FrameImage& image : board.frame.images) {
    whole.images.push_back(image.view);
    request.holds.push_back(image.slot);
  }
  if (signature.inputs.size() == 1) {
    request.inputs.emplace_back(std::move(whole));
    return request;
  }
  for (const ImageView& view : whole.images) {
    request.inputs.emplace_back(ImageStack{{view}, whole.region});
  }
  return request;
}

struct Answer {
  std::mutex mutex;
  std::condition_variable changed;
  bool given = false;
  TimePoint done;
  Result<InferTimings> timings;
};

struct Overhead {
  double done_us = 0;    // until `done` was called
  double client_us = 0;  // until the client's own thread knew it
  double exec_us = 0;    // exec_start to exec_end
};

Result<Overhead> one(Engine& engine, InferRequest request) {
  const SystemClock clock;
  Answer answer;
  const TimePoint submitted = clock.now();
  engine.submit(std::move(request), [&answer, &clock](Result<InferResult> result) {
    const TimePoint done = clock.now();
    const std::scoped_lock lock(answer.mutex);
    answer.done = done;
    answer.timings = result ? Result<InferTimings>(result->timings)
                            : Result<InferTimings>(std::unexpected(result.error()));
    answer.given = true;
    answer.changed.notify_one();
  });
  std::unique_lock lock(answer.mutex);
  answer.changed.wait(lock, [&] { return answer.given; });
  const TimePoint known = clock.now();
  if (!answer.timings) return std::unexpected(answer.timings.error());
  const Duration exec = answer.timings->batch.exec_end - answer.timings->batch.exec_start;
  return Overhead{us(answer.done - submitted - exec), us(known - submitted - exec), us(exec)};
}

json percentiles(std::vector<double> values) {
  std::ranges::sort(values);
  return {{"p50", quantile(values, 0.5)},
          {"p90", quantile(values, 0.9)},
          {"p99", quantile(values, 0.99)},
          {"max", values.back()}};
}

}  // namespace

Result<json> measure_idle(Setup& setup, const IdleOptions& options) {
  const TaskSpec& task = setup.task(options.task);
  const Result<ModelInfo> model = setup.engine().find(task.model);
  if (!model) return std::unexpected(model.error());
  Result<std::vector<Board>> boards = make_boards(32);
  if (!boards) return std::unexpected(boards.error());
  std::erase_if(*boards, [](const Board& board) { return board.defects().empty(); });

  constexpr int kWarmUp = 50;
  std::vector<double> done;
  std::vector<double> client;
  std::vector<double> exec;
  for (int i = -kWarmUp; i < options.requests; ++i) {
    const Board& board = (*boards)[static_cast<std::size_t>(i + kWarmUp) % boards->size()];
    const Result<Overhead> took =
        one(setup.engine(), request_for(model->id, task, model->signature, board));
    if (!took) return std::unexpected(took.error());
    if (i >= 0) {
      done.push_back(took->done_us);
      client.push_back(took->client_us);
      exec.push_back(took->exec_us);
    }
    std::this_thread::sleep_for(std::chrono::duration<double, std::milli>(options.pause_ms));
  }
  return json{{"requests", options.requests},
              {"added_us", percentiles(std::move(done))},
              {"added_until_client_us", percentiles(std::move(client))},
              {"exec_us", percentiles(std::move(exec))}};
}

}  // namespace takt::bench
