// SPDX-License-Identifier: Apache-2.0
#include "backend/simulated/fault_plan.h"

namespace takt::simulated {

BatchPlan FaultPlan::next(std::int64_t rows) {
  const std::uint64_t batch = batches_.fetch_add(1) + 1;
  BatchPlan plan;
  const double share = unit(mix(parameters_.seed, batch));
  plan.latency =
      parameters_.base + parameters_.per_row * rows +
      Duration(static_cast<std::int64_t>(share * static_cast<double>(parameters_.jitter.count())));
  plan.fault = poisoned_ ? Fault::device_poisoned : fault_of(batch, rows);
  if (plan.fault == Fault::device_poisoned) poisoned_ = true;
  return plan;
}

std::optional<Fault> FaultPlan::fault_of(std::uint64_t batch, std::int64_t rows) const {
  if (batch <= parameters_.faults_after) return std::nullopt;
  if (parameters_.faults_until > 0 && batch > parameters_.faults_until) return std::nullopt;
  for (const ScheduledFault& scheduled : parameters_.faults) {
    if (scheduled.batch == batch) return scheduled.fault;
  }
  for (std::size_t i = 0; i < parameters_.probability.size(); ++i) {
    const std::uint64_t bits = mix(mix(parameters_.seed, i + 1000), batch);
    if (unit(bits) < parameters_.probability[i]) return static_cast<Fault>(i);
  }
  if (parameters_.memory_rows_max > 0 && rows > parameters_.memory_rows_max) {
    return Fault::out_of_memory;
  }
  return std::nullopt;
}

}  // namespace takt::simulated
