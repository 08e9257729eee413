// SPDX-License-Identifier: Apache-2.0
#include "worker/profile_run.h"

#include "core/string_tensor.h"
#include "worker/batch_run.h"

#include <algorithm>
#include <list>
#include <utility>

namespace takt::worker {
namespace {

constexpr int kRunsMax = 200;

// Made-up inputs of one request and the memory behind them.
class MadeUpInputs {
 public:
  MadeUpInputs(const Signature& signature, std::span<const InputPlan> plans) {
    for (const TensorSpec& spec : signature.inputs) {
      const auto plan = std::ranges::find(plans, spec.name, &InputPlan::name);
      if (plan != plans.end() && plan->image) {
        add_images(spec, *plan->image);
      } else {
        add_tensor(spec, signature.batch_max > 0);
      }
    }
  }
  [[nodiscard]] std::span<const InputData> inputs() const { return inputs_; }

 private:
  void add_images(const TensorSpec& spec, const ImagePreprocess& preprocess) {
    const Shape& shape = spec.shape;
    const std::size_t rank = shape.size();
    const std::size_t channel_axis = preprocess.channels_last ? rank - 1 : rank - 3;
    const std::size_t height_axis = preprocess.channels_last ? rank - 3 : rank - 2;
    const auto side = [](std::int64_t dim) { return static_cast<int>(dim > 0 ? dim : 64); };
    const int count = std::max(1, side(shape[channel_axis]) / channel_count(preprocess.color));
    ImageStack stack;
    for (int i = 0; i < count; ++i) {
      // Mid grey: neither all zeros, which some kernels skip, nor saturated.
      images_.emplace_back(side(shape[height_axis + 1]), side(shape[height_axis]), preprocess.color,
                           std::uint8_t{128});
      stack.images.push_back(images_.back().view());
    }
    inputs_.emplace_back(std::move(stack));
  }

  void add_tensor(const TensorSpec& spec, bool batched) {
    Shape shape = spec.shape;
    for (std::int64_t& dim : shape) dim = dim < 0 ? 1 : dim;
    if (batched) shape.insert(shape.begin(), 1);
    if (spec.type == DataType::bytes) {
      tensors_.push_back(zeros(element_count(shape).value_or(0)));
    } else {
      tensors_.emplace_back(byte_size(spec.type, shape).value_or(0));
    }
    inputs_.emplace_back(TensorView{spec.type, shape, tensors_.back()});
  }

  // Strings that a model which reads numbers takes too.
  static std::vector<std::byte> zeros(std::size_t count) {
    constexpr std::string_view kZero = "0";
    std::vector<std::byte> strings(count * (kStringLengthBytes + kZero.size()));
    std::size_t used = 0;
    for (std::size_t i = 0; i < count; ++i) used = put_string(strings, used, kZero).value_or(used);
    return strings;
  }

  std::list<Image> images_;  // views stay valid while they grow
  std::list<std::vector<std::byte>> tensors_;
  std::vector<InputData> inputs_;
};

Duration quantile(std::vector<Duration>& values, double share) {
  const auto place = static_cast<std::ptrdiff_t>(share * static_cast<double>(values.size() - 1));
  std::ranges::nth_element(values, values.begin() + place);
  return values[static_cast<std::size_t>(place)];
}

// One run to warm up, then as many as fit into `time_max`; without time the first one must do.
Result<LatencyPoint> measure(Instance& instance, BatchRun& run, int batch, Duration time_max) {
  std::vector<Duration> times;
  const auto run_once = [&]() -> Result<Duration> {
    const Result<BatchTimes> ran = run.run(instance);
    if (!ran) return std::unexpected(ran.error());
    times.push_back(ran->exec_end - ran->exec_start);
    return times.back();
  };
  if (const Result<Duration> warm = run_once(); !warm) return std::unexpected(warm.error());
  if (time_max > Duration{}) times.clear();
  for (Duration spent{}; spent < time_max && times.size() < kRunsMax;) {
    const Result<Duration> took = run_once();
    if (!took) return std::unexpected(took.error());
    spent += std::max(*took, Duration{1});
  }
  const Duration p50 = quantile(times, 0.5);
  return LatencyPoint{.batch = batch, .p50 = p50, .p99 = std::ranges::max(times)};
}

// A size that wasn't run. It is promised at most its share of rows more than the largest before, and
// hoped to go on as the last two sizes rose: so it will be tried where that is worth it.
LatencyPoint unmeasured(const std::vector<LatencyPoint>& measured, int batch) {
  const LatencyPoint& last = measured.back();
  const LatencyPoint& before = measured[measured.size() - 2];
  const Duration rise = std::max(Duration{}, last.p50 - before.p50);
  const Duration p50 = last.p50 + rise * (batch - last.batch) / (last.batch - before.batch);
  return {.batch = batch,
          .p50 = std::min(p50, last.p50 * batch / last.batch),
          .p99 = last.p99 * batch / last.batch};
}

}  // namespace

std::vector<int> profiled_batches(int batch_max) {
  std::vector<int> batches{1};
  while (batches.back() * 2 <= batch_max) batches.push_back(batches.back() * 2);
  if (batches.back() < batch_max) batches.push_back(batch_max);
  return batches;
}

Result<std::vector<LatencyPoint>> measure_profile(Instance& instance, const Signature& signature,
                                                  std::span<const InputPlan> plans,
                                                  std::span<const std::size_t> output_bytes_per_row,
                                                  Duration time_max) {
  const MadeUpInputs request(signature, plans);
  const std::vector<int> batches = profiled_batches(signature.batch_max);
  const Duration share = time_max / static_cast<std::int64_t>(batches.size());
  std::vector<LatencyPoint> profile;
  Duration left = time_max;
  for (const int batch : batches) {
    // The first two sizes are run in any case: they are what must be warm before the first frame.
    if (profile.size() >= 2 && profile.back().p50 * (2 * batch) / profile.back().batch > left) {
      profile.push_back(unmeasured(profile, batch));
      continue;
    }
    BatchRun run(signature, output_bytes_per_row);
    for (int i = 0; i < batch; ++i) run.add(request.inputs(), 1);
    const SystemClock clock;
    const TimePoint start = clock.now();
    Result<LatencyPoint> point = measure(instance, run, batch, share);
    if (!point) return std::unexpected(std::move(point).error());
    left -= clock.now() - start;
    profile.push_back(*point);
  }
  return profile;
}

}  // namespace takt::worker
