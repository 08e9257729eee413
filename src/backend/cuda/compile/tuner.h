// SPDX-License-Identifier: Apache-2.0
// Finds the fastest way to compute each contraction on a device, by running them.
// Thread-safe: no; it belongs to one load or one compilation. Needs a Scope of its context.
// Owns: memory of the device while it tries out.
#pragma once

#include "backend/cuda/compile/contraction_forms.h"
#include "backend/cuda/compile/kernel_cache.h"
#include "backend/cuda/compile/plan_file.h"
#include "backend/cuda/compile/plan_search.h"
#include "backend/cuda/compile/step_runner.h"
#include "backend/cuda/compile/tuning.h"
#include "backend/cuda/cudnn.h"
#include "backend/cuda/stream.h"
#include "core/result.h"
#include "core/time.h"

#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace takt::cuda {

class Probe;

class Tuner {
 public:
  struct Counts {
    int tuned = 0;
    int reused = 0;                     // from the pieces, or from an equal step
    int refused_by_check = 0;           // ways that computed something else than the reference
    std::vector<std::string> refusals;  // the first of them, for people
    int failed = 0;       // ways that couldn't be compiled, run, recorded or given their workspace
    Duration planning{};  // of the host: making cuDNN's plans ahead
    Duration trying{};    // of the host: comparing and timing ways
  };

  using Progress = std::function<void(std::string_view what, int done, int total)>;

  // All of them outlive it. Without `cudnn` takt's own kernels do everything. `cudnn` works on `stream`.
  Tuner(KernelCache& cache, PieceStore& pieces, const Stream& stream, const CudnnHandle* cudnn,
        TuningOptions options);

  // Makes cuDNN's plans and takt's kernels for the first of `steps`, where it must be tuned and has none yet, and for
  // those of the others that come next and must be too, on several threads; equal steps get theirs once. runners()
  // finds them, and makes them itself for a step that was not announced here. A plan that can't be made only drops
  // out. `progress` may be empty. Errors: those of find_plans().
  [[nodiscard]] Result<void> plan_ahead(std::span<const Step> steps, const Progress& progress);

  // What computes the step, part after part. Its result was compared with that of takt's own kernel, which sums
  // in FP32. Steps of other kinds than contraction have one way each. What the pieces have no room for is found
  // out again. Errors: unavailable (the pieces don't know the step and nothing may be tuned), invalid_input (takt
  // has no kernel for it), out_of_memory, device_poisoned, internal.
  [[nodiscard]] Result<std::vector<StepRunner>> runners(const Step& step);

  [[nodiscard]] const Counts& counts() const noexcept { return counts_; }

 private:
  struct Candidate;
  struct Choice {
    ContractionForm form = ContractionForm::whole;
    bool by_cudnn = false;
    std::optional<ProductTiling> tiling = std::nullopt;  // of takt's kernel for tensor cores
  };

  [[nodiscard]] Result<std::vector<StepRunner>> by_kernels(
      const Step& step, const std::optional<ProductTiling>& tiling = std::nullopt);
  [[nodiscard]] ComputeCapability capability() const;
  [[nodiscard]] std::vector<ProductTiling> tilings(const Step& step) const;
  // Of its piece, as this tuner finds it out.
  [[nodiscard]] std::string key_of(const Step& step) const;
  [[nodiscard]] bool must_be_tuned(const Step& step) const;
  [[nodiscard]] CudnnSearch search() const;
  // The ways that the pieces know; nothing where none of them can be taken.
  [[nodiscard]] Result<std::optional<std::vector<StepRunner>>> known_way(const Step& step);
  [[nodiscard]] std::optional<Choice> known_choice(const std::string& key) const;
  [[nodiscard]] Result<std::vector<StepRunner>> restore(const Step& step, const std::string& key,
                                                        const Choice& choice);
  // `planned` has plans for some of the forms, or none.
  [[nodiscard]] Result<std::vector<Candidate>> candidates(const Step& step, FormPlans planned);
  [[nodiscard]] Result<std::vector<StepRunner>> with_plan(const Step& step, ContractionForm form,
                                                          CudnnPlan plan);
  // Leaves out what can't be compiled.
  [[nodiscard]] Result<void> add_tilings(const Step& step, std::vector<Candidate>& found);
  // Leaves out what cuDNN can't make or takt can't complete.
  [[nodiscard]] Result<void> add_plans(const Step& step, ContractionForm form, FormPlans& planned,
                                       std::vector<Candidate>& found);
  [[nodiscard]] Result<std::vector<StepRunner>> tune(const Step& step, const std::string& key);
  [[nodiscard]] Result<std::vector<const Candidate*>> right_ones(
      Probe& probe, const std::vector<Candidate>& ways);
  [[nodiscard]] Result<const Candidate*> fastest(Probe& probe,
                                                 const std::vector<const Candidate*>& ways);
  [[nodiscard]] Result<void> keep(const Step& step, const std::string& key, const Candidate& best);

  KernelCache& cache_;
  PieceStore& pieces_;
  const Stream& stream_;
  const CudnnHandle* cudnn_;
  TuningOptions options_;
  Counts counts_;
  std::map<std::string, CudnnPlan> plans_;    // in use, by key: equal steps share one
  std::map<std::string, FormPlans> planned_;  // ahead, by key, until their step is tuned
};

}  // namespace takt::cuda
