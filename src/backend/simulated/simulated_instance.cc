// SPDX-License-Identifier: Apache-2.0
#include "backend/simulated/simulated_instance.h"

#include "backend/simulated/compute.h"
#include "backend/simulated/made_up.h"
#include "core/spin.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <string>
#include <utility>

namespace takt::simulated {

using namespace std::chrono_literals;

Result<std::unique_ptr<Instance>> SimulatedInstance::open(std::shared_ptr<SharedModel> model,
                                                          std::span<const int> cpus, int lane) {
  std::unique_ptr<SimulatedInstance> made(new SimulatedInstance(std::move(model)));
  Result<std::unique_ptr<BatchThread>> thread = BatchThread::create(
      "takt-sim-" + std::to_string(lane), cpus, made->model_->spin,
      [self = made.get()](BatchView batch) { return self->run_checked(batch); });
  if (!thread) return std::unexpected(std::move(thread).error());
  made->thread_ = *std::move(thread);
  return made;
}

SimulatedInstance::~SimulatedInstance() {
  {
    const std::scoped_lock lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
}

Result<void> SimulatedInstance::submit(BatchView batch, BatchCompletion done) {
  if (const Result<std::int64_t> rows = check_batch(model_->rules, batch); !rows) {
    return std::unexpected(rows.error());
  }
  return thread_->start(batch, std::move(done));
}

BatchOutcome SimulatedInstance::run(BatchView batch) {
  if (const Result<std::int64_t> rows = check_batch(model_->rules, batch); !rows) {
    return {.status = std::unexpected(rows.error()), .times = {}};
  }
  return run_checked(batch);
}

BatchOutcome SimulatedInstance::run_checked(BatchView batch) {
  BatchOutcome outcome;
  outcome.times.exec_start = outcome.times.compute_start = model_->clock.now();
  std::int64_t rows = 0;
  for (const Sample& sample : batch) rows += sample.rows;
  outcome.status = execute(batch, model_->plan.next(rows), outcome.times.exec_start);
  outcome.times.compute_end = outcome.times.exec_end = model_->clock.now();
  return outcome;
}

Result<void> SimulatedInstance::execute(BatchView batch, const BatchPlan& plan, TimePoint start) {
  const Parameters& parameters = model_->plan.parameters();
  if (plan.fault == Fault::crash) std::abort();
  if (plan.fault == Fault::hang) {
    const bool for_ever = parameters.hang == Duration::zero();
    const bool ended = wait_until(for_ever ? kNever : start + parameters.hang);
    return ended ? fail(ErrorKind::internal, "simulated: the device did not answer in time")
                 : fail(ErrorKind::unavailable, "simulated: stopped while the device hung");
  }
  if (plan.fault && plan.fault != Fault::corrupt_output) {
    const ErrorKind kind = plan.fault == Fault::out_of_memory     ? ErrorKind::out_of_memory
                           : plan.fault == Fault::device_poisoned ? ErrorKind::device_poisoned
                                                                  : ErrorKind::internal;
    return fail(kind, "simulated: injected fault " + std::string(to_string(*plan.fault)));
  }
  for (const Sample& sample : batch) {
    if (Result<void> answered = answer(sample); !answered) return answered;
    if (plan.fault == Fault::corrupt_output) std::ranges::for_each(sample.outputs, &corrupt);
  }
  wait_until(start + plan.latency);
  return {};
}

Result<void> SimulatedInstance::answer(const Sample& sample) {
  const Signature& signature = model_->rules.signature;
  if (const std::optional<Compute> rule = model_->plan.parameters().compute) {
    return compute(*rule, signature, sample);
  }
  for (std::size_t i = 0; i < sample.outputs.size(); ++i) {
    OutputBuffer& buffer = sample.outputs[i];
    buffer.type = signature.outputs[i].type;
    buffer.shape = signature.outputs[i].shape;
    if (signature.batch_max > 0) buffer.shape.insert(buffer.shape.begin(), sample.rows);
    buffer.bytes_used = 0;
  }
  for (std::int64_t row = 0; row < sample.rows; ++row) {
    const Result<std::uint64_t> seed = digest(sample, row);
    if (!seed) return std::unexpected(seed.error());
    for (std::size_t i = 0; i < sample.outputs.size(); ++i) {
      const Result<void> added = add_row(sample.outputs[i], signature.outputs[i], mix(*seed, i));
      if (!added) return added;
    }
  }
  return {};
}

Result<std::uint64_t> SimulatedInstance::digest(const Sample& sample, std::int64_t row) {
  std::uint64_t whole = model_->plan.parameters().seed;
  for (std::size_t i = 0; i < sample.inputs.size(); ++i) {
    if (const std::optional<ImageInput>& image = model_->rules.images[i]) {
      staging_.resize(std::max(staging_.size(), image->row_bytes));
      const std::span<std::uint8_t> staged(staging_.data(), image->row_bytes);
      const auto& stack = std::get<ImageStack>(sample.inputs[i]);
      if (Result<void> done = stage_stack(stack, *image, resampler_, staged); !done) {
        return std::unexpected(std::move(done).error());
      }
      whole = mix(whole, digest_image(staged, *image));
      continue;
    }
    whole = mix(whole, digest_tensor(std::get<TensorView>(sample.inputs[i]), row, sample.rows));
  }
  return whole;
}

// False when the destructor cut the wait short.
bool SimulatedInstance::wait_until(TimePoint end) {
  // Short waits, because a clock that a test moves wakes nobody.
  constexpr Duration kStep = 500us;
  std::unique_lock lock(mutex_);
  while (true) {
    if (stopping_) return false;
    const TimePoint now = model_->clock.now();
    if (now >= end) return true;
    if (end - now > model_->spin) {
      changed_.wait_for(lock, std::min(end - now - model_->spin, kStep));
      continue;
    }
    lock.unlock();
    pause_cpu();
    lock.lock();
  }
}

}  // namespace takt::simulated
