// SPDX-License-Identifier: Apache-2.0
#include "app/compile_defaults.h"

#include "backend/cuda/cuda_parameters.h"
#include "repository/repository.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

namespace takt::app {
namespace {

namespace fs = std::filesystem;

// The version that this file is; nothing where it is in no repository, or isn't served from there.
Result<std::optional<repository::ModelVersion>> served_version(const fs::path& onnx) {
  std::error_code failure;
  const fs::path file = fs::weakly_canonical(onnx, failure);
  const fs::path folder = file.parent_path().parent_path();
  if (failure || !folder.has_filename() || !fs::exists(folder / "config.pbtxt", failure)) {
    return std::nullopt;
  }
  Result<repository::ScannedModel> model =
      repository::scan_model(folder.parent_path(), folder.filename().string());
  if (!model) return std::unexpected(std::move(model).error());
  if (!model->status) return std::unexpected(model->status.error());
  for (repository::ScannedVersion& version : model->versions) {
    if (std::to_string(version.version) != file.parent_path().filename().string()) continue;
    if (!version.result) return std::unexpected(version.result.error());
    if (fs::equivalent(version.result->onnx_path, file, failure)) return *std::move(version.result);
  }
  return std::nullopt;
}

// "NAME=1x3x640x640", with 1 for the batch; nothing where a size stays open.
std::optional<std::string> setting_of(const TensorSpec& spec) {
  const bool open = std::ranges::any_of(spec.shape, [](std::int64_t size) { return size < 0; });
  if (open || spec.shape.empty()) return std::nullopt;
  return fmt::format("{}=1x{}", spec.name, fmt::join(spec.shape, "x"));
}

void fill_inputs(const Signature& signature, CompileArguments& arguments) {
  if (signature.batch_max == 0) return;  // the file's own sizes
  for (const TensorSpec& spec : signature.inputs) {
    const bool given = std::ranges::any_of(arguments.inputs, [&](const std::string& setting) {
      return setting.starts_with(spec.name + "=");
    });
    if (given) continue;
    if (std::optional<std::string> setting = setting_of(spec)) {
      arguments.inputs.push_back(*std::move(setting));
    }
  }
}

}  // namespace

Result<void> fill_from_repository(CompileArguments& arguments) {
  Result<std::optional<repository::ModelVersion>> version = served_version(arguments.model);
  if (!version) return std::unexpected(std::move(version).error());
  if (!*version) return {};
  LoadOptions load;
  load.device = "cuda:0";  // whichever: read_parameters() wants one
  load.batch_max = (*version)->signature.batch_max;
  load.parameters = (*version)->config.parameters;
  const Result<cuda::CudaParameters> served = cuda::read_parameters(load);
  if (!served) {
    return std::unexpected(Error(served.error()).within("config.pbtxt of " + (*version)->name));
  }
  if (arguments.precision.empty()) arguments.precision = cuda::to_string(served->precision);
  if (arguments.effort.empty()) arguments.effort = cuda::to_string(served->effort);
  if (arguments.workspace.empty()) {
    arguments.workspace = fmt::format("{}MiB", served->workspace_bytes_max >> 20);
  }
  // Without a batch dimension any size is the file's own.
  if (arguments.batches.empty() && served->batches.back() > 0) arguments.batches = served->batches;
  fill_inputs((*version)->signature, arguments);
  return {};
}

}  // namespace takt::app
