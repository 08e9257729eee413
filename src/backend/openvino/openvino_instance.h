// SPDX-License-Identifier: Apache-2.0
// An Instance on OpenVINO: gathers a batch, runs it, scatters its outputs, on its own thread.
// Thread-safe: as core/inference.h says of Instance. Owns: its infer requests, staging memory and
// thread. Private to backend/openvino.
#pragma once

#include "backend/batch_check.h"
#include "backend/batch_thread.h"
#include "backend/openvino/compile.h"
#include "image/resample.h"

#include <openvino/runtime/infer_request.hpp>

#include <memory>
#include <optional>
#include <vector>

namespace takt::ov_backend {

class OpenVinoInstance final : public Instance {
 public:
  // Runs `variants`, which are of `all`. Errors: unavailable, out_of_memory, internal.
  [[nodiscard]] static Result<std::unique_ptr<Instance>> open(
      CompiledVariants variants, std::shared_ptr<const Compilations> all,
      std::shared_ptr<const BatchRules> rules, std::span<const int> cpus, int lane);

  [[nodiscard]] Result<void> submit(BatchView batch, BatchCompletion done) override;
  [[nodiscard]] BatchOutcome run(BatchView batch) override;

 private:
  OpenVinoInstance(CompiledVariants variants, std::shared_ptr<const Compilations> all,
                   std::shared_ptr<const BatchRules> rules);

  BatchOutcome run_checked(BatchView batch);
  Result<void> gather(ov::InferRequest& request, BatchView batch, std::int64_t rows);
  Result<ov::Tensor> gather_images(std::size_t input, BatchView batch, std::int64_t rows);
  Result<ov::Tensor> gather_tensors(std::size_t input, BatchView batch, std::int64_t rows);
  std::span<std::uint8_t> staging(std::size_t input, std::size_t bytes);
  void free_caches();

  // Constant.
  const std::shared_ptr<const BatchRules> rules_;  // shared by the model's instances
  const CompiledVariants variants_;
  const std::shared_ptr<const Compilations> all_;  // of the model

  // Of whoever runs a batch.
  ov::InferRequest single_;
  std::optional<ov::InferRequest> batched_;
  std::vector<ov::Tensor> staging_;  // one an input, u8, grows to the largest batch and stays
  Resampler resampler_;

  std::unique_ptr<BatchThread> thread_;  // last: ends before what it uses
};

}  // namespace takt::ov_backend
