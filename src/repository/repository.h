// SPDX-License-Identifier: Apache-2.0
// The models on disk: ROOT/NAME/[config.pbtxt] and ROOT/NAME/VERSION/model.onnx, read and checked.
// Thread-safe: pure functions and plain values.
// Owns: plain values; a change on disk is seen by the next scan.
#pragma once

#include "core/inference.h"
#include "core/result.h"
#include "repository/limits.h"
#include "repository/model_config.h"
#include "repository/onnx_model.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace takt::repository {

// A version that config.pbtxt and ONNX file agree on.
struct ModelVersion {
  std::string name;
  std::int64_t version = 0;
  std::filesystem::path onnx_path;
  std::filesystem::path
      reference_path;  // NAME/VERSION/reference, for read_reference; may not exist
  ModelConfig config;  // completed from the ONNX file
  OnnxModel onnx;
  // The order is the ONNX file's. Shapes are config.pbtxt's where that states them, without the
  // batch dimension when batch_max > 0.
  Signature signature;
};

// What a model's folder says without its ONNX files, which can bring down whoever reads them.
struct ListedModel {
  std::string name;
  Result<void> status;                   // the model as a whole: name, config.pbtxt, policy
  ModelConfig config;                    // as config.pbtxt states it, with the name
  std::vector<std::int64_t> versions;    // served by the version policy, rising
  std::vector<std::int64_t> not_served;  // on disk, but not chosen by the version policy
  std::vector<std::string> notes;        // what was passed over, and why
};

struct ScannedVersion {
  std::int64_t version = 0;
  Result<ModelVersion> result;
};

struct ScannedModel {
  std::string name;
  Result<void> status;                   // the model as a whole: name, config.pbtxt, policy
  std::vector<ScannedVersion> versions;  // served by the version policy, rising
  std::vector<std::int64_t> not_served;  // on disk, but not chosen by the version policy
  std::vector<std::string> notes;        // what was passed over, and why
};

struct ScanOptions {
  Limits limits;
  // For a model with a dynamic batch dimension and no config.pbtxt that states max_batch_size.
  int default_max_batch_size = 8;
};

// Every model of the folder, sorted by name; a broken model or version carries its own error and
// hides no other. Errors: invalid_input (no such folder, not a folder, too many models).
[[nodiscard]] Result<std::vector<ScannedModel>> scan(const std::filesystem::path& root,
                                                     const ScanOptions& options = {});

// One model by name, without looking at the others. Errors: invalid_input (a bad name, or no such
// model, with a suggestion).
[[nodiscard]] Result<ScannedModel> scan_model(const std::filesystem::path& root,
                                              std::string_view name,
                                              const ScanOptions& options = {});

// As scan() and scan_model(), without reading what the versions hold.
[[nodiscard]] Result<std::vector<ListedModel>> list(const std::filesystem::path& root,
                                                    const ScanOptions& options = {});
[[nodiscard]] Result<ListedModel> list_model(const std::filesystem::path& root,
                                             std::string_view name,
                                             const ScanOptions& options = {});

// The stated version, or the highest one that is served. The error of the model or version is
// passed on; a version that is missing or not served is invalid_input and says which ones are.
[[nodiscard]] Result<ModelVersion> find_version(std::span<const ScannedModel> models,
                                                std::string_view name,
                                                std::optional<std::int64_t> version = {});

// Fills what `config` leaves open from the ONNX file and checks the rest against it. `where` names
// config.pbtxt in messages. Errors: invalid_input, which names the field and what each side says.
[[nodiscard]] Result<ModelConfig> complete_config(ModelConfig config, const OnnxModel& onnx,
                                                  std::string_view where,
                                                  const ScanOptions& options = {});

// The same where somebody else has read the ONNX file: `signature` is what came of it.
[[nodiscard]] ModelConfig complete_config(ModelConfig config, const Signature& signature);

// 1 to 128 characters, printable, no '/', no '\', not starting with '.'. Errors: invalid_input.
[[nodiscard]] Result<void> check_model_name(std::string_view name);

}  // namespace takt::repository
