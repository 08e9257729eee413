// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/compile/plan_search.h"

#include <optional>
#include <utility>

namespace takt::cuda {
namespace {

// Each takes some MiB of the host and of the device while it compiles.
constexpr int kThreadsMax = 16;

// What a thread of its own asks cuDNN with.
struct Asker {
  Stream stream;
  CudnnHandle cudnn;

  static Result<Asker> create(const CudnnHandle& first) {
    Result<Stream> stream = Stream::create(first.context());
    if (!stream) return std::unexpected(std::move(stream).error());
    Result<CudnnHandle> cudnn = first.another(*stream);
    if (!cudnn) return std::unexpected(std::move(cudnn).error());
    return Asker{*std::move(stream), *std::move(cudnn)};
  }
};

// Where a form has plans, or the device is lost, no further one of the lesser forms is asked for.
Result<FormPlans> plans_of(const CudnnHandle& cudnn, const Step& step, const CudnnSearch& search) {
  FormPlans found;
  for (const ContractionForm form : kLesserForms) {
    const std::vector<Step> parts = steps_of(step, form);
    if (parts.empty()) continue;
    Result<CudnnPlans> plans = cudnn_plans(cudnn, parts.front(), search);
    if (!plans && plans.error().kind == ErrorKind::device_poisoned) {
      return std::unexpected(std::move(plans).error());
    }
    const bool any = plans && !plans->plans.empty();
    found.emplace(form, std::move(plans));
    if (any) break;
  }
  return found;
}

}  // namespace

Result<std::vector<FormPlans>> find_plans(const CudnnHandle& cudnn,
                                          std::span<const Step* const> steps,
                                          const CudnnSearch& search, const JobProgress& progress) {
  const int threads = host_threads(kThreadsMax);
  std::vector<FormPlans> found(steps.size());
  // Each is its thread's while the jobs run.
  std::vector<std::optional<Asker>> askers(static_cast<std::size_t>(threads));
  const auto ask = [&](int job, int thread) -> Result<void> {
    const Result<Context::Scope> scope = cudnn.context()->enter();
    if (!scope) return std::unexpected(scope.error());
    std::optional<Asker>& asker = askers[static_cast<std::size_t>(thread)];
    if (thread > 0 && !asker) {
      Result<Asker> made = Asker::create(cudnn);
      if (!made) return std::unexpected(std::move(made).error());
      asker.emplace(*std::move(made));
    }
    const auto index = static_cast<std::size_t>(job);
    Result<FormPlans> plans = plans_of(thread > 0 ? asker->cudnn : cudnn, *steps[index], search);
    if (!plans) return std::unexpected(std::move(plans).error());
    found[index] = *std::move(plans);
    return {};
  };
  Result<void> done =
      run_jobs("making cuDNN's plans", static_cast<int>(steps.size()), threads, ask, progress);
  if (!done) return std::unexpected(std::move(done).error());
  return found;
}

std::vector<Step> parts_without_plan(const Step& step, const FormPlans& plans) {
  std::vector<Step> rest;
  for (const auto& [form, found] : plans) {
    if (!found || found->plans.empty()) continue;
    for (Step& part : steps_of(step, form)) {
      if (part.kind != StepKind::contraction) rest.push_back(std::move(part));
    }
  }
  return rest;
}

}  // namespace takt::cuda
