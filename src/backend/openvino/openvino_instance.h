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

  // A compiled variant's request and the tensors that it keeps, because binding one anew costs more than
  // copying a few bytes.
  struct Runner {
    ov::InferRequest request;
    struct Input {
      ov::Tensor own;  // grows to the largest batch and stays
      bool bound = false;
    };
    std::vector<Input> inputs;
    std::vector<ov::Tensor> outputs;  // empty: asked for after each run
  };

  BatchOutcome run_checked(BatchView batch);
  void keep_outputs(Runner& runner) const;
  Result<void> gather(Runner& runner, BatchView batch, std::int64_t rows);
  Result<ov::Tensor> gather_images(std::size_t input, BatchView batch, std::int64_t rows);
  Result<void> gather_tensors(Runner& runner, std::size_t input, BatchView batch,
                              std::int64_t rows) const;
  std::span<std::uint8_t> staging(std::size_t input, std::size_t bytes);
  void free_caches();

  // Constant.
  const std::shared_ptr<const BatchRules> rules_;  // shared by the model's instances
  const CompiledVariants variants_;
  const std::shared_ptr<const Compilations> all_;  // of the model

  // Of whoever runs a batch.
  Runner single_;
  std::optional<Runner> batched_;
  std::vector<ov::Tensor> staging_;  // images of an input, u8, grows to the largest batch and stays
  Resampler resampler_;

  std::unique_ptr<BatchThread> thread_;  // last: ends before what it uses
};

}  // namespace takt::ov_backend
