// SPDX-License-Identifier: Apache-2.0
// An Instance that waits as long as its model says, and answers with what simulated.compute says or
// with numbers made from its inputs.
// Thread-safe: as core/inference.h says of Instance. Owns: its thread and staging memory.
// Private to backend/simulated.
#pragma once

#include "backend/batch_check.h"
#include "backend/batch_thread.h"
#include "backend/simulated/fault_plan.h"
#include "core/time.h"
#include "image/resample.h"

#include <condition_variable>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

namespace takt::simulated {

struct SharedModel {
  SharedModel(BatchRules batch_rules, Parameters parameters, Duration spin_max,
              const Clock& clock_used)
      : rules(std::move(batch_rules)),
        plan(std::move(parameters)),
        spin(spin_max),
        clock(clock_used) {}

  const BatchRules rules;
  FaultPlan plan;
  const Duration spin;  // before the end of a wait: look at the clock in place of sleeping
  const Clock& clock;
};

class SimulatedInstance final : public Instance {
 public:
  [[nodiscard]] static Result<std::unique_ptr<Instance>> open(std::shared_ptr<SharedModel> model,
                                                              std::span<const int> cpus, int lane);
  // Cuts waits short: a hanging batch fails with `unavailable`, any other one ends early.
  ~SimulatedInstance() override;

  [[nodiscard]] Result<void> submit(BatchView batch, BatchCompletion done) override;
  [[nodiscard]] BatchOutcome run(BatchView batch) override;

 private:
  explicit SimulatedInstance(std::shared_ptr<SharedModel> model) : model_(std::move(model)) {}

  BatchOutcome run_checked(BatchView batch);
  Result<void> execute(BatchView batch, const BatchPlan& plan, TimePoint start);
  Result<void> answer(const Sample& sample);
  Result<std::uint64_t> digest(const Sample& sample, std::int64_t row);
  bool wait_until(TimePoint end);

  // Constant.
  std::shared_ptr<SharedModel> model_;

  // Of whoever runs a batch.
  std::vector<std::uint8_t> staging_;
  Resampler resampler_;

  std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;  // guarded by mutex_

  std::unique_ptr<BatchThread> thread_;  // last: ends before what it uses
};

}  // namespace takt::simulated
