// SPDX-License-Identifier: Apache-2.0
// An Instance on a GPU: its own stream, memory and CUDA graphs. The images of a small batch are read by the device
// from where they lie, those of a large one and tensors are copied from there. Nothing is allocated on the device
// after it was opened; on the host a batch takes a few short lists.
// Thread-safe: as core/inference.h says of Instance.
// Owns: its execution, staging memory and thread. Private to the cuda backend.
#pragma once

#include "backend/batch_thread.h"
#include "backend/cuda/cuda_model.h"
#include "backend/cuda/kernels/preprocess.h"
#include "backend/cuda/memory.h"
#include "backend/cuda/run/compiled_model.h"
#include "backend/cuda/stream.h"
#include "core/inference.h"
#include "image/resample.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace takt::cuda {

// Images of batches with fewer rows are read over the bus by the kernel that samples them, without a copy before
// it. In larger ones the copy engine brings the images while another instance computes: a kernel keeps
// multiprocessors waiting for the bus (75 % of the device's rate at 64 images of 640 x 640; gpu-models-2026-11-30).
// The limit itself is not measured yet.
inline constexpr std::int64_t kRowsCopiedMin = 8;

class CudaInstance final : public Instance {
 public:
  // Errors: out_of_memory, unavailable (no thread), device_poisoned, internal.
  [[nodiscard]] static Result<std::unique_ptr<Instance>> open(
      std::shared_ptr<const CudaModel> model, int lane);

  [[nodiscard]] Result<void> submit(BatchView batch, BatchCompletion done) override;
  [[nodiscard]] BatchOutcome run(BatchView batch) override;

  // Bytes of the device that an instance of the model takes.
  [[nodiscard]] static std::size_t device_bytes(const CudaModel& model);

 private:
  // Of an input that is fed with images, for the largest batch.
  struct ImageStaging {
    PinnedMemory table;  // ImageDescriptors; the device has a copy
    DeviceMemory device_table;
    PinnedMemory pixels;  // staged rows of images that the device doesn't reach
    std::optional<DeviceMemory> device_pixels;  // where batches may be as large as kRowsCopiedMin
  };

  CudaInstance(std::shared_ptr<const CudaModel> model, Event done)
      : model_(std::move(model)), done_(std::move(done)) {}

  [[nodiscard]] Result<void> prepare();
  [[nodiscard]] Result<void> queue_images(const Execution& execution, std::int64_t batch) const;
  [[nodiscard]] Result<void> queue_outputs(const Execution& execution, std::int64_t batch) const;
  // Throws nothing.
  [[nodiscard]] BatchOutcome run_checked(BatchView batch);
  [[nodiscard]] Result<void> run_in_context(BatchView batch, BatchTimes& times);
  [[nodiscard]] Result<void> queue_batch(BatchView batch);
  [[nodiscard]] Result<void> gather(BatchView batch, std::int64_t rows, std::int64_t program);
  [[nodiscard]] Result<void> gather_tensor(std::size_t input, BatchView batch) const;
  [[nodiscard]] Result<void> gather_images(std::size_t input, BatchView batch, std::int64_t rows,
                                           std::int64_t program);
  [[nodiscard]] Result<void> describe_stack(std::size_t input, const ImageStack& stack,
                                            std::int64_t row, bool copied);
  [[nodiscard]] Result<void> copy_pixels(const ImageInput& image, const ImageStack& stack,
                                         DeviceSpan row, std::span<std::uint64_t> addresses) const;
  [[nodiscard]] Result<void> wait() const;
  void scatter(BatchView batch) const;

  // Constant.
  const std::shared_ptr<const CudaModel> model_;

  // Of whoever runs a batch.
  std::vector<std::optional<ImageStaging>> images_;  // of each input
  std::vector<PinnedMemory> outputs_;                // for the largest batch
  Resampler resampler_;
  Event done_;
  std::optional<Execution> execution_;  // its graphs use what stands before it

  std::unique_ptr<BatchThread> thread_;  // last: ends before what it uses
};

}  // namespace takt::cuda
