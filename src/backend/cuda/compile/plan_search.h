// SPDX-License-Identifier: Apache-2.0
// cuDNN's plans for the contractions of a program, made on several threads: cuDNN compiles engines for a step
// where it has none that is ready, and that takes a thread of the host far longer than timing them takes the
// device.
// Thread-safe: yes; find_plans() returns after its threads have ended, so nothing of it disturbs what is timed
// afterwards.
// Owns: while it runs, a stream and a handle of cuDNN for each thread but the calling one.
#pragma once

#include "backend/cuda/compile/contraction_forms.h"
#include "backend/cuda/compile/host_threads.h"
#include "backend/cuda/cudnn.h"
#include "core/result.h"

#include <array>
#include <map>
#include <span>
#include <vector>

namespace takt::cuda {

// Each asks cuDNN for less of a step; the next one is only asked for where it refuses more. Plan files number them.
inline constexpr std::array kLesserForms{ContractionForm::whole, ContractionForm::separate_epilogue,
                                         ContractionForm::separate_bias};

// By the form that was asked for; errors are those of cudnn_plans().
using FormPlans = std::map<ContractionForm, Result<CudnnPlans>>;

// Of each step, in their order. Needs a Scope on the calling thread, which uses `cudnn`. What fails for one step
// stands with its plans. `progress` as run_jobs() tells it, of steps. Errors: device_poisoned; out_of_memory and
// internal of a thread's stream or handle, or where the host's memory doesn't suffice. Throws std::system_error where
// the system gives it no thread.
[[nodiscard]] Result<std::vector<FormPlans>> find_plans(const CudnnHandle& cudnn,
                                                        std::span<const Step* const> steps,
                                                        const CudnnSearch& search,
                                                        const JobProgress& progress = {});

// Of the parts of a step that stay for takt where its plans are for less than the whole.
[[nodiscard]] std::vector<Step> parts_without_plan(const Step& step, const FormPlans& plans);

}  // namespace takt::cuda
