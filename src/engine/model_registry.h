// SPDX-License-Identifier: Apache-2.0
// The versions in service, by id and by name.
// Thread-safe: every member from any thread.
// Owns: a share of each served model.
#pragma once

#include "engine/served_model.h"

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace takt::engine {

using ServedModelPtr = std::shared_ptr<const ServedModel>;

class ModelRegistry {
 public:
  void add(ServedModelPtr model);
  bool remove(ModelId id);  // false when it is not there

  [[nodiscard]] ServedModelPtr find(ModelId id) const;  // nullptr when it is not there
  // The highest version, or the stated one. Errors: unavailable, with a suggestion.
  [[nodiscard]] Result<ServedModelPtr> find(std::string_view name,
                                            std::optional<std::int64_t> version) const;
  [[nodiscard]] bool contains(std::string_view name, std::int64_t version) const;
  [[nodiscard]] std::vector<ServedModelPtr> all() const;  // by name and rising version

 private:
  mutable std::shared_mutex mutex_;
  // Guarded by mutex_:
  std::unordered_map<ModelId, ServedModelPtr> by_id_;
  std::map<std::string, std::map<std::int64_t, ServedModelPtr>, std::less<>> by_name_;
};

}  // namespace takt::engine
