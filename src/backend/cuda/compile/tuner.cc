// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/compile/tuner.h"

#include "backend/cuda/compile/probe.h"
#include "backend/cuda/kernels/step_code.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <ranges>
#include <utility>

namespace takt::cuda {
namespace {

// Plans that are made before the first of them is timed: each keeps its code in the host's memory, and in the
// device's once it has been loaded there.
constexpr int kPlansAhead = 256;
constexpr int kStepsAheadMin = 8;  // work for as many threads
constexpr std::size_t kRefusalsTold = 32;

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

// What can't be written is told by who asks for the step.
void add_sources(Result<StepCode> code, std::vector<KernelSource>& sources) {
  if (!code) return;
  for (KernelCall& call : code->calls) sources.push_back(std::move(call.source));
}

std::vector<std::byte> to_bytes(const std::string& text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

}  // namespace

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
  if (!may_be_tuned(step) || cudnn_ == nullptr) return by_kernels(step);
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
  const auto start = std::chrono::steady_clock::now();
  Result<std::vector<StepRunner>> tuned = tune(step, key_of(step));
  counts_.trying += std::chrono::steady_clock::now() - start;
  return tuned;
}

Result<void> Tuner::plan_ahead(std::span<const Step> steps, const Progress& progress) {
  if (cudnn_ == nullptr || steps.empty() || !must_be_tuned(steps.front())) return {};
  if (planned_.contains(key_of(steps.front()))) return {};
  const auto start = std::chrono::steady_clock::now();
  const int steps_max =
      std::max(kStepsAheadMin, kPlansAhead / settings_of(options_.effort).plans_max);
  std::vector<std::string> keys;
  std::vector<const Step*> open;
  for (const Step& step : steps) {
    if (std::ssize(open) == steps_max) break;
    if (!must_be_tuned(step)) continue;
    std::string key = key_of(step);
    if (std::ranges::find(keys, key) != keys.end()) continue;
    keys.push_back(std::move(key));
    open.push_back(&step);
  }
  const auto tell = [&](std::string_view what) -> JobProgress {
    if (!progress) return {};
    return [&progress, what](int done, int total) { progress(what, done, total); };
  };
  Result<std::vector<FormPlans>> found =
      find_plans(*cudnn_, open, search(), tell("making plans for cuDNN"));
  if (!found) return std::unexpected(std::move(found).error());
  std::vector<KernelSource> sources;
  std::vector<KernelSource> tiled;  // of which most will lose
  for (std::size_t i = 0; i < open.size(); ++i) {
    const Step& step = *open[i];
    for (const Step& part : parts_without_plan(step, (*found)[i])) {
      add_sources(step_code(part, step_label(part)), sources);
    }
    for (const ProductTiling& tiling : tilings(step)) {
      add_sources(product_code(step, tiling, capability(), step_label(step)), tiled);
    }
    planned_.insert_or_assign(std::move(keys[i]), std::move((*found)[i]));
  }
  // A kernel that can't be compiled is asked for again by the way that needs it, which then drops out.
  static_cast<void>(cache_.prepare(sources, tell("compiling kernels")));
  static_cast<void>(cache_.prepare(tiled, tell("compiling kernels"), KernelCache::Keep::here));
  counts_.planning += std::chrono::steady_clock::now() - start;
  return {};
}

bool Tuner::must_be_tuned(const Step& step) const {
  if (!options_.may_tune || !may_be_tuned(step)) return false;
  return std::ranges::none_of(accepted_conditions(options_), [&](const TuningConditions& known) {
    return known_choice(piece_key(step, known, options_.tf32)).has_value();
  });
}

Result<std::optional<std::vector<StepRunner>>> Tuner::known_way(const Step& step) {
  for (const TuningConditions& known : accepted_conditions(options_)) {
    const std::string key = piece_key(step, known, options_.tf32);
    if (const std::optional<Choice> choice = known_choice(key)) {
      Result<std::vector<StepRunner>> way = restore(step, key, *choice);
      if (way) return *std::move(way);
      if (way.error().kind != ErrorKind::invalid_input) {
        return std::unexpected(std::move(way).error());
      }
    }
  }
  return std::nullopt;
}

std::string Tuner::key_of(const Step& step) const {
  return piece_key(step, conditions_of(options_), options_.tf32);
}

CudnnSearch Tuner::search() const {
  return {options_.workspace_bytes_max, settings_of(options_.effort).plans_max, options_.tf32};
}

ComputeCapability Tuner::capability() const {
  return cache_.context()->device().capability;
}

std::vector<ProductTiling> Tuner::tilings(const Step& step) const {
  return product_tilings(
      step,
      {capability(), cache_.context()->device().sm_count, conditions_of(options_).runs_beside},
      settings_of(options_.effort).tilings_max);
}

Result<std::vector<StepRunner>> Tuner::by_kernels(const Step& step,
                                                  const std::optional<ProductTiling>& tiling) {
  Result<StepRunner> runner = tiling ? StepRunner::with_product(step, *tiling, cache_)
                                     : StepRunner::with_kernels(step, cache_);
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
  if (form->get<std::uint64_t>() >= kLesserForms.size()) return {};
  Choice choice{kLesserForms[form->get<std::uint64_t>()], *by == "cudnn"};
  if (const auto tiling = json.find("tiling"); tiling != json.end()) {
    if (!tiling->is_string()) return {};
    choice.tiling = parse_product_tiling(tiling->get<std::string>());
    if (!choice.tiling) return {};
  }
  // Without its plan it is found out again.
  if (choice.by_cudnn && !pieces_.find(kCudnnPiece, key)) return {};
  return choice;
}

Result<std::vector<StepRunner>> Tuner::restore(const Step& step, const std::string& key,
                                               const Choice& choice) {
  if (!choice.by_cudnn) return by_kernels(step, choice.tiling);
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
  if (runners.empty())
    return fail(ErrorKind::invalid_input, "the plan's form isn't one of the step's");
  return runners;
}

// Own kernels first: they are the reference. cuDNN is asked for less of the step only where it refuses more.
Result<std::vector<Tuner::Candidate>> Tuner::candidates(const Step& step, FormPlans planned) {
  std::vector<Candidate> found;
  Result<std::vector<StepRunner>> own = by_kernels(step);
  if (!own) return std::unexpected(std::move(own).error());
  found.push_back({{}, {}, *std::move(own)});
  if (Result<void> added = add_tilings(step, found); !added) {
    return std::unexpected(std::move(added).error());
  }
  const std::size_t without_cudnn = found.size();
  for (const ContractionForm form : kLesserForms) {
    if (Result<void> added = add_plans(step, form, planned, found); !added) {
      return std::unexpected(std::move(added).error());
    }
    if (found.size() > without_cudnn) break;
  }
  return found;
}

Result<void> Tuner::add_tilings(const Step& step, std::vector<Candidate>& found) {
  for (const ProductTiling& tiling : tilings(step)) {
    Result<std::vector<StepRunner>> way = by_kernels(step, tiling);
    if (way) {
      found.push_back({{ContractionForm::whole, false, tiling}, {}, *std::move(way)});
    } else if (is_lost(way.error())) {
      return std::unexpected(std::move(way).error());
    } else {
      ++counts_.failed;
    }
  }
  return {};
}

Result<void> Tuner::add_plans(const Step& step, ContractionForm form, FormPlans& planned,
                              std::vector<Candidate>& found) {
  const std::vector<Step> parts = steps_of(step, form);
  if (parts.empty()) return {};
  const auto ahead = planned.find(form);
  const Result<CudnnPlans> plans = ahead != planned.end()
                                       ? std::move(ahead->second)
                                       : cudnn_plans(*cudnn_, parts.front(), search());
  if (!plans && is_lost(plans.error())) return std::unexpected(plans.error());
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
  auto ahead = planned_.extract(key);
  Result<Probe> probe =
      Probe::create(step, cache_, stream_, cudnn_, conditions_of(options_).runs_beside);
  if (!probe) return std::unexpected(std::move(probe).error());
  // The probe's step is the same problem, so that its plans are too.
  Result<std::vector<Candidate>> ways =
      candidates(probe->step(), ahead ? std::move(ahead.mapped()) : FormPlans());
  if (!ways) return std::unexpected(std::move(ways).error());
  if (Result<void> set = probe->set_reference(ways->front().way); !set) {
    return std::unexpected(std::move(set).error());
  }
  Result<std::vector<const Candidate*>> right = right_ones(*probe, *ways);
  if (!right) return std::unexpected(std::move(right).error());
  const Result<const Candidate*> best = fastest(*probe, *right);
  if (!best) return std::unexpected(best.error());
  const Candidate& winner = **best;
  const Result<void> kept = keep(step, key, winner);
  // What can't be kept is found out again.
  if (!kept && is_lost(kept.error())) return std::unexpected(kept.error());
  if (!winner.plan) return by_kernels(step, winner.choice.tiling);
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
      if (counts_.refusals.size() < kRefusalsTold) {
        counts_.refusals.push_back(fmt::format("{}: {} is off by {:.2g}", probe.step().name,
                                               way.way.front().implementation(), *difference));
      }
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
Result<void> Tuner::keep(const Step& step, const std::string& key, const Candidate& best) {
  if (best.choice.tiling) {
    std::vector<KernelSource> sources;
    add_sources(product_code(step, *best.choice.tiling, capability(), step_label(step)), sources);
    for (const KernelSource& source : sources) cache_.keep(source);
  }
  if (best.plan) {
    Result<std::vector<std::byte>> bytes = best.plan->serialize();
    if (!bytes) return std::unexpected(std::move(bytes).error());
    if (Result<void> put = pieces_.replace(kCudnnPiece, key, *std::move(bytes)); !put) return put;
  }
  nlohmann::json json{{"form", static_cast<unsigned>(best.choice.form)},
                      {"by", best.plan ? "cudnn" : "kernels"}};
  if (best.choice.tiling) json["tiling"] = to_string(*best.choice.tiling);
  return pieces_.replace(kChoicePiece, key, to_bytes(json.dump()));
}

}  // namespace takt::cuda
