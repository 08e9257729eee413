// SPDX-License-Identifier: Apache-2.0
// Fields of Triton's model configuration that takt does not use: which are passed over, which can't
// be. Thread-safe: pure functions. Owns: nothing.
#pragma once

#include <optional>
#include <string_view>

namespace takt::repository {

struct UnusedField {
  std::string_view message;  // as in model_config.proto
  std::string_view name;
  // Why a model that needs the field can't be served, and what to do; empty: the field changes
  // nothing that a client could tell and is passed over.
  std::string_view refusal;
};

[[nodiscard]] std::optional<UnusedField> find_unused_field(std::string_view message,
                                                           std::string_view field) noexcept;

}  // namespace takt::repository
