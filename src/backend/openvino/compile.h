// SPDX-License-Identifier: Apache-2.0
// From an ONNX file to compiled models: reading, fixing shapes, preprocessing, compiling.
// Thread-safe: yes, over a thread-safe ov::Core. Owns: what it returns.
// Private to backend/openvino.
#pragma once

#include "backend/backend.h"
#include "backend/batch_check.h"

#include <openvino/runtime/compiled_model.hpp>
#include <openvino/runtime/core.hpp>

#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

namespace takt::ov_backend {

// Instances that are tied to CPUs have compilations of their own, without streams: then inference runs
// on the thread that asks for it. A compilation with streams, which others share, hands each run to a
// thread of its own and back, and where the kernel puts that thread is chance; three models on two
// cores reached 0.91 of the CPU bound so and 0.98 without. What it costs is the packed weights once more
// for each instance.
[[nodiscard]] inline bool shares_compilation(const LoadOptions& options) noexcept {
  return options.instance_cpus.empty();
}

// What instances run.
//
// Batch 1 has a compilation of its own with static shapes; larger batches share one with a dynamic
// batch dimension. Measured on the CPU plugin: static is 1 to 3 % faster, and a dynamic model pays
// about 0.5 ms each time that the batch size changes, so the size that a line runs most is spared
// both, and three requests still run as three rows instead of four.
struct CompiledVariants {
  std::shared_ptr<ov::Core> core;            // first: outlives what was compiled with it
  ov::CompiledModel single;                  // one row, or the whole model without a batch
  std::optional<ov::CompiledModel> batched;  // 1..batch_max rows; when batch_max > 1
};

// All compilations of a model. Thread-safe.
class Compilations {
 public:
  explicit Compilations(CompiledVariants first) : all_{std::move(first)} {}

  [[nodiscard]] CompiledVariants first() const;
  void add(CompiledVariants further);
  // Gives back to the system what they, and then the allocator, keep between runs: the next run takes
  // it again. Waits for runs of other instances. 278 MiB became 187 MiB for a detector that had run a
  // batch of eight.
  void release_memory() const;

 private:
  mutable std::mutex mutex_;
  std::vector<CompiledVariants> all_;  // guarded by mutex_; at least one
};

// A model that was read and checked.
class CompilableModel {
 public:
  // Errors: as Backend::load, without the model's name in front, but those of the compiler.
  [[nodiscard]] static Result<CompilableModel> read(std::shared_ptr<ov::Core> core,
                                                    const ModelSource& source,
                                                    const LoadOptions& options);

  [[nodiscard]] const BatchRules& rules() const noexcept { return rules_; }
  [[nodiscard]] std::size_t weights_bytes() const noexcept { return weights_bytes_; }
  // Errors: invalid_input (an operator that OpenVINO can't compile), out_of_memory.
  [[nodiscard]] Result<CompiledVariants> compile() const;

 private:
  CompilableModel() = default;

  std::shared_ptr<ov::Core> core_;
  std::shared_ptr<const ov::Model> single_;
  std::shared_ptr<const ov::Model> batched_;  // when batch_max > 1
  BatchRules rules_;
  std::size_t weights_bytes_ = 0;  // of both
  ov::AnyMap properties_;
};

}  // namespace takt::ov_backend
