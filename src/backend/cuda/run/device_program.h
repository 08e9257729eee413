// SPDX-License-Identifier: Apache-2.0
// A program made ready on a device, and the room in which an instance runs it.
// Thread-safe: DeviceProgram never changes once it is built; a Room is one instance's.
// Owns: DeviceProgram shares of its code; the weights are Weights'. Room its memory.
#pragma once

#include "backend/cuda/captured_graph.h"
#include "backend/cuda/compile/lanes.h"
#include "backend/cuda/compile/program.h"
#include "backend/cuda/compile/step_runner.h"
#include "backend/cuda/compile/tuner.h"
#include "backend/cuda/memory.h"
#include "backend/cuda/run/weights.h"
#include "backend/cuda/stream.h"
#include "core/result.h"
#include "core/time.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace takt::cuda {

struct DeviceProgram {
  Program program;
  std::vector<StepRunner> runners;        // of all steps, in their order
  std::vector<std::size_t> first_runner;  // of each step, and behind the last one
  LanePlan lanes;
  std::vector<std::uint64_t>
      constants;  // where each buffer begins; 0 for those that are no constants
  std::vector<std::size_t> workspace_bytes;  // of each lane
};

// Told on the calling thread: what is done, and so many parts of so many; of "tuning" they are steps.
using StepProgress = Tuner::Progress;

// Needs a Scope of the stream's context. Errors: those of Tuner::runners, with the step's name.
[[nodiscard]] Result<DeviceProgram> build_program(Program program, Tuner& tuner, Weights& weights,
                                                  const Stream& stream,
                                                  const StepProgress& progress);
// The kernels that building it will ask for.
[[nodiscard]] std::vector<KernelSource> kernel_sources(const Program& program);

// Memory for one run at a time of any of some programs.
class Room {
 public:
  struct Size {
    std::size_t arena_bytes = 0;
    std::vector<std::size_t> workspace_bytes;  // of each lane
    std::vector<std::size_t> input_bytes;      // of each input
    std::vector<std::size_t> output_bytes;

    [[nodiscard]] std::size_t bytes() const;
  };
  [[nodiscard]] static Size size_for(std::span<const DeviceProgram* const> programs);
  // Errors: out_of_memory (with what is needed and what there is), device_poisoned, internal.
  [[nodiscard]] static Result<Room> allocate(std::shared_ptr<const Context> context,
                                             const Size& size);

  [[nodiscard]] DeviceSpan input(std::size_t index) const { return inputs_[index]; }
  [[nodiscard]] DeviceSpan output(std::size_t index) const { return outputs_[index]; }
  [[nodiscard]] DeviceSpan workspace(std::size_t lane) const { return workspaces_[lane]; }
  [[nodiscard]] std::size_t lanes() const noexcept { return workspaces_.size(); }
  // Where each of the program's buffers begins.
  [[nodiscard]] std::vector<std::uint64_t> buffers(const DeviceProgram& program) const;

 private:
  explicit Room(DeviceMemory memory) : memory_(std::move(memory)) {}
  DeviceMemory memory_;
  DeviceSpan arena_;
  std::vector<DeviceSpan> workspaces_;
  std::vector<DeviceSpan> inputs_;
  std::vector<DeviceSpan> outputs_;
};

// Runs steps on several lanes: the program's begin and end are those of the first one.
struct LaneQueues {
  std::span<const StepQueue> lanes;  // at least as many as the program has
  std::span<const std::optional<Event>>
      events;  // of each step that signals, and behind them one a lane
};

// Queues all steps. Needs a Scope. Errors: device_poisoned, internal.
[[nodiscard]] Result<void> queue_program(const DeviceProgram& program, const LaneQueues& queues);
// Gives the program other lanes; at most `lanes_max`.
void set_lanes(DeviceProgram& program, int lanes_max);

// Time of each runner by itself, as a median: it was run `repeats` times in a row, without waiting for the host.
[[nodiscard]] Result<std::vector<Duration>> time_steps(const DeviceProgram& program,
                                                       const StepQueue& queue, int repeats);

}  // namespace takt::cuda
