// SPDX-License-Identifier: Apache-2.0
#include "app/served_models.h"

#include "app/model_overrides.h"
#include "backend/cpus.h"
#include "core/suggest.h"
#include "server/client_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <iterator>
#include <system_error>
#include <utility>

namespace takt::app {
namespace {

namespace fs = std::filesystem;
using repository::ListedModel;
using server::ApiCode;
using server::ApiResult;
using server::IndexEntry;
using server::ModelCardPtr;

constexpr const char* kReady = "READY";
constexpr const char* kLoading = "LOADING";
constexpr const char* kUnloading = "UNLOADING";
constexpr const char* kUnavailable = "UNAVAILABLE";

constexpr int kInstancesMax = 64;  // as a task's

std::optional<std::int64_t> parse_version(std::string_view text) {
  std::int64_t version = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), version);
  if (error != std::errc() || end != text.data() + text.size() || version < 1) return std::nullopt;
  return version;
}

server::ApiError for_clients(Error error, const fs::path& repository) {
  error.message = server::without_paths(std::move(error.message), std::array{repository});
  return server::to_api_error(std::move(error));
}

// The words begin as Triton's do: its clients look for them.
ApiResult<void> answer(const char* what, std::string_view name, ApiResult<void> outcome) {
  if (!outcome && repository::check_model_name(name)) {
    outcome.error().message =
        fmt::format("failed to {} '{}', {}", what, name, outcome.error().message);
  }
  return outcome;
}

// load_models() names the task, which is made up here.
Error without_task(Error error, const std::string& name) {
  const std::string place = "tasks." + name + ": ";
  if (error.message.starts_with(place)) error.message.erase(0, place.size());
  return error;
}

}  // namespace

ServedModels::ServedModels(const config::Config& config, ModelPlaces places,
                           std::span<const LoadedModel> loaded, ServedModelsOptions options)
    : config_(config), places_(std::move(places)), options_(std::move(options)) {
  std::map<std::string, std::vector<LoadedModel>> by_name;
  for (const LoadedModel& model : loaded) by_name[model.config.name].push_back(model);
  for (const auto& [name, versions] : by_name) {
    models_[name].task = versions.front().task;
    publish(name, versions, nullptr);
  }
}

// What clients ask --------------------------------------------------------------------------------

ApiResult<ModelCardPtr> ServedModels::find(std::string_view model, std::string_view version) const {
  const auto unknown = [](const std::string& what) {
    return server::refuse(ApiCode::not_found, "Request for unknown model: " + what);
  };
  if (const Result<void> name = repository::check_model_name(model); !name) {
    return unknown(name.error().message);
  }
  const std::optional<std::int64_t> wanted = parse_version(version);
  if (!wanted && !version.empty()) {
    return server::refuse(ApiCode::invalid_argument,
                          fmt::format("model '{}': a version is a number from 1", model));
  }
  const std::shared_lock lock(mutex_);
  const auto found = models_.find(model);
  if (found == models_.end()) {
    std::vector<std::string> names;
    names.reserve(models_.size());
    for (const auto& [name, known] : models_) names.push_back(name);
    return unknown(fmt::format("'{}' is not found{}", model, suggestion(model, names)));
  }
  const auto& cards = found->second.cards;
  if (cards.empty()) return unknown(fmt::format("'{}' has no available versions", model));
  const auto card = wanted ? cards.find(*wanted) : std::prev(cards.end());
  if (card == cards.end()) {
    return unknown(fmt::format("'{}' version {} is not found", model, *wanted));
  }
  return card->second;
}

std::vector<ModelCardPtr> ServedModels::serving() const {
  const std::shared_lock lock(mutex_);
  std::vector<ModelCardPtr> all;
  for (const auto& [name, model] : models_) {
    for (const auto& [version, card] : model.cards) all.push_back(card);
  }
  return all;
}

std::vector<IndexEntry> ServedModels::index(bool ready_only) const {
  std::map<std::pair<std::string, std::int64_t>, IndexEntry> entries;
  const auto enter = [&entries](const std::string& name, std::int64_t version, const char* state,
                                const std::string& reason) {
    const std::string word = version > 0 ? std::to_string(version) : "";
    entries.try_emplace({name, version}, IndexEntry{name, word, state, reason});
  };
  {
    const std::shared_lock lock(mutex_);
    for (const auto& [name, model] : models_) {
      for (const std::int64_t version : model.versions) {
        enter(name, version, model.state, model.reason);
      }
      if (model.versions.empty()) enter(name, 0, model.state, model.reason);
    }
  }
  const fs::path& root = config_.models.repository;
  std::vector<ListedModel> listed;
  if (!ready_only) listed = repository::list(root).value_or(std::move(listed));
  for (const ListedModel& model : listed) {
    const auto first = entries.lower_bound({model.name, 0});
    const bool known = first != entries.end() && first->first.first == model.name;
    for (const std::int64_t version : model.versions) enter(model.name, version, "", "");
    if (known || model.status) continue;
    enter(model.name, 0, kUnavailable, for_clients(model.status.error(), root).message);
  }
  std::vector<IndexEntry> all;
  for (auto& [place, entry] : entries) {
    if (!ready_only || entry.state == kReady) all.push_back(std::move(entry));
  }
  return all;
}

// Loading and unloading ---------------------------------------------------------------------------

ApiResult<void> ServedModels::load_configured(const std::vector<std::string>& models) {
  const std::scoped_lock control(control_mutex_);
  ApiResult<void> outcome;
  for (const std::string& name : models) {
    if (find(name, "")) continue;  // a line's
    ApiResult<void> loaded = answer("load", name, load_model(name, {}));
    if (outcome) outcome = std::move(loaded);
  }
  const std::scoped_lock lock(mutex_);
  configured_ = models;
  note_ready();
  return outcome;
}

ApiResult<void> ServedModels::load(std::string_view model, const server::LoadOverrides& overrides) {
  const std::scoped_lock control(control_mutex_);
  const std::string name(model);
  ApiResult<void> allowed = check_change(name);
  return answer("load", name, allowed ? load_model(name, overrides) : std::move(allowed));
}

ApiResult<void> ServedModels::unload(std::string_view model) {
  const std::scoped_lock control(control_mutex_);
  const std::string name(model);
  ApiResult<void> allowed = check_change(name);
  return answer("unload", name, allowed ? unload_model(name) : std::move(allowed));
}

ApiResult<void> ServedModels::check_change(const std::string& name) const {
  if (!options_.control) {
    return server::refuse(ApiCode::unavailable, "clients may not load and unload models here");
  }
  const std::shared_lock lock(mutex_);
  const auto known = models_.find(name);
  if (known == models_.end() || known->second.task.empty()) return {};
  return server::refuse(ApiCode::permission_denied,
                        fmt::format("task '{}' of a line needs it as it is; put a copy into the "
                                    "repository under another name",
                                    known->second.task));
}

ApiResult<void> ServedModels::load_model(const std::string& name,
                                         const server::LoadOverrides& overrides) {
  if (Result<void> checked = repository::check_model_name(name); !checked) {
    return std::unexpected(server::to_api_error(std::move(checked).error()));
  }
  std::error_code failure;
  const bool there = fs::is_directory(config_.models.repository / name, failure);
  if (!there && overrides.files.empty()) {
    return server::refuse(ApiCode::not_found, "failed to poll from model repository");
  }
  Result<Source> source = source_of(name, overrides);
  if (!source) {
    server::ApiError error = for_clients(std::move(source).error(), config_.models.repository);
    if (there && !find(name, "")) give_up(name, error.message);
    return std::unexpected(std::move(error));
  }
  if (!make_room(name)) {
    return server::refuse(ApiCode::resource_exhausted,
                          fmt::format("{} models serve already; unload one", options_.models_max));
  }
  begin(name, kLoading, source->versions);
  take_out(name);
  const Result<std::vector<LoadedModel>> loaded = load_versions(*source);
  if (loaded) {
    publish(name, *loaded, std::move(source->folder));
    return {};
  }
  take_out(name);  // the versions before the one that failed
  server::ApiError error = for_clients(without_task(loaded.error(), name), source->repository);
  give_up(name, error.message);
  return std::unexpected(std::move(error));
}

ApiResult<void> ServedModels::unload_model(const std::string& name) {
  std::vector<std::int64_t> versions;
  {
    const std::shared_lock lock(mutex_);
    const auto known = models_.find(name);
    if (known == models_.end()) return server::refuse(ApiCode::not_found, "it is not loaded");
    versions = known->second.versions;
  }
  begin(name, kUnloading, std::move(versions));
  take_out(name);
  give_up(name, "unloaded");
  return {};
}

Result<ServedModels::Source> ServedModels::source_of(const std::string& name,
                                                     const server::LoadOverrides& overrides) const {
  Source source;
  source.repository = config_.models.repository;
  if (!overrides.config_json.empty() || !overrides.files.empty()) {
    Result<TemporaryFolder> folder =
        make_override(config_.models.repository, name, overrides, options_.override_bytes_max);
    if (!folder) return std::unexpected(std::move(folder).error());
    source.folder = std::make_unique<TemporaryFolder>(std::move(*folder));
    source.repository = source.folder->path();
  }
  Result<ListedModel> listed = repository::list_model(source.repository, name);
  if (!listed) return std::unexpected(std::move(listed).error());
  if (!listed->status) return std::unexpected(std::move(listed->status).error());
  Result<TaskSpec> task = task_of(listed->config);
  if (!task) return std::unexpected(std::move(task).error());
  for (const std::int64_t version : listed->versions) {
    task->version = version;
    source.tasks.push_back(*task);
  }
  source.versions = std::move(listed->versions);
  return source;
}

// That would run the model, if it were a line's.
Result<TaskSpec> ServedModels::task_of(const repository::ModelConfig& config) const {
  TaskSpec task;
  task.name = config.name;
  task.model = config.name;
  task.isolation = options_.isolation;
  task.backends = options_.backends;
  if (!config.backend.empty()) task.backends = {config.backend};
  for (const repository::InstanceGroup& group : config.instance_groups) {
    task.instances += group.count;
  }
  if (task.instances <= kInstancesMax) return task;
  return fail(ErrorKind::invalid_input,
              fmt::format("instance_group: {} instances; at most {} are allowed", task.instances,
                          kInstancesMax));
}

Result<std::vector<LoadedModel>> ServedModels::load_versions(const Source& source) const {
  config::Config config = config_;
  config.models.repository = source.repository;
  config.lines.clear();
  config.tasks = source.tasks;
  // As at the start: what is loaded may use the lanes' CPUs, unlike the thread that asks for it.
  if (Result<void> free = use_cpus(::pthread_self(), places_.cpus); !free) {
    return std::unexpected(std::move(free).error());
  }
  ModelPlaces places = places_;
  {
    const std::shared_lock lock(mutex_);
    places.serving = configured_.has_value();  // from then on clients ask
  }
  auto loaded = load_models(config, {config.tasks.front().name}, places, options_.report);
  if (!places_.cpus.empty()) leave_lanes_alone(config_);
  return loaded;
}

void ServedModels::take_out(const std::string& name) const {
  for (const ModelInfo& info : places_.engine.models()) {
    if (info.name != name) continue;
    // It fails where the engine has stopped, which has taken the model out as well.
    static_cast<void>(places_.engine.remove_model(info.id, options_.drain_max));
    places_.supervisor.remove_workers(info.id);
  }
}

// What changes hands ------------------------------------------------------------------------------

bool ServedModels::make_room(const std::string& name) {
  const std::scoped_lock lock(mutex_);
  if (models_.contains(name) || models_.size() < options_.models_max) return true;
  // Nobody misses what doesn't serve.
  return std::erase_if(models_, [](const auto& entry) { return entry.second.cards.empty(); }) > 0;
}

void ServedModels::begin(const std::string& name, const char* state,
                         std::vector<std::int64_t> versions) {
  const std::scoped_lock lock(mutex_);
  Model& model = models_[name];
  model.state = state;
  model.reason.clear();
  model.versions = std::move(versions);
  model.cards.clear();
}

void ServedModels::publish(const std::string& name, std::span<const LoadedModel> loaded,
                           std::unique_ptr<TemporaryFolder> folder) {
  std::map<std::int64_t, ModelCardPtr> cards = make_cards(loaded);
  const std::scoped_lock lock(mutex_);
  Model& model = models_[name];
  model.state = kReady;
  model.versions.clear();
  for (const auto& [version, card] : cards) model.versions.push_back(version);
  model.cards = std::move(cards);
  model.folder.swap(folder);
  note_ready();
}

void ServedModels::give_up(const std::string& name, std::string reason) {
  std::unique_ptr<TemporaryFolder> folder;  // deleted without the lock
  const std::scoped_lock lock(mutex_);
  Model& model = models_[name];
  model.state = kUnavailable;
  model.reason = std::move(reason);
  model.folder.swap(folder);
}

std::map<std::int64_t, ModelCardPtr> ServedModels::make_cards(
    std::span<const LoadedModel> loaded) const {
  std::map<std::int64_t, server::ModelCard> made;
  for (const ModelInfo& info : places_.engine.models()) {
    const auto model = std::ranges::find(loaded, info.id, &LoadedModel::id);
    if (model == loaded.end()) continue;
    made[info.version] = {.info = info,
                          .config = model->config,
                          .backend = places_.engine.replicas(info.id).front().backend,
                          .versions = {},
                          .labels = {}};
    for (const repository::TensorConfig& output : model->config.outputs) {
      if (!output.labels.empty()) made[info.version].labels[output.name] = output.labels;
    }
  }
  std::vector<std::string> versions;
  versions.reserve(made.size());
  for (const auto& [version, card] : made) versions.push_back(std::to_string(version));
  std::map<std::int64_t, ModelCardPtr> cards;
  for (auto& [version, card] : made) {
    card.versions = versions;
    cards[version] = std::make_shared<const server::ModelCard>(std::move(card));
  }
  return cards;
}

void ServedModels::note_ready() {
  const auto serves = [this](const std::string& name) {
    const auto model = models_.find(name);
    return model != models_.end() && !model->second.cards.empty();
  };
  if (configured_ && std::ranges::all_of(*configured_, serves)) ready_ = true;
}

}  // namespace takt::app
