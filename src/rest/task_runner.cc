// SPDX-License-Identifier: Apache-2.0
#include "rest/task_runner.h"

#include "core/suggest.h"
#include "line/capture.h"
#include "line/image_request.h"
#include "line/stop_signal.h"
#include "rest/hide_paths.h"

#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <utility>

namespace takt::rest {
namespace {

using server::ApiCode;
using server::ApiError;
using server::ApiResult;

constexpr Duration kSlotWaitMax = std::chrono::milliseconds(200);

std::vector<std::string> roles_of(const line::PlannedTask& plan) {
  std::vector<std::string> roles;
  for (const std::vector<std::string>& input : plan.roles) {
    for (const std::string& role : input) {
      if (std::ranges::find(roles, role) == roles.end()) roles.push_back(role);
    }
  }
  return roles;
}

}  // namespace

struct TaskRunner::State {
  State(InferenceClient& inference, std::shared_ptr<SlotPool> slots, const Clock& steady,
        TaskRunnerOptions runner_options)
      : client(inference),
        pool(std::move(slots)),
        clock(steady),
        options(runner_options),
        threads(static_cast<std::size_t>(std::max(1, runner_options.threads))) {}

  // A call under way; counted until it has been answered.
  struct Job {
    State& state;
    const TaskCard& card;
    TaskCall call;
    TimePoint deadline;
    line::Frame frame{};
    Done done;
    bool ended = false;

    void end(ApiResult<TaskAnswer> answer) {
      if (std::exchange(ended, true)) return;
      done(std::move(answer));
      frame = {};  // its slots, before the place is free
      state.leave();
    }
  };
  using JobPtr = std::shared_ptr<Job>;

  bool enter() {
    const std::scoped_lock lock(mutex);
    if (stopping || calls >= options.calls_max) return false;
    ++calls;
    return true;
  }
  void leave() {
    const std::scoped_lock lock(mutex);
    --calls;
    changed.notify_all();
  }

  // The pictures, in one slot. Errors: invalid_argument, resource_exhausted.
  ApiResult<void> decode(Job& job) {
    std::vector<line::EncodedImage> ordered;
    for (const std::string& role : job.card.roles) {
      const auto found = std::ranges::find(job.call.images, role, &line::EncodedImage::role);
      if (found == job.call.images.end()) {
        return server::refuse(ApiCode::invalid_argument,
                              fmt::format("the picture '{}' is missing", role));
      }
      ordered.push_back(*found);
    }
    line::FrameReader reader(job.card.plan.spec.preprocess.color, options.limits);
    reader.load(std::span<const line::EncodedImage>(ordered));
    const std::optional<line::CaptureSize> size = reader.size();
    Result<line::Capture> capture = fail(ErrorKind::invalid_input, "");
    if (size) capture = line::take_capture(*pool, *size, kSlotWaitMax, stop_signal);
    line::FrameImages images = reader.decode(capture ? &*capture : nullptr);
    if (images.damage) return std::unexpected(client_error(*std::move(images.damage)));
    if (!capture) return std::unexpected(client_error(std::move(capture).error()));
    job.frame.images = std::move(images.images);
    job.call.content.reset();
    return {};
  }

  static ApiError failed() { return {ApiCode::internal, "the call failed inside the server"}; }

  void begin(const JobPtr& job) noexcept try {
    if (ApiResult<void> decoded = decode(*job); !decoded) {
      return job->end(std::unexpected(std::move(decoded).error()));
    }
    Result<InferRequest> request = line::image_request(job->card.plan, job->frame, {}, {});
    if (!request) {
      return job->end(std::unexpected(client_error(std::move(request).error())));
    }
    request->priority = std::max(job->card.plan.spec.priority, options.most_urgent);
    request->deadline = job->deadline;
    client.submit(std::move(*request), [this, job](Result<InferResult> result) {
      boost::asio::post(threads, [job, result = std::move(result)]() mutable {
        finish(*job, std::move(result));
      });
    });
  } catch (const std::exception& /*may name files*/) {
    job->end(std::unexpected(failed()));
  }

  static void finish(Job& job, Result<InferResult> result) noexcept try {
    if (!result) return job.end(std::unexpected(client_error(std::move(result).error())));
    const line::PlannedTask& plan = job.card.plan;
    Result<TaskResult> read =
        plan.postprocessor->run(result->outputs, line::placement_of(plan, job.frame, {}));
    if (!read) return job.end(std::unexpected(client_error(std::move(read).error())));
    const ImageView& view = job.frame.images.front().view;
    TaskAnswer answer{&job.card, view.width, view.height, std::move(*read), result->timings};
    result->hold.reset();
    job.end(std::move(answer));
  } catch (const std::exception& /*may name files*/) {
    job.end(std::unexpected(failed()));
  }

  InferenceClient& client;
  const std::shared_ptr<SlotPool> pool;
  const Clock& clock;
  const TaskRunnerOptions options;
  std::map<std::string, TaskCard, std::less<>> tasks;
  line::StopSignal stop_signal;
  std::mutex mutex;
  std::condition_variable changed;
  // Guarded by mutex:
  int calls = 0;
  bool stopping = false;
  boost::asio::thread_pool threads;  // last: ends first
};

TaskRunner::TaskRunner(std::unique_ptr<State> state) : state_(std::move(state)) {}

Result<std::unique_ptr<TaskRunner>> TaskRunner::create(std::span<const TaskSpec> tasks,
                                                       InferenceClient& client,
                                                       std::shared_ptr<SlotPool> pool,
                                                       const Clock& clock,
                                                       TaskRunnerOptions options) {
  auto state = std::make_unique<State>(client, std::move(pool), clock, options);
  for (const TaskSpec& spec : tasks) {
    if (spec.inputs.empty() || spec.postprocess.name == "raw") continue;
    Result<line::PlannedTask> plan = line::plan_task(spec, client);
    if (!plan) return std::unexpected(std::move(plan).error());
    std::vector<std::string> roles = roles_of(*plan);
    state->tasks.emplace(spec.name, TaskCard{std::move(*plan), std::move(roles)});
  }
  return std::unique_ptr<TaskRunner>(new TaskRunner(std::move(state)));
}

TaskRunner::~TaskRunner() {
  stop();
}

const std::map<std::string, TaskCard, std::less<>>& TaskRunner::tasks() const noexcept {
  return state_->tasks;
}

ApiResult<const TaskCard*> TaskRunner::find(std::string_view task) const {
  const auto found = state_->tasks.find(task);
  if (found != state_->tasks.end()) return &found->second;
  std::vector<std::string> names;
  for (const auto& [name, card] : state_->tasks) names.push_back(name);
  return server::refuse(ApiCode::not_found, fmt::format("no task '{}' that takes pictures{}", task,
                                                        suggestion(task, names)));
}

void TaskRunner::run(TaskCall call, Done done) {
  const ApiResult<const TaskCard*> card = find(call.task);
  if (!card) return done(std::unexpected(card.error()));
  if (!state_->enter()) {
    return done(server::refuse(
        ApiCode::resource_exhausted,
        fmt::format("{} calls are being answered, or the server is stopping; try again later",
                    state_->options.calls_max)));
  }
  const Duration own = (*card)->plan.spec.deadline;
  const Duration time = call.deadline.value_or(own > Duration{} ? own : state_->options.deadline);
  const TimePoint deadline = time > Duration{} ? state_->clock.now() + time : kNever;
  auto job = std::make_shared<State::Job>(
      State::Job{*state_, **card, std::move(call), deadline, {}, std::move(done), false});
  boost::asio::post(state_->threads, [state = state_.get(), job] { state->begin(job); });
}

void TaskRunner::stop() {
  {
    std::unique_lock lock(state_->mutex);
    state_->stopping = true;
    state_->changed.wait(lock, [this] { return state_->calls == 0; });
  }
  state_->threads.join();
}

}  // namespace takt::rest
