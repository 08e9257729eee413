// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/compile/tuning.h"

#include "backend/cuda/compile/contraction_forms.h"
#include "backend/cuda/compile/sha256.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <ranges>

namespace takt::cuda {
namespace {

struct NamedEffort {
  Effort effort;
  std::string_view name;
  EffortSettings settings;
};
// Rising.
constexpr std::array kEfforts{
    NamedEffort{Effort::fast, "fast", {.plans_max = 3, .tilings_max = 1, .rounds = 3}},
    NamedEffort{Effort::normal, "normal", {.plans_max = 8, .tilings_max = 8, .rounds = 5}},
    NamedEffort{Effort::max, "max", {.plans_max = 64, .tilings_max = 16, .rounds = 11}}};

const NamedEffort& named(Effort effort) {
  return *std::ranges::find(kEfforts, effort, &NamedEffort::effort);
}

}  // namespace

std::string_view to_string(Effort effort) noexcept {
  return named(effort).name;
}

std::optional<Effort> parse_effort(std::string_view text) noexcept {
  const auto* const found = std::ranges::find(kEfforts, text, &NamedEffort::name);
  return found == kEfforts.end() ? std::nullopt : std::optional(found->effort);
}

EffortSettings settings_of(Effort effort) noexcept {
  return named(effort).settings;
}

TuningConditions conditions_of(const TuningOptions& options) {
  return {options.effort, std::clamp(options.concurrent, 1, kRunsBesideMax)};
}

std::vector<TuningConditions> accepted_conditions(const TuningOptions& options) {
  const TuningConditions own = conditions_of(options);
  std::vector<TuningConditions> accepted;
  const auto add = [&](int runs_beside) {
    for (const NamedEffort& known : kEfforts | std::views::reverse) {
      accepted.push_back({known.effort, runs_beside});
      if (options.may_tune && known.effort == own.effort) break;
    }
  };
  add(own.runs_beside);
  if (options.may_tune) return accepted;
  for (int runs = kRunsBesideMax; runs >= 1; --runs) {
    if (runs != own.runs_beside) add(runs);
  }
  return accepted;
}

std::string piece_key(const Step& step, const TuningConditions& conditions, bool tf32) {
  const std::string beside =
      conditions.runs_beside > 1 ? fmt::format("{} beside\n", conditions.runs_beside) : "";
  return sha256_hex(fmt::format("{}\n{}{}{}", to_string(conditions.effort), tf32 ? "tf32\n" : "",
                                beside, problem_text(step)));
}

}  // namespace takt::cuda
