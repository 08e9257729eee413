// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/run/compiled_model.h"

#include "backend/cuda/compile/contraction_forms.h"
#include "backend/cuda/compile/kernel_cache.h"
#include "backend/cuda/compile/sha256.h"
#include "graph/simplify.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <utility>
#include <vector>

namespace takt::cuda {
namespace {

constexpr std::int64_t kLanesBatchMax = 8;  // larger ones fill the device with one step
constexpr int kStepsKept = 16;
constexpr int kLanes[] = {1, 2, 4};
constexpr int kLaneRuns = 21;

std::vector<BoundTensor> tensors_of(const graph::Graph& graph,
                                    const std::vector<graph::ValueId>& ids) {
  std::vector<BoundTensor> tensors;
  for (const graph::ValueId id : ids) {
    tensors.push_back({graph.value(id).name, graph.value(id).type});
  }
  return tensors;
}

// One for each step that others wait for, and one for each lane.
Result<std::vector<std::optional<Event>>> lane_events(
    const LanePlan& plan, const std::shared_ptr<const Context>& context) {
  std::vector<std::optional<Event>> events(plan.lane.size() + static_cast<std::size_t>(plan.lanes));
  for (std::size_t i = 0; i < events.size(); ++i) {
    if (i < plan.signals.size() && !plan.signals[i]) continue;
    Result<Event> event = Event::create(context, EventUse::ordering);
    if (!event) return std::unexpected(std::move(event).error());
    events[i] = *std::move(event);
  }
  return events;
}

// A number of lanes, and as many executions with it as will run beside each other.
struct LaneTrial {
  int lanes = 1;
  std::vector<Execution> executions;
  std::vector<Duration> times;
};

Result<std::vector<Execution>> open_beside(const std::shared_ptr<const CompiledModel>& model,
                                           int count) {
  std::vector<Execution> executions;
  for (int i = 0; i < count; ++i) {
    Result<Execution> execution = Execution::open(model);
    if (!execution) return std::unexpected(std::move(execution).error());
    executions.push_back(*std::move(execution));
  }
  return executions;
}

// Of one run of each beside the others: on the device, from the first step to the last of all.
Result<Duration> time_beside(std::span<const Execution> executions, std::int64_t batch) {
  const auto& context = executions.front().model().device().context;
  const Stream& first = executions.front().stream();
  Result<Event> begin = Event::create(context, EventUse::timing);
  if (!begin) return std::unexpected(std::move(begin).error());
  Result<Event> end = Event::create(context, EventUse::timing);
  if (!end) return std::unexpected(std::move(end).error());
  std::vector<Event> ends;
  Result<void> done = begin->record(first);
  for (const Execution& execution : executions.subspan(1)) {
    if (done) done = execution.stream().wait(*begin);
  }
  for (const Execution& execution : executions) {
    if (done) done = execution.launch(batch);
  }
  for (const Execution& execution : executions.subspan(1)) {
    Result<Event> own = Event::create(context, EventUse::ordering);
    if (!own) return std::unexpected(std::move(own).error());
    if (done) done = own->record(execution.stream());
    if (done) done = first.wait(*own);
    ends.push_back(*std::move(own));
  }
  if (done) done = end->record(first);
  if (done) done = end->synchronize();
  if (!done) return std::unexpected(std::move(done).error());
  return Event::elapsed(*begin, *end);
}

// In turns, so that a clock that falls while they are timed slows all of them; the first round warms up. More lanes
// must be worth what they cost the host.
Result<int> fastest(std::span<LaneTrial> trials, std::int64_t batch) {
  for (int round = 0; round <= kLaneRuns; ++round) {
    for (LaneTrial& trial : trials) {
      const Result<Duration> time = time_beside(trial.executions, batch);
      if (!time) return std::unexpected(time.error());
      if (round > 0) trial.times.push_back(*time);
    }
  }
  int best = 1;
  Duration best_time{};
  for (LaneTrial& trial : trials) {
    std::ranges::sort(trial.times);
    const Duration median = trial.times[trial.times.size() / 2];
    if (best_time == Duration{} || median < best_time * 98 / 100) {
      best = trial.lanes;
      best_time = median;
    }
  }
  return best;
}

}  // namespace

Result<graph::Graph> read_graph(const std::filesystem::path& onnx, const ModelOptions& options,
                                std::int64_t batch) {
  graph::ImportOptions import{options.input_shapes, options.dimensions, batch};
  if (batch > 0) {
    for (auto& [name, shape] : import.input_shapes) shape.insert(shape.begin(), batch);
  }
  Result<graph::Graph> imported = graph::import_onnx_file(onnx, import);
  if (!imported) return imported;
  return graph::simplify(*imported);
}

Result<std::shared_ptr<const CompiledModel>> CompiledModel::build(
    std::shared_ptr<const OpenedDevice> device, const std::filesystem::path& onnx,
    const ModelOptions& options, PieceStore& pieces, const BuildProgress& progress) {
  const std::shared_ptr<CompiledModel> model(new CompiledModel(device));
  const auto report = [&](std::string_view stage, int done, int total) {
    if (progress) progress(stage, done, total);
  };
  const Result<Context::Scope> scope = device->context->enter();
  if (!scope) return std::unexpected(scope.error());
  Result<Stream> stream = Stream::create(device->context);
  if (!stream) return std::unexpected(std::move(stream).error());
  std::optional<CudnnHandle> cudnn;
  if (device->cudnn) {
    Result<CudnnHandle> handle = CudnnHandle::create(*device->cudnn, *stream);
    if (!handle) return std::unexpected(std::move(handle).error());
    cudnn = *std::move(handle);
  }
  KernelCache kernels(device->context, pieces, device->nvrtc ? &*device->nvrtc : nullptr);
  TuningOptions tuning = options.tuning;
  tuning.tf32 = options.precision == Precision::tf32;
  Tuner tuner(kernels, pieces, *stream, cudnn ? &*cudnn : nullptr, tuning);
  for (const std::int64_t batch : options.batches) {
    const std::string at = batch > 0 ? fmt::format(" at batch size {}", batch) : "";
    report("reading" + at, 0, 1);
    Result<graph::Graph> graph = read_graph(onnx, options, batch);
    if (!graph) return std::unexpected(std::move(graph).error());
    Result<Program> program =
        lower(*graph, {options.precision, options.inputs_made_on_device,
                       batch <= kLanesBatchMax ? kStepsKept : 0, device->device().capability});
    if (!program) return std::unexpected(std::move(program).error().within(onnx.string()));
    const Result<void> prepared = kernels.prepare(
        kernel_sources(*program),
        [&](int done, int total) { report("compiling kernels" + at, done, total); });
    if (!prepared) return std::unexpected(prepared.error());
    Result<DeviceProgram> built =
        build_program(*std::move(program), tuner, model->weights_, *stream,
                      [&](std::string_view what, int done, int total) {
                        report(std::string(what) + at, done, total);
                      });
    if (!built) return std::unexpected(std::move(built).error().within(onnx.string()));
    if (options.lanes > 0) {
      set_lanes(*built, options.lanes);
    } else if (batch <= kLanesBatchMax) {
      const Result<void> chosen = choose_lanes(device, batch, *built, options.tuning, pieces);
      if (!chosen) return std::unexpected(chosen.error());
    }
    model->programs_.emplace(batch, *std::move(built));
    model->inputs_ = tensors_of(*graph, graph->inputs);
    model->outputs_ = tensors_of(*graph, graph->outputs);
  }
  model->size_room();
  model->tuning_ = tuner.counts();
  return model;
}

void CompiledModel::size_room() {
  std::vector<const DeviceProgram*> all;
  for (const auto& [batch, program] : programs_) all.push_back(&program);
  room_size_ = Room::size_for(all);
}

Result<void> CompiledModel::choose_lanes(std::shared_ptr<const OpenedDevice> device,
                                         std::int64_t batch, DeviceProgram& program,
                                         const TuningOptions& tuning, PieceStore& pieces) {
  // By the contractions, which take nearly all of the time: how inputs get there differs between who compiles
  // ahead and who serves images.
  std::string problem;
  for (const Step& step : program.program.steps) {
    if (step.kind == StepKind::contraction) problem += problem_text(step);
  }
  const auto key_of = [&](int beside) {
    return sha256_hex(beside > 1 ? fmt::format("lanes, {} beside\n{}", beside, problem)
                                 : "lanes\n" + problem);
  };
  for (const TuningConditions& known : accepted_conditions(tuning)) {
    const auto choice = pieces.find(kChoicePiece, key_of(known.runs_beside));
    if (!choice || choice->size() != 1) continue;
    const int lanes = std::to_integer<int>(choice->front());
    if (std::ranges::find(kLanes, lanes) == std::end(kLanes)) continue;
    set_lanes(program, lanes);
    return {};
  }
  if (!tuning.may_tune) return {};
  const std::shared_ptr<CompiledModel> trial(new CompiledModel(std::move(device)));
  DeviceProgram& tried = trial->programs_.emplace(batch, std::move(program)).first->second;
  const auto open_trials = [&](int count) -> Result<std::vector<LaneTrial>> {
    std::vector<LaneTrial> trials;
    for (const int lanes : kLanes) {
      set_lanes(tried, lanes);
      trial->size_room();
      Result<std::vector<Execution>> executions = open_beside(trial, count);
      const bool too_large =
          !executions && executions.error().kind == ErrorKind::out_of_memory && lanes > 1;
      if (too_large && count == 1) break;  // each lane has scratch memory of its own
      if (!executions) return std::unexpected(std::move(executions).error());
      trials.push_back({lanes, *std::move(executions), {}});
    }
    return trials;
  };
  const int beside = conditions_of(tuning).runs_beside;
  int count = beside;
  Result<std::vector<LaneTrial>> opened = open_trials(count);
  while (!opened && opened.error().kind == ErrorKind::out_of_memory && count > 1) {
    count /= 2;
    opened = open_trials(count);
  }
  if (!opened) return std::unexpected(std::move(opened).error());
  std::vector<LaneTrial>& trials = *opened;
  const Result<int> best = fastest(trials, batch);
  if (!best) return std::unexpected(best.error());
  trials.clear();
  program = std::move(tried);
  set_lanes(program, *best);
  // What finds no room is found out again.
  static_cast<void>(pieces.put(kChoicePiece, key_of(beside), {static_cast<std::byte>(*best)}));
  return {};
}

const DeviceProgram* CompiledModel::program_for(std::int64_t rows) const {
  const auto found = programs_.lower_bound(rows);
  return found == programs_.end() ? nullptr : &found->second;
}

Result<Execution> Execution::open(std::shared_ptr<const CompiledModel> model,
                                  const Around& around) {
  const OpenedDevice& device = model->device();
  const Result<Context::Scope> scope = device.context->enter();
  if (!scope) return std::unexpected(scope.error());
  Result<Room> room = Room::allocate(device.context, model->room_size());
  if (!room) return std::unexpected(std::move(room).error());
  Execution execution(model, *std::move(room));
  while (execution.lanes_.size() < execution.room_.lanes()) {
    if (Result<void> added = execution.add_lane(); !added) {
      return std::unexpected(std::move(added).error());
    }
  }
  for (std::size_t i = 0; i < model->room_size().input_bytes.size(); ++i) {
    // Until a request fills them, rows are 0.
    Result<void> cleared = zero(execution.room_.input(i), execution.stream());
    if (!cleared) return std::unexpected(std::move(cleared).error());
  }
  for (const auto& [batch, program] : model->programs()) {
    if (Result<void> recorded = execution.record(batch, program, around); !recorded) {
      return std::unexpected(std::move(recorded).error());
    }
  }
  return execution;
}

Result<void> Execution::add_lane() {
  const OpenedDevice& device = model_->device();
  Result<Stream> stream = Stream::create(device.context);
  if (!stream) return std::unexpected(std::move(stream).error());
  Lane lane{*std::move(stream), {}};
  if (device.cudnn) {
    Result<CudnnHandle> handle = CudnnHandle::create(*device.cudnn, lane.stream);
    if (!handle) return std::unexpected(std::move(handle).error());
    lane.cudnn = *std::move(handle);
  }
  lanes_.push_back(std::move(lane));
  return {};
}

StepQueue Execution::queue_of(std::size_t lane, std::span<const std::uint64_t> buffers) const {
  const Lane& of = lanes_[lane];
  return {&of.stream, of.cudnn ? &*of.cudnn : nullptr, buffers, room_.workspace(lane)};
}

Result<void> Execution::record(std::int64_t batch, const DeviceProgram& program,
                               const Around& around) {
  const std::vector<std::uint64_t> buffers = room_.buffers(program);
  std::vector<StepQueue> queues;
  for (std::size_t lane = 0; lane < lanes_.size(); ++lane)
    queues.push_back(queue_of(lane, buffers));
  // Events end with the recording: the graph keeps only the order that they say.
  Result<std::vector<std::optional<Event>>> events =
      lane_events(program.lanes, model_->device().context);
  if (!events) return std::unexpected(std::move(events).error());
  const auto queue_all = [&]() -> Result<void> {
    Result<void> queued;
    if (around.before) queued = around.before(*this, batch);
    if (queued) queued = queue_program(program, {queues, *events});
    if (queued && around.after) queued = around.after(*this, batch);
    return queued;
  };
  const std::unique_lock guard = model_->lock_steps();
  // Once for real: libraries load code at the first run, which must not happen while it is recorded.
  Result<void> warm = queue_all();
  if (warm) warm = stream().synchronize();
  if (!warm) return warm;
  Result<CapturedGraph> graph = CapturedGraph::capture(stream(), queue_all);
  if (!graph) return std::unexpected(std::move(graph).error());
  graphs_.insert_or_assign(batch, *std::move(graph));
  return {};
}

Result<Duration> Execution::time(std::int64_t batch, int runs) const {
  const auto& context = model_->device().context;
  const Result<Event> begin = Event::create(context, EventUse::timing);
  if (!begin) return std::unexpected(begin.error());
  const Result<Event> end = Event::create(context, EventUse::timing);
  if (!end) return std::unexpected(end.error());
  std::vector<Duration> times;
  for (int i = 0; i < runs; ++i) {
    Result<void> done = begin->record(stream());
    if (done) done = launch(batch);
    if (done) done = end->record(stream());
    if (done) done = end->synchronize();
    if (!done) return std::unexpected(std::move(done).error());
    const Result<Duration> time = Event::elapsed(*begin, *end);
    if (!time) return std::unexpected(time.error());
    times.push_back(*time);
  }
  std::ranges::sort(times);
  return times[times.size() / 2];
}

Result<void> Execution::launch(std::int64_t batch) const {
  const auto graph = graphs_.find(batch);
  if (graph == graphs_.end()) {
    return fail(ErrorKind::internal, fmt::format("no graph for batch size {}", batch));
  }
  return graph->second.launch(stream());
}

}  // namespace takt::cuda
