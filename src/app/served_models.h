// SPDX-License-Identifier: Apache-2.0
// The models of a server: those of the lines' tasks, which stay, and those that clients load and
// unload while it runs.
// Thread-safe: every member from any thread; loads and unloads wait for each other.
// Owns: the cards, and the files that clients sent with a load, while their model serves. Engine and
// supervisor own what was loaded.
#pragma once

#include "app/model_loading.h"
#include "app/temporary_folder.h"
#include "config/config.h"
#include "repository/repository.h"
#include "server/model_catalog.h"

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace takt::app {

struct ServedModelsOptions {
  bool control = true;  // clients may load and unload
  Isolation isolation = Isolation::process;
  std::vector<std::string> backends{"openvino"};  // as a task's, where config.pbtxt names none
  std::size_t models_max = 1024;                  // known at a time, serving or not
  std::size_t override_bytes_max = std::size_t{256} << 20;  // of the files of one load
  Duration drain_max = std::chrono::seconds(10);            // for what waits when a model goes
  // What takes time, and warnings; called on the thread that loads.
  std::function<void(const std::string&)> report = [](const std::string& /*line*/) {};
};

class ServedModels final : public server::ModelCatalog {
 public:
  // `loaded` serve already, for tasks of lines. What `places` names outlives it.
  ServedModels(const config::Config& config, ModelPlaces places,
               std::span<const LoadedModel> loaded, ServedModelsOptions options);

  // Loads what is configured besides, whatever `control` says; ready() is true once all of it
  // serves. Errors: as load(), the first one's; the others are loaded all the same.
  [[nodiscard]] server::ApiResult<void> load_configured(const std::vector<std::string>& models);

  [[nodiscard]] server::ApiResult<server::ModelCardPtr> find(
      std::string_view model, std::string_view version) const override;
  [[nodiscard]] std::vector<server::ModelCardPtr> serving() const override;
  [[nodiscard]] bool ready() const override { return ready_; }
  [[nodiscard]] std::optional<engine::ModelStatistics> statistics(ModelId model) const override {
    return places_.engine.statistics(model);
  }

  // What it says of models that nobody has loaded comes from their folders' names and config.pbtxt:
  // no ONNX file is read.
  [[nodiscard]] std::vector<server::IndexEntry> index(bool ready_only) const override;
  // A model that serves goes on as it is when the request or the model's configuration is wrong;
  // when only loading shows what is wrong, it is gone.
  [[nodiscard]] server::ApiResult<void> load(std::string_view model,
                                             const server::LoadOverrides& overrides) override;
  [[nodiscard]] server::ApiResult<void> unload(std::string_view model) override;

 private:
  // One that serves, or that somebody tried to load.
  struct Model {
    const char* state = "";  // as server::IndexEntry
    std::string reason;
    std::vector<std::int64_t> versions;  // that the state is about
    std::map<std::int64_t, server::ModelCardPtr> cards;
    std::string task;                         // of a line, which needs it; empty: none
    std::unique_ptr<TemporaryFolder> folder;  // where a worker that starts again reads it
  };
  // What is to be loaded.
  struct Source {
    std::filesystem::path repository;
    std::unique_ptr<TemporaryFolder> folder;  // it, where the request says what it holds
    std::vector<std::int64_t> versions;
    std::vector<TaskSpec> tasks;  // that would run them, one each
  };

  // With control_mutex_ held:
  [[nodiscard]] server::ApiResult<void> check_change(const std::string& name) const;
  [[nodiscard]] server::ApiResult<void> load_model(const std::string& name,
                                                   const server::LoadOverrides& overrides);
  [[nodiscard]] server::ApiResult<void> unload_model(const std::string& name);
  [[nodiscard]] bool make_room(const std::string& name);
  [[nodiscard]] Result<Source> source_of(const std::string& name,
                                         const server::LoadOverrides& overrides) const;
  [[nodiscard]] Result<TaskSpec> task_of(const repository::ModelConfig& config) const;
  [[nodiscard]] Result<std::vector<LoadedModel>> load_versions(const Source& source) const;
  void take_out(const std::string& name) const;
  void begin(const std::string& name, const char* state, std::vector<std::int64_t> versions);
  void publish(const std::string& name, std::span<const LoadedModel> loaded,
               std::unique_ptr<TemporaryFolder> folder);
  void give_up(const std::string& name, std::string reason);

  [[nodiscard]] std::map<std::int64_t, server::ModelCardPtr> make_cards(
      std::span<const LoadedModel> loaded) const;
  void note_ready();  // with mutex_ held

  const config::Config config_;
  const ModelPlaces places_;
  const ServedModelsOptions options_;

  std::mutex control_mutex_;  // held while a model comes or goes; before mutex_

  mutable std::shared_mutex mutex_;
  // Guarded by mutex_:
  std::map<std::string, Model, std::less<>> models_;
  std::optional<std::vector<std::string>> configured_;

  std::atomic<bool> ready_{false};
};

}  // namespace takt::app
