// SPDX-License-Identifier: Apache-2.0
// A model with copies and preprocessing in one CUDA graph, from slots of the host to pinned memory: what the
// least code would do. It is the bare time beside the engine's, and how a file whose outputs have no row for
// each image (a detector with NonMaxSuppression) takes a batch of images.
// Thread-safe: WholeModel yes; a WholeGraph is one thread's.
// Owns: code, memory and graph; not the slots of its feed.
#pragma once

#include "backend/cuda/host_memory.h"
#include "backend/cuda/kernels/preprocess.h"
#include "backend/cuda/memory.h"
#include "backend/cuda/module.h"
#include "backend/cuda/run/compiled_model.h"
#include "gpu_feed.h"
#include "gpu_measure.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

namespace takt::cuda {

struct WholeModel {
  std::shared_ptr<const CompiledModel> compiled;
  std::int64_t program = 0;  // its only batch size, as the compiled model knows it
  std::int64_t rows = 1;
  // Of images.
  std::optional<ImageInput> image;
  std::optional<Kernel> kernel;
  LaunchShape shape;
};

[[nodiscard]] WholeModel build_whole(const std::shared_ptr<const OpenedDevice>& device,
                                     const ServedFile& file, const LoadSettings& settings,
                                     std::int64_t rows, InputKind kind, KeptPieces& pieces);

class WholeGraph {
 public:
  // `feed` lies in memory that `pinned` has, and both outlive it, as the model does.
  WholeGraph(const WholeModel& model, const Feed& feed, const PinnedInputs& pinned);

  // What an instance does for each batch: tells the device where its images lie.
  void describe_images() const;
  // Launches and waits; needs a Scope.
  void run() const;
  [[nodiscard]] const Execution& execution() const { return *execution_; }

 private:
  [[nodiscard]] Result<void> queue_inputs(const Execution& execution) const;
  [[nodiscard]] Result<void> queue_images(const Execution& execution) const;
  [[nodiscard]] Result<void> queue_outputs(const Execution& execution) const;

  const WholeModel& model_;
  const Feed& feed_;
  std::vector<std::uint64_t> addresses_;  // of each image, where the device reads it
  std::optional<DeviceMemory> pixels_;  // of all, where they are copied, as an instance copies them
  std::optional<PinnedMemory> table_;
  std::optional<DeviceMemory> device_table_;
  std::vector<PinnedMemory> outputs_;
  std::optional<Execution> execution_;
};

// One model with as many graphs as run at once, and what they read.
struct WholeLanes {
  std::unique_ptr<WholeModel> model;
  std::shared_ptr<SlotPool> pool;
  PinnedInputs pinned;
  std::vector<Feed> feeds;
  std::vector<std::unique_ptr<WholeGraph>> graphs;
};
[[nodiscard]] std::unique_ptr<WholeLanes> open_whole(WholeModel model, const ServedFile& file,
                                                     InputKind kind, int count);

}  // namespace takt::cuda
