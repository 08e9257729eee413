// SPDX-License-Identifier: Apache-2.0
#include "backend/simulated/simulated_instance.h"

#include "core/spin.h"

#include <algorithm>
#include <bit>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <string>
#include <utility>

namespace takt::simulated {
namespace {

using namespace std::chrono_literals;

// At most so many elements of an input go into its digest, evenly spread: a simulated model must
// cost little beside the real ones that it stands in for.
constexpr std::size_t kDigestElements = 4096;

// The same value from an image and from the finished tensor, whose last bits may differ.
std::uint64_t quantised(double value) {
  return static_cast<std::uint64_t>(std::llround(std::clamp(value, -1e9, 1e9) * 4096));
}

std::uint64_t stride_of(std::size_t count) {
  return std::max<std::size_t>(count / kDigestElements, 1);
}

std::uint64_t digest_bytes(std::span<const std::byte> bytes) {
  std::uint64_t digest = bytes.size();
  const std::size_t stride = stride_of(bytes.size());
  for (std::size_t i = 0; i < bytes.size(); i += stride) {
    digest = mix(digest, std::to_integer<std::uint64_t>(bytes[i]));
  }
  return digest;
}

std::uint64_t digest_floats(std::span<const std::byte> bytes) {
  const std::size_t count = bytes.size() / sizeof(float);
  std::uint64_t digest = count;
  for (std::size_t i = 0; i < count; i += stride_of(count)) {
    float value = 0;
    std::memcpy(&value, bytes.data() + i * sizeof(float), sizeof value);
    digest = mix(digest, quantised(static_cast<double>(value)));
  }
  return digest;
}

// As digest_floats of the tensor that the preprocessing would make.
std::uint64_t digest_image(std::span<const std::uint8_t> row, const ImageInput& image) {
  const auto channels = static_cast<std::size_t>(image.staged.channels);
  const std::size_t plane = row.size() / channels;
  const ImagePreprocess& wanted = image.preprocess;
  std::uint64_t digest = row.size();
  for (std::size_t i = 0; i < row.size(); i += stride_of(row.size())) {
    const std::size_t channel = wanted.channels_last ? i % channels : i / plane;
    const std::size_t pixel = wanted.channels_last ? i / channels : i % plane;
    const std::uint8_t byte =
        image.staged.channels_last ? row[pixel * channels + channel] : row[channel * plane + pixel];
    const float mean = wanted.mean.empty() ? 0 : wanted.mean[channel];
    const float stddev = wanted.stddev.empty() ? 1 : wanted.stddev[channel];
    const float value = (static_cast<float>(byte) * wanted.scale - mean) / stddev;
    digest = mix(digest, quantised(static_cast<double>(value)));
  }
  return digest;
}

// Floating-point elements in [0, 1), others in [0, 128), booleans 0 or 1.
void fill(std::span<std::byte> room, DataType type, std::uint64_t seed, bool corrupt) {
  const std::size_t size = element_bytes(type);
  for (std::size_t i = 0; i * size < room.size(); ++i) {
    const std::uint64_t bits = mix(seed, i);
    std::byte* at = room.data() + i * size;
    if (type == DataType::fp32) {
      const float value = corrupt ? std::numeric_limits<float>::quiet_NaN()
                                  : static_cast<float>(bits >> 40U) * 0x1.0p-24F;
      std::memcpy(at, &value, size);
    } else if (type == DataType::fp64) {
      const double value = corrupt ? std::numeric_limits<double>::quiet_NaN() : unit(bits);
      std::memcpy(at, &value, size);
    } else if (type == DataType::fp16 || type == DataType::bf16) {
      // 0x7fff is a NaN in both; exponent bits of 0.5 to 1 otherwise.
      const auto half = static_cast<std::uint16_t>(
          corrupt ? 0x7fffU : (type == DataType::fp16 ? 0x3800U : 0x3f00U) | (bits & 0x7fU));
      std::memcpy(at, &half, size);
    } else {
      std::memset(at, 0, size);
      *at = static_cast<std::byte>(bits & (type == DataType::boolean ? 1U : 127U));
    }
  }
}

}  // namespace

Result<std::unique_ptr<Instance>> SimulatedInstance::open(std::shared_ptr<SharedModel> model,
                                                          std::span<const int> cpus, int lane) {
  std::unique_ptr<SimulatedInstance> made(new SimulatedInstance(std::move(model)));
  Result<std::unique_ptr<BatchThread>> thread = BatchThread::create(
      "takt-sim-" + std::to_string(lane), cpus,
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
  if (Result<void> answered = answer(batch, plan.fault == Fault::corrupt_output); !answered) {
    return answered;
  }
  wait_until(start + plan.latency);
  return {};
}

Result<void> SimulatedInstance::answer(BatchView batch, bool corrupt) {
  const BatchRules& rules = model_->rules;
  for (const Sample& sample : batch) {
    for (std::size_t i = 0; i < sample.outputs.size(); ++i) {
      OutputBuffer& buffer = sample.outputs[i];
      buffer.type = rules.signature.outputs[i].type;
      buffer.shape = rules.signature.outputs[i].shape;
      if (rules.signature.batch_max > 0) {
        buffer.shape.insert(buffer.shape.begin(), sample.rows);
      }
      buffer.bytes_used = *rules.output_row_bytes[i] * static_cast<std::size_t>(sample.rows);
    }
    for (std::int64_t row = 0; row < sample.rows; ++row) {
      const Result<std::uint64_t> seed = digest(sample, row);
      if (!seed) return std::unexpected(seed.error());
      for (std::size_t i = 0; i < sample.outputs.size(); ++i) {
        const std::size_t bytes = *rules.output_row_bytes[i];
        fill(sample.outputs[i].room.subspan(bytes * static_cast<std::size_t>(row), bytes),
             sample.outputs[i].type, mix(*seed, i), corrupt);
      }
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
    const auto& tensor = std::get<TensorView>(sample.inputs[i]);
    const std::size_t bytes = tensor.bytes.size() / static_cast<std::size_t>(sample.rows);
    const auto part = tensor.bytes.subspan(bytes * static_cast<std::size_t>(row), bytes);
    whole = mix(whole, tensor.type == DataType::fp32 ? digest_floats(part) : digest_bytes(part));
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
