// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/compile/tuner.h"

#include "backend/cuda/compile/probe.h"
#include "backend/cuda/compile/sha256.h"
#include "backend/cuda/compile/views.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <ranges>
#include <utility>

namespace takt::cuda {
namespace {

struct EffortName {
  Effort effort;
  std::string_view name;
  int plans_max;
  int rounds;
};
constexpr std::array kEfforts{EffortName{Effort::fast, "fast", 3, 3},
                              EffortName{Effort::normal, "normal", 8, 5},
                              EffortName{Effort::max, "max", 64, 11}};

const EffortName& settings_of(Effort effort) {
  return *std::ranges::find(kEfforts, effort, &EffortName::effort);
}

// As plans number them; the last one is tried in certain cases only.
constexpr std::array kForms{ContractionForm::whole, ContractionForm::separate_epilogue,
                            ContractionForm::separate_bias, ContractionForm::as_matrices};

// That there are no gaps between its elements.
bool is_packed(const View& view) {
  const Result<std::size_t> count = element_count(view.shape);
  return count && std::cmp_equal(extent_elements(view), *count);
}

bool is_lost(const Error& error) {
  return error.kind == ErrorKind::device_poisoned;
}

// How far results may be from the reference's, of the largest number there. Both sum in FP32 and round to the
// stored type, at most twice where the epilogue is computed separately.
float tolerance_of(DataType type, bool tf32) {
  if (type == DataType::fp16) return 4e-3F;
  if (type == DataType::bf16) return 3e-2F;
  return tf32 ? 5e-3F : 2e-5F;
}

bool may_be_tuned(const Step& step) {
  if (step.kind != StepKind::contraction) return false;
  const auto floats = [](const View& view) {
    return view.type == DataType::fp16 || view.type == DataType::bf16 ||
           view.type == DataType::fp32;
  };
  return std::ranges::all_of(step.inputs, floats) && floats(step.outputs.front().view);
}

std::vector<std::byte> to_bytes(const std::string& text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

}  // namespace

std::string_view to_string(Effort effort) noexcept {
  return settings_of(effort).name;
}

std::optional<Effort> parse_effort(std::string_view text) noexcept {
  const auto* const found = std::ranges::find(kEfforts, text, &EffortName::name);
  return found == kEfforts.end() ? std::nullopt : std::optional(found->effort);
}

// A way to compute a probe's step, and how to make it again.
struct Tuner::Candidate {
  Choice choice;
  std::optional<CudnnPlan> plan;
  std::vector<StepRunner> way;
};

Tuner::Tuner(KernelCache& cache, PieceStore& pieces, const Stream& stream, const CudnnHandle* cudnn,
             TuningOptions options)
    : cache_(cache), pieces_(pieces), stream_(stream), cudnn_(cudnn), options_(options) {}

Result<std::vector<StepRunner>> Tuner::runners(const Step& step) {
  if (!may_be_tuned(step)) return by_kernels(step);
  Result<std::optional<std::vector<StepRunner>>> known = known_way(step);
  if (!known) return std::unexpected(std::move(known).error());
  if (*known) {
    ++counts_.reused;
    return **std::move(known);
  }
  if (!options_.may_tune) {
    return fail(ErrorKind::unavailable,
                "the plan doesn't know how to compute this step: make the plan with takt compile, "
                "with the same precision, batch sizes and shapes");
  }
  ++counts_.tuned;
  return tune(step, key_of(step, options_.effort));
}

// What was looked for longer is as good; what was looked for less is better than nothing.
Result<std::optional<std::vector<StepRunner>>> Tuner::known_way(const Step& step) {
  for (const EffortName& known : kEfforts | std::views::reverse) {
    const std::string key = key_of(step, known.effort);
    if (const std::optional<Choice> choice = known_choice(key)) {
      Result<std::vector<StepRunner>> way = restore(step, key, *choice);
      if (way) return *std::move(way);
      if (way.error().kind != ErrorKind::invalid_input) {
        return std::unexpected(std::move(way).error());
      }
    }
    if (options_.may_tune && known.effort == options_.effort) break;
  }
  return std::nullopt;
}

std::string Tuner::key_of(const Step& step, Effort effort) const {
  return sha256_hex(fmt::format("{}\n{}{}", to_string(effort), options_.tf32 ? "tf32\n" : "",
                                problem_text(step)));
}

Result<std::vector<StepRunner>> Tuner::by_kernels(const Step& step) {
  Result<StepRunner> runner = StepRunner::with_kernels(step, cache_);
  if (!runner) return std::unexpected(std::move(runner).error());
  std::vector<StepRunner> runners;
  runners.push_back(*std::move(runner));
  return runners;
}

std::optional<Tuner::Choice> Tuner::known_choice(const std::string& key) const {
  const auto bytes = pieces_.find(kChoicePiece, key);
  if (!bytes) return {};
  const auto* const begin = reinterpret_cast<const char*>(bytes->data());
  const auto json = nlohmann::json::parse(begin, begin + bytes->size(), nullptr, false);
  if (!json.is_object()) return {};
  const auto form = json.find("form");
  const auto by = json.find("by");
  if (form == json.end() || !form->is_number_unsigned() || by == json.end()) return {};
  if (form->get<std::uint64_t>() >= kForms.size()) return {};
  const Choice choice{kForms[form->get<std::uint64_t>()], *by == "cudnn"};
  // Without the library or its plan it is found out again.
  if (choice.by_cudnn && (cudnn_ == nullptr || !pieces_.find(kCudnnPiece, key))) return {};
  return choice;
}

Result<std::vector<StepRunner>> Tuner::restore(const Step& step, const std::string& key,
                                               const Choice& choice) {
  if (!choice.by_cudnn) return by_kernels(step);
  if (const auto shared = plans_.find(key); shared != plans_.end()) {
    return with_plan(step, choice.form, shared->second);
  }
  Result<CudnnPlan> plan = CudnnPlan::restore(*cudnn_, *pieces_.find(kCudnnPiece, key));
  if (!plan) return std::unexpected(std::move(plan).error());
  if (plan->workspace_bytes() > options_.workspace_bytes_max) {
    return fail(ErrorKind::invalid_input, "the plan takes more workspace than is allowed");
  }
  plans_.emplace(key, *plan);
  return with_plan(step, choice.form, *std::move(plan));
}

Result<std::vector<StepRunner>> Tuner::with_plan(const Step& step, ContractionForm form,
                                                 CudnnPlan plan) {
  std::vector<StepRunner> runners;
  for (const Step& part : steps_of(step, form)) {
    if (part.kind == StepKind::contraction) {
      runners.push_back(StepRunner::with_plan(part, plan));
      continue;
    }
    Result<StepRunner> rest = StepRunner::with_kernels(part, cache_);
    if (!rest) return std::unexpected(std::move(rest).error());
    runners.push_back(*std::move(rest));
  }
  return runners;
}

// Own kernels first: they are the reference. cuDNN is asked for less of the step only where it refuses more.
Result<std::vector<Tuner::Candidate>> Tuner::candidates(const Step& step) {
  std::vector<Candidate> found;
  Result<std::vector<StepRunner>> own = by_kernels(step);
  if (!own) return std::unexpected(std::move(own).error());
  found.push_back({{}, {}, *std::move(own)});
  if (cudnn_ == nullptr) return found;
  for (const ContractionForm form : kForms | std::views::take(kForms.size() - 1)) {
    if (Result<void> added = add_plans(step, form, found); !added) {
      return std::unexpected(std::move(added).error());
    }
    if (found.size() > 1) break;
  }
  // Seen with 9.19: engines of convolutions refuse images that lie apart, those of matrix products don't.
  if (options_.effort == Effort::max || !is_packed(step.outputs.front().view)) {
    if (Result<void> added = add_plans(step, ContractionForm::as_matrices, found); !added) {
      return std::unexpected(std::move(added).error());
    }
  }
  return found;
}

Result<void> Tuner::add_plans(const Step& step, ContractionForm form,
                              std::vector<Candidate>& found) {
  const std::vector<Step> parts = steps_of(step, form);
  if (parts.empty()) return {};
  const CudnnSearch search{options_.workspace_bytes_max, settings_of(options_.effort).plans_max,
                           options_.tf32};
  Result<CudnnPlans> plans = cudnn_plans(*cudnn_, parts.front(), search);
  if (!plans && is_lost(plans.error())) return std::unexpected(std::move(plans).error());
  if (!plans) {
    ++counts_.failed;
    return {};
  }
  for (const CudnnPlan& plan : plans->plans) {
    Result<std::vector<StepRunner>> way = with_plan(step, form, plan);
    if (way) {
      found.push_back({{form, true}, plan, *std::move(way)});
    } else if (is_lost(way.error())) {
      return std::unexpected(std::move(way).error());
    } else {
      ++counts_.failed;
    }
  }
  return {};
}

Result<std::vector<StepRunner>> Tuner::tune(const Step& step, const std::string& key) {
  Result<Probe> probe = Probe::create(step, cache_, stream_, cudnn_);
  if (!probe) return std::unexpected(std::move(probe).error());
  Result<std::vector<Candidate>> ways = candidates(probe->step());
  if (!ways) return std::unexpected(std::move(ways).error());
  if (Result<void> set = probe->set_reference(ways->front().way); !set) {
    return std::unexpected(std::move(set).error());
  }
  Result<std::vector<const Candidate*>> right = right_ones(*probe, *ways);
  if (!right) return std::unexpected(std::move(right).error());
  const Result<const Candidate*> best = fastest(*probe, *right);
  if (!best) return std::unexpected(best.error());
  const Candidate& winner = **best;
  const Result<void> kept = keep(key, winner);
  // What can't be kept is found out again.
  if (!kept && is_lost(kept.error())) return std::unexpected(kept.error());
  if (!winner.plan) return by_kernels(step);
  if (kept) plans_.insert_or_assign(key, *winner.plan);
  return with_plan(step, winner.choice.form, *winner.plan);
}

// The reference, and what gives the same.
Result<std::vector<const Tuner::Candidate*>> Tuner::right_ones(Probe& probe,
                                                               const std::vector<Candidate>& ways) {
  const float tolerance = tolerance_of(probe.step().outputs.front().view.type, options_.tf32);
  std::vector<const Candidate*> right{&ways.front()};
  for (const Candidate& way : ways | std::views::drop(1)) {
    const Result<float> difference = probe.difference(way.way);
    if (!difference && is_lost(difference.error())) return std::unexpected(difference.error());
    if (!difference) {
      ++counts_.failed;
    } else if (*difference <= tolerance) {
      right.push_back(&way);
    } else {
      ++counts_.refused_by_check;
    }
  }
  return right;
}

// All in turns; where one of them can't be timed, one by one, so that only that one drops out.
Result<const Tuner::Candidate*> Tuner::fastest(Probe& probe,
                                               const std::vector<const Candidate*>& ways) {
  const int rounds = settings_of(options_.effort).rounds;
  std::vector<std::vector<StepRunner>> timed;
  for (const Candidate* way : ways) timed.push_back(way->way);
  const Result<std::vector<Duration>> times = probe.times(timed, rounds);
  if (times) {
    return ways[static_cast<std::size_t>(std::ranges::min_element(*times) - times->begin())];
  }
  if (is_lost(times.error())) return std::unexpected(times.error());
  const Candidate* best = nullptr;
  Duration best_time{};
  for (std::size_t i = 0; i < ways.size(); ++i) {
    const Result<std::vector<Duration>> alone = probe.times(std::span(timed).subspan(i, 1), rounds);
    if (!alone && is_lost(alone.error())) return std::unexpected(alone.error());
    if (!alone) {
      ++counts_.failed;
    } else if (best == nullptr || alone->front() < best_time) {
      best = ways[i];
      best_time = alone->front();
    }
  }
  if (best == nullptr) return std::unexpected(times.error());
  return best;
}

// In place of a choice that couldn't be taken. A plan without its choice is never looked at, and a new choice
// for a new plan is no longer than the old one: the two fit each other even where the pieces are full.
Result<void> Tuner::keep(const std::string& key, const Candidate& best) {
  if (best.plan) {
    Result<std::vector<std::byte>> bytes = best.plan->serialize();
    if (!bytes) return std::unexpected(std::move(bytes).error());
    if (Result<void> put = pieces_.replace(kCudnnPiece, key, *std::move(bytes)); !put) return put;
  }
  const nlohmann::json json{{"form", static_cast<unsigned>(best.choice.form)},
                            {"by", best.plan ? "cudnn" : "kernels"}};
  return pieces_.replace(kChoicePiece, key, to_bytes(json.dump()));
}

}  // namespace takt::cuda
