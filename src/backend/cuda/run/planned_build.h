// SPDX-License-Identifier: Apache-2.0
// Builds a model with the plan file that belongs to it: what the file knows is not found out again, and what was
// found out is kept.
// Thread-safe: yes; calls with the same file keep what each of them finds out, but for what two of them write in
// the same moment.
// Owns: nothing.
#pragma once

#include "backend/cuda/compile/kernel_cache.h"
#include "backend/cuda/compile/plan_file.h"
#include "backend/cuda/run/compiled_model.h"
#include "backend/cuda/run/opened_device.h"
#include "core/result.h"
#include "core/time.h"

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>

namespace takt::cuda {

struct PlanUse {
  std::filesystem::path file;       // empty: in `cache_dir`, as plan_path() names it
  std::filesystem::path cache_dir;  // empty too: no file is read or written
  std::string model_name;           // for the file's name and for people
  std::string takt_version;
  // While it is found out, what is known is written after each of these spans: minutes of tuning don't end with the
  // process that is stopped amid them.
  Duration write_every = std::chrono::seconds(10);
};

struct PlannedModel {
  std::shared_ptr<const CompiledModel> model;
  std::filesystem::path file;  // empty: none
  std::string
      unsaved;  // why what was found out couldn't be written; empty: it was, or there was nothing
  std::string
      remade;  // why the file that was there couldn't be used; empty: it could, or there was none
};

// What plans on this device depend on, whatever the model.
[[nodiscard]] PlanKey device_key(const OpenedDevice& device, const std::string& takt_version);
// What the plan of this model on this device depends on. Errors: those of model_digest().
[[nodiscard]] Result<PlanKey> plan_key(const OpenedDevice& device,
                                       const std::filesystem::path& onnx, const PlanUse& use);

// Asks for kernels that belong to the model too, so that the plan keeps them.
using MoreKernels = std::function<Result<void>(const CompiledModel& model, KernelCache& kernels)>;

// Errors: those of CompiledModel::build, plan_key and `more`; unavailable where nothing may be tuned and no plan
// fits, or it lacks something: the message says why, and how to make it.
[[nodiscard]] Result<PlannedModel> build_with_plan(std::shared_ptr<const OpenedDevice> device,
                                                   const std::filesystem::path& onnx,
                                                   const ModelOptions& options, const PlanUse& use,
                                                   const BuildProgress& progress,
                                                   const MoreKernels& more = {});

}  // namespace takt::cuda
