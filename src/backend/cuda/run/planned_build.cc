// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/run/planned_build.h"

#include "backend/cuda/compile/model_digest.h"

#include <fmt/format.h>

#include <cstdint>
#include <system_error>
#include <utility>

namespace takt::cuda {
namespace {

// The pieces of a file that fits; otherwise why it doesn't.
struct FoundPlan {
  std::unique_ptr<PieceStore> pieces;
  std::string reason;
};

FoundPlan find_plan(const std::filesystem::path& file, const PlanKey& key) {
  std::error_code failure;
  if (!std::filesystem::exists(file, failure)) {
    return {nullptr, "there is no plan file; takt compile makes it"};
  }
  Result<Plan> plan = read_plan(file);
  if (!plan) return {nullptr, plan.error().message};
  if (const Result<void> fits = check_key(key, plan->key); !fits) {
    return {nullptr, fits.error().message};
  }
  return {std::move(plan->pieces), ""};
}

// A load that finds no plan, or not all that it needs, and may not find it out.
Error nothing_is_tuned(Error error, const ModelOptions& options,
                       const std::filesystem::path& file) {
  if (options.tuning.may_tune || error.kind != ErrorKind::unavailable) return error;
  error.message +=
      fmt::format(" (for precision {}, on a device like this one); nothing is tuned here",
                  to_string(options.precision));
  return error.message.starts_with(file.string()) ? error : std::move(error).within(file.string());
}

// With what another process has put into the file since it was read.
Result<void> save(const std::filesystem::path& file, const PlanKey& key, PieceStore& pieces) {
  const FoundPlan there = find_plan(file, key);
  if (there.pieces) pieces.add_missing(*there.pieces);
  return write_plan(file, key, pieces);
}

}  // namespace

PlanKey device_key(const OpenedDevice& device, const std::string& takt_version) {
  PlanKey key;
  key.takt_version = takt_version;
  key.device_name = device.device().name;
  key.capability = to_string(device.device().capability);
  key.sm_count = device.device().sm_count;
  key.driver_cuda_version = version_text(device.driver->version());
  key.cudnn_version = device.cudnn ? cudnn_version_text(device.cudnn->version()) : "";
  return key;
}

Result<PlanKey> plan_key(const OpenedDevice& device, const std::filesystem::path& onnx,
                         const PlanUse& use) {
  Result<std::string> digest = model_digest(onnx);
  if (!digest) return std::unexpected(std::move(digest).error());
  PlanKey key = device_key(device, use.takt_version);
  key.model_name = use.model_name;
  key.model_sha256 = *std::move(digest);
  return key;
}

Result<PlannedModel> build_with_plan(std::shared_ptr<const OpenedDevice> device,
                                     const std::filesystem::path& onnx, const ModelOptions& options,
                                     const PlanUse& use, const BuildProgress& progress,
                                     const MoreKernels& more) {
  Result<PlanKey> key = plan_key(*device, onnx, use);
  if (!key) return std::unexpected(std::move(key).error());
  PlannedModel planned;
  planned.file = use.file;
  if (planned.file.empty() && !use.cache_dir.empty()) planned.file = plan_path(use.cache_dir, *key);
  const std::filesystem::path& named = planned.file.empty() ? onnx : planned.file;
  FoundPlan found;
  if (!planned.file.empty()) found = find_plan(planned.file, *key);
  if (!found.pieces && !options.tuning.may_tune) {
    if (planned.file.empty()) found.reason = "no plan file is configured; takt compile makes one";
    return std::unexpected(
        nothing_is_tuned({ErrorKind::unavailable, found.reason}, options, named));
  }
  std::error_code ignored;
  if (!found.pieces && std::filesystem::exists(planned.file, ignored))
    planned.remade = found.reason;
  const bool is_new = !found.pieces;
  if (is_new) found.pieces = std::make_unique<PieceStore>();
  std::uint64_t writes = found.pieces->counts().writes;
  auto written_at = std::chrono::steady_clock::now();
  const auto write_now_and_then = [&](std::string_view stage, int done, int total) {
    if (progress) progress(stage, done, total);
    const auto now = std::chrono::steady_clock::now();
    // A file of other conditions stays until there is a whole one in its place.
    const bool keeps = !planned.file.empty() && planned.remade.empty();
    if (!keeps || now - written_at < use.write_every) return;
    written_at = now;
    const std::uint64_t found_out = found.pieces->counts().writes;  // others may go on meanwhile
    if (found_out == writes) return;
    // If not now, it is written at the end, which says why it can't be.
    if (save(planned.file, *key, *found.pieces)) writes = found_out;
  };
  auto model = CompiledModel::build(device, onnx, options, *found.pieces, write_now_and_then);
  if (!model) {
    return std::unexpected(nothing_is_tuned(std::move(model).error(), options, named));
  }
  planned.model = *std::move(model);
  if (more) {
    KernelCache kernels(device->context, *found.pieces, device->nvrtc ? &*device->nvrtc : nullptr);
    if (Result<void> added = more(*planned.model, kernels); !added) {
      return std::unexpected(std::move(added).error());
    }
  }
  const bool differs = found.pieces->counts().writes != writes;
  if (!planned.file.empty() && (is_new || differs)) {
    const Result<void> written = save(planned.file, *key, *found.pieces);
    if (!written) planned.unsaved = written.error().message;
  }
  return planned;
}

}  // namespace takt::cuda
