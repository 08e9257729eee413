// SPDX-License-Identifier: Apache-2.0
// The models of a server as its clients see and control them.
// Thread-safe: every member from any thread.
// Owns: nothing; a card stays valid after its model has gone.
#pragma once

#include "engine/inference_client.h"
#include "engine/model_statistics.h"
#include "repository/model_config.h"
#include "server/api_error.h"

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace takt::server {

// A version that serves.
struct ModelCard {
  ModelInfo info;
  repository::ModelConfig config;                          // completed from the model file
  std::string backend;                                     // that runs it: "openvino"
  std::vector<std::string> versions;                       // of this model that serve, rising
  std::map<std::string, std::vector<std::string>> labels;  // of the classes, by output
};
using ModelCardPtr = std::shared_ptr<const ModelCard>;

// A line of the repository's index.
struct IndexEntry {
  std::string name;
  std::string version;  // empty where none is known
  std::string state;    // READY, UNAVAILABLE, LOADING, UNLOADING; empty: not tried
  std::string reason;   // why it isn't ready
};

// What a load may state in place of what the repository has.
struct LoadOverrides {
  std::string config_json;                   // a model configuration; empty: the repository's
  std::map<std::string, std::string> files;  // "file:1/model.onnx" -> content
};

class ModelCatalog {
 public:
  virtual ~ModelCatalog() = default;

  // The stated version, or the newest that serves. Errors: not_found, with a suggestion.
  [[nodiscard]] virtual ApiResult<ModelCardPtr> find(std::string_view model,
                                                     std::string_view version) const = 0;
  // All that serve, by name and rising version.
  [[nodiscard]] virtual std::vector<ModelCardPtr> serving() const = 0;
  // True once everything that was configured serves.
  [[nodiscard]] virtual bool ready() const = 0;
  // Empty: the model has gone.
  [[nodiscard]] virtual std::optional<engine::ModelStatistics> statistics(ModelId model) const = 0;

  // These take a while: not on a network thread.
  [[nodiscard]] virtual std::vector<IndexEntry> index(bool ready_only) const = 0;
  // Loads the model's versions, in place of those that serve. Errors: invalid_argument, not_found,
  // unavailable (control is off, or a line needs the model as it is), those of loading.
  [[nodiscard]] virtual ApiResult<void> load(std::string_view model,
                                             const LoadOverrides& overrides) = 0;
  // Answers what waits first. Errors: not_found, unavailable as above.
  [[nodiscard]] virtual ApiResult<void> unload(std::string_view model) = 0;
};

}  // namespace takt::server
