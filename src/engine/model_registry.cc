// SPDX-License-Identifier: Apache-2.0
#include "engine/model_registry.h"

#include "core/suggest.h"

#include <mutex>
#include <utility>

namespace takt::engine {
namespace {

std::string listed(const std::map<std::int64_t, ServedModelPtr>& versions) {
  std::string text;
  for (const auto& [version, model] : versions)
    text += (text.empty() ? "" : ", ") + std::to_string(version);
  return text;
}

}  // namespace

void ModelRegistry::add(ServedModelPtr model) {
  const std::unique_lock lock(mutex_);
  const ModelInfo& info = model->info();
  by_name_[info.name][info.version] = model;
  by_id_[info.id] = std::move(model);
}

bool ModelRegistry::remove(ModelId id) {
  const std::unique_lock lock(mutex_);
  const auto found = by_id_.find(id);
  if (found == by_id_.end()) return false;
  const ModelInfo& info = found->second->info();
  const auto versions = by_name_.find(info.name);
  versions->second.erase(info.version);
  if (versions->second.empty()) by_name_.erase(versions);
  by_id_.erase(found);
  return true;
}

ServedModelPtr ModelRegistry::find(ModelId id) const {
  const std::shared_lock lock(mutex_);
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : found->second;
}

Result<ServedModelPtr> ModelRegistry::find(std::string_view name,
                                           std::optional<std::int64_t> version) const {
  const std::shared_lock lock(mutex_);
  const auto versions = by_name_.find(name);
  if (versions == by_name_.end()) {
    std::vector<std::string> names;
    names.reserve(by_name_.size());
    for (const auto& [known, unused] : by_name_) names.push_back(known);
    return fail(ErrorKind::unavailable,
                "no model '" + std::string(name) + "' is loaded" + suggestion(name, names));
  }
  if (!version) return versions->second.rbegin()->second;
  const auto found = versions->second.find(*version);
  if (found == versions->second.end())
    return fail(ErrorKind::unavailable, "model '" + std::string(name) + "' has no version " +
                                            std::to_string(*version) + " loaded; expected one of " +
                                            listed(versions->second));
  return found->second;
}

bool ModelRegistry::contains(std::string_view name, std::int64_t version) const {
  return find(name, version).has_value();
}

std::vector<ServedModelPtr> ModelRegistry::all() const {
  const std::shared_lock lock(mutex_);
  std::vector<ServedModelPtr> models;
  for (const auto& [name, versions] : by_name_) {
    for (const auto& [version, model] : versions) models.push_back(model);
  }
  return models;
}

}  // namespace takt::engine
