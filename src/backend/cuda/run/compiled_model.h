// SPDX-License-Identifier: Apache-2.0
// A model ready on a device at some batch sizes, and an execution of it: a stream, memory, and one CUDA graph a
// batch size.
// Thread-safe: CompiledModel yes, it never changes; an Execution is one thread's at a time.
// Owns: CompiledModel code and weights; Execution its stream, memory and graphs, and a share of the model.
#pragma once

#include "backend/cuda/captured_graph.h"
#include "backend/cuda/compile/lowering.h"
#include "backend/cuda/compile/plan_file.h"
#include "backend/cuda/compile/precision.h"
#include "backend/cuda/compile/tuner.h"
#include "backend/cuda/cudnn.h"
#include "backend/cuda/memory.h"
#include "backend/cuda/run/device_program.h"
#include "backend/cuda/run/opened_device.h"
#include "backend/cuda/run/weights.h"
#include "backend/cuda/stream.h"
#include "core/result.h"
#include "graph/import.h"

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace takt::cuda {

struct ModelOptions {
  std::vector<std::int64_t> batches;  // ascending; 0 alone: as the file says
  std::map<std::string, Shape>
      input_shapes;  // without the batch dimension where `batches` has sizes
  std::map<std::string, std::int64_t> dimensions;
  Precision precision = Precision::fp32;
  std::vector<bool> inputs_made_on_device;  // as LoweringOptions
  // Steps of a small batch that run beside each other; 0: as many as make one run fastest.
  int lanes = 0;
  TuningOptions tuning;
};

// What is being done, and how much of it.
using BuildProgress = std::function<void(std::string_view stage, int done, int total)>;

// The model of a file at one batch size, in as few operators as it takes.
[[nodiscard]] Result<graph::Graph> read_graph(const std::filesystem::path& onnx,
                                              const ModelOptions& options, std::int64_t batch);

struct BoundTensor {
  std::string name;
  graph::TensorType type;
};

class CompiledModel {
 public:
  // `pieces` is asked first and gets what is found out. Errors: invalid_input (not ONNX, an operator that takt
  // lacks; the message names the node), unavailable, out_of_memory, device_poisoned, internal.
  [[nodiscard]] static Result<std::shared_ptr<const CompiledModel>> build(
      std::shared_ptr<const OpenedDevice> device, const std::filesystem::path& onnx,
      const ModelOptions& options, PieceStore& pieces, const BuildProgress& progress);

  // The smallest batch size that is ready and at least `rows`; null: none is.
  [[nodiscard]] const DeviceProgram* program_for(std::int64_t rows) const;
  [[nodiscard]] const std::map<std::int64_t, DeviceProgram>& programs() const noexcept {
    return programs_;
  }
  // At the last batch size of the options.
  [[nodiscard]] const std::vector<BoundTensor>& inputs() const noexcept { return inputs_; }
  [[nodiscard]] const std::vector<BoundTensor>& outputs() const noexcept { return outputs_; }
  [[nodiscard]] std::size_t weights_bytes() const noexcept { return weights_.bytes(); }
  [[nodiscard]] const Room::Size& room_size() const noexcept { return room_size_; }
  [[nodiscard]] const OpenedDevice& device() const noexcept { return *device_; }
  [[nodiscard]] const Tuner::Counts& tuning() const noexcept { return tuning_; }
  // Held while its steps are queued: a plan of cuDNN is one thread's at a time.
  [[nodiscard]] std::unique_lock<std::mutex> lock_steps() const {
    return std::unique_lock(steps_lock_);
  }

 private:
  explicit CompiledModel(std::shared_ptr<const OpenedDevice> device) : device_(std::move(device)) {}
  void size_room();
  // How many lanes a small batch runs on: found out by running it, or known to the pieces.
  [[nodiscard]] static Result<void> choose_lanes(std::shared_ptr<const OpenedDevice> device,
                                                 std::int64_t batch, DeviceProgram& program,
                                                 const TuningOptions& tuning, PieceStore& pieces);
  std::shared_ptr<const OpenedDevice> device_;
  Weights weights_;
  std::map<std::int64_t, DeviceProgram> programs_;
  std::vector<BoundTensor> inputs_;
  std::vector<BoundTensor> outputs_;
  Room::Size room_size_;
  Tuner::Counts tuning_;
  mutable std::mutex steps_lock_;
};

class Execution {
 public:
  // What is recorded with the model at each batch size: it queues work on the execution's stream.
  using Queue = std::function<Result<void>(const Execution& execution, std::int64_t batch)>;
  struct Around {
    Queue before;
    Queue after;
  };

  // Records a graph for each batch size. Errors: out_of_memory, device_poisoned, internal.
  [[nodiscard]] static Result<Execution> open(std::shared_ptr<const CompiledModel> model,
                                              const Around& around = {});

  // Queues the model at one of its batch sizes. Needs a Scope. Errors: device_poisoned, internal.
  [[nodiscard]] Result<void> launch(std::int64_t batch) const;
  // On the device, from the first step to the last: the median of so many runs, one after the other.
  [[nodiscard]] Result<Duration> time(std::int64_t batch, int runs) const;

  [[nodiscard]] const Stream& stream() const noexcept { return lanes_.front().stream; }
  [[nodiscard]] const Room& room() const noexcept { return room_; }
  [[nodiscard]] const CompiledModel& model() const noexcept { return *model_; }
  // Of the first lane.
  [[nodiscard]] StepQueue queue(std::span<const std::uint64_t> buffers) const {
    return queue_of(0, buffers);
  }

 private:
  struct Lane {
    Stream stream;
    std::optional<CudnnHandle> cudnn;
  };

  Execution(std::shared_ptr<const CompiledModel> model, Room room)
      : model_(std::move(model)), room_(std::move(room)) {}
  [[nodiscard]] Result<void> add_lane();
  [[nodiscard]] StepQueue queue_of(std::size_t lane, std::span<const std::uint64_t> buffers) const;
  [[nodiscard]] Result<void> record(std::int64_t batch, const DeviceProgram& program,
                                    const Around& around);

  std::shared_ptr<const CompiledModel> model_;
  Room room_;
  std::vector<Lane> lanes_;
  std::map<std::int64_t, CapturedGraph> graphs_;
};

}  // namespace takt::cuda
