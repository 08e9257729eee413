// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/run/device_program.h"

#include "backend/cuda/compile/arena_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <numeric>
#include <utility>

namespace takt::cuda {
namespace {

void grow(std::vector<std::size_t>& sizes, const Program& program, const std::vector<View>& views) {
  sizes.resize(std::max(sizes.size(), views.size()));
  for (std::size_t i = 0; i < views.size(); ++i) {
    sizes[i] = std::max(sizes[i], program.buffers[static_cast<std::size_t>(views[i].buffer)].bytes);
  }
}

}  // namespace

std::vector<KernelSource> kernel_sources(const Program& program) {
  std::vector<KernelSource> sources;
  for (const Step& step : program.steps) {
    Result<StepCode> code = step_code(step, step_label(step));
    if (!code) continue;  // build_program says so
    for (KernelCall& call : code->calls) sources.push_back(std::move(call.source));
  }
  return sources;
}

Result<DeviceProgram> build_program(Program program, Tuner& tuner, Weights& weights,
                                    const Stream& stream, const StepProgress& progress) {
  DeviceProgram built;
  Result<std::vector<std::uint64_t>> constants = weights.add(program, stream);
  if (!constants) return std::unexpected(std::move(constants).error());
  built.constants = *std::move(constants);
  const int total = static_cast<int>(program.steps.size());
  for (int i = 0; i < total; ++i) {
    const auto steps = std::span<const Step>(program.steps).subspan(static_cast<std::size_t>(i));
    if (Result<void> planned = tuner.plan_ahead(steps, progress); !planned) {
      return std::unexpected(std::move(planned).error());
    }
    const Step& step = steps.front();
    Result<std::vector<StepRunner>> runners = tuner.runners(step);
    if (!runners) return std::unexpected(std::move(runners).error().within(step.name));
    built.first_runner.push_back(built.runners.size());
    std::ranges::move(*runners, std::back_inserter(built.runners));
    if (progress) progress("tuning", i + 1, total);
  }
  built.first_runner.push_back(built.runners.size());
  built.program = std::move(program);
  set_lanes(built, 1);
  return built;
}

void set_lanes(DeviceProgram& program, int lanes_max) {
  // One lane keeps every order by itself.
  program.lanes =
      plan_lanes(lanes_max > 1 ? dependencies(program.program)
                               : std::vector<std::vector<int>>(program.program.steps.size()),
                 lanes_max);
  program.workspace_bytes.assign(static_cast<std::size_t>(lanes_max), 0);
  for (std::size_t step = 0; step < program.lanes.lane.size(); ++step) {
    std::size_t& bytes =
        program.workspace_bytes[static_cast<std::size_t>(program.lanes.lane[step])];
    for (std::size_t i = program.first_runner[step]; i < program.first_runner[step + 1]; ++i) {
      bytes = std::max(bytes, program.runners[i].workspace_bytes());
    }
  }
  // The first lane's is enough for any step, so that each can be run there by itself.
  program.workspace_bytes.front() = std::ranges::max(program.workspace_bytes);
}

std::size_t Room::Size::bytes() const {
  std::size_t sum = aligned_to_arena(arena_bytes);
  for (const std::size_t bytes : workspace_bytes) sum += aligned_to_arena(bytes);
  for (const std::size_t bytes : input_bytes) sum += aligned_to_arena(bytes);
  for (const std::size_t bytes : output_bytes) sum += aligned_to_arena(bytes);
  return sum;
}

Room::Size Room::size_for(std::span<const DeviceProgram* const> programs) {
  Size size;
  for (const DeviceProgram* const program : programs) {
    size.arena_bytes = std::max(size.arena_bytes, program->program.arena_bytes);
    size.workspace_bytes.resize(
        std::max(size.workspace_bytes.size(), program->workspace_bytes.size()));
    for (std::size_t i = 0; i < program->workspace_bytes.size(); ++i) {
      size.workspace_bytes[i] = std::max(size.workspace_bytes[i], program->workspace_bytes[i]);
    }
    grow(size.input_bytes, program->program, program->program.inputs);
    grow(size.output_bytes, program->program, program->program.outputs);
  }
  return size;
}

Result<Room> Room::allocate(std::shared_ptr<const Context> context, const Size& size) {
  const std::size_t bytes = std::max(kArenaAlignment, size.bytes());
  const Result<Context::Scope> scope = context->enter();
  if (!scope) return std::unexpected(scope.error());
  const Result<MemoryUse> use = context->memory();
  if (!use) return std::unexpected(use.error());
  const auto mib = [](std::size_t amount) { return static_cast<double>(amount) / (1 << 20); };
  if (bytes > use->free_bytes) {
    return fail(ErrorKind::out_of_memory,
                fmt::format("an instance needs {:.1f} MiB of device memory, of which {:.1f} MiB "
                            "are free; lower max_batch_size or the number of instances",
                            mib(bytes), mib(use->free_bytes)));
  }
  Result<DeviceMemory> memory = DeviceMemory::allocate(std::move(context), bytes);
  if (!memory) return std::unexpected(std::move(memory).error());
  Room room(*std::move(memory));
  std::uint64_t next = room.memory_.span().address;
  const auto take = [&](std::size_t amount) {
    const DeviceSpan span{next, amount};
    next += aligned_to_arena(amount);
    return span;
  };
  room.arena_ = take(size.arena_bytes);
  for (const std::size_t amount : size.workspace_bytes) room.workspaces_.push_back(take(amount));
  for (const std::size_t amount : size.input_bytes) room.inputs_.push_back(take(amount));
  for (const std::size_t amount : size.output_bytes) room.outputs_.push_back(take(amount));
  return room;
}

std::vector<std::uint64_t> Room::buffers(const DeviceProgram& program) const {
  std::vector<std::uint64_t> addresses = program.constants;
  const Program& plan = program.program;
  for (std::size_t i = 0; i < addresses.size(); ++i) {
    if (plan.buffers[i].kind == BufferKind::arena) {
      addresses[i] = arena_.address + plan.buffers[i].arena_offset;
    }
  }
  for (std::size_t i = 0; i < plan.inputs.size(); ++i) {
    addresses[static_cast<std::size_t>(plan.inputs[i].buffer)] = inputs_[i].address;
  }
  for (std::size_t i = 0; i < plan.outputs.size(); ++i) {
    addresses[static_cast<std::size_t>(plan.outputs[i].buffer)] = outputs_[i].address;
  }
  return addresses;
}

Result<void> queue_program(const DeviceProgram& program, const LaneQueues& queues) {
  const LanePlan& plan = program.lanes;
  const auto lanes = static_cast<std::size_t>(plan.lanes);
  const StepQueue& main = queues.lanes.front();
  const std::span<const std::optional<Event>> of_lanes =
      queues.events.subspan(queues.events.size() - lanes);
  Result<void> done;
  if (lanes > 1) done = of_lanes.front()->record(*main.stream);
  for (std::size_t lane = 1; done && lane < lanes; ++lane) {
    done = queues.lanes[lane].stream->wait(*of_lanes.front());
  }
  for (std::size_t step = 0; done && step < plan.lane.size(); ++step) {
    const StepQueue& queue = queues.lanes[static_cast<std::size_t>(plan.lane[step])];
    for (const int needed : plan.waits[step]) {
      if (done) done = queue.stream->wait(*queues.events[static_cast<std::size_t>(needed)]);
    }
    for (std::size_t i = program.first_runner[step]; done && i < program.first_runner[step + 1];
         ++i) {
      done = program.runners[i].queue(queue);
    }
    if (done && plan.signals[step]) done = queues.events[step]->record(*queue.stream);
    if (!done)
      return std::unexpected(std::move(done).error().within(program.program.steps[step].name));
  }
  for (std::size_t lane = 1; done && lane < lanes; ++lane) {
    done = of_lanes[lane]->record(*queues.lanes[lane].stream);
    if (done) done = main.stream->wait(*of_lanes[lane]);
  }
  return done;
}

Result<std::vector<Duration>> time_steps(const DeviceProgram& program, const StepQueue& queue,
                                         int repeats) {
  constexpr int kRounds = 5;
  Result<Event> begin = Event::create(queue.stream->context(), EventUse::timing);
  if (!begin) return std::unexpected(std::move(begin).error());
  Result<Event> end = Event::create(queue.stream->context(), EventUse::timing);
  if (!end) return std::unexpected(std::move(end).error());
  std::vector<Duration> medians;
  for (const StepRunner& runner : program.runners) {
    Result<CapturedGraph> graph = CapturedGraph::capture(*queue.stream, [&]() -> Result<void> {
      for (int i = 0; i < repeats; ++i) {
        if (Result<void> queued = runner.queue(queue); !queued) return queued;
      }
      return {};
    });
    if (!graph) return std::unexpected(std::move(graph).error());
    std::vector<Duration> times;
    for (int round = 0; round < kRounds; ++round) {
      Result<void> done = begin->record(*queue.stream);
      if (done) done = graph->launch(*queue.stream);
      if (done) done = end->record(*queue.stream);
      if (done) done = end->synchronize();
      if (!done) return std::unexpected(std::move(done).error());
      const Result<Duration> time = Event::elapsed(*begin, *end);
      if (!time) return std::unexpected(time.error());
      times.push_back(*time / repeats);
    }
    std::ranges::sort(times);
    medians.push_back(times[kRounds / 2]);
  }
  return medians;
}

}  // namespace takt::cuda
