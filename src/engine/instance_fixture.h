// SPDX-License-Identifier: Apache-2.0
// Instances whose batches end when and how a test says, on the test's threads.
// Thread-safe: Stage from any thread; the instances as core/inference.h says.
// Owns: Stage shares what it knows with its instances and may outlive them.
#pragma once

#include "core/model_runtime.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

namespace takt::engine_test {

inline constexpr auto kPatience = std::chrono::seconds(20);  // far beyond what a busy machine takes

// What every test instance computes: output = 2 * input + 1, for each float of each row.
inline void compute(BatchView batch) {
  for (const Sample& sample : batch) {
    const auto& input = std::get<TensorView>(sample.inputs[0]);
    OutputBuffer& output = sample.outputs[0];
    output.shape = input.shape;
    output.bytes_used = input.bytes.size();
    const auto in = input.as<float>();
    for (std::size_t i = 0; i < in.size(); ++i) {
      const float value = 2 * in[i] + 1;
      std::memcpy(output.room.data() + i * sizeof(float), &value, sizeof(float));
    }
  }
}

// The batches of one model's instances, as the test sees them.
class Stage {
 public:
  struct Run {
    BatchView batch;
    BatchCompletion done;
    std::vector<float> firsts;  // first float of each sample's input, read when the batch came

    [[nodiscard]] int rows() const {
      int sum = 0;
      for (const Sample& sample : batch) sum += static_cast<int>(sample.rows);
      return sum;
    }
    void finish(BatchTimes times = {}) {
      compute(batch);
      std::exchange(done, nullptr)({{}, times});
    }
    void fail(ErrorKind kind) {
      std::exchange(done, nullptr)({takt::fail(kind, "as the test says"), {}});
    }
  };

  // The next batch that an instance took; nullopt when none comes within the patience.
  std::optional<Run> next() {
    std::unique_lock lock(mutex_);
    if (!came_.wait_for(lock, kPatience, [this] { return !runs_.empty(); })) return std::nullopt;
    Run run = std::move(runs_.front());
    runs_.pop_front();
    return run;
  }
  [[nodiscard]] bool idle() const {
    const std::scoped_lock lock(mutex_);
    return runs_.empty();
  }
  // The next submit fails at once.
  void refuse_next(ErrorKind kind) {
    const std::scoped_lock lock(mutex_);
    refusals_.push_back(kind);
  }
  [[nodiscard]] int instances() const {
    const std::scoped_lock lock(mutex_);
    return instances_;
  }

  Result<void> take(BatchView batch, BatchCompletion done) {
    const std::scoped_lock lock(mutex_);
    if (!refusals_.empty()) {
      const ErrorKind kind = refusals_.front();
      refusals_.pop_front();
      return takt::fail(kind, "refused as the test says");
    }
    Run run{batch, std::move(done), {}};
    for (const Sample& sample : batch) {
      const auto* tensor = std::get_if<TensorView>(&sample.inputs[0]);
      run.firsts.push_back(tensor != nullptr ? tensor->as<float>()[0] : 0.0F);
    }
    runs_.push_back(std::move(run));
    came_.notify_all();
    return {};
  }
  void count_instance(int change) {
    const std::scoped_lock lock(mutex_);
    instances_ += change;
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable came_;
  std::deque<Run> runs_;
  std::deque<ErrorKind> refusals_;
  int instances_ = 0;  // alive
};

class StagedInstance final : public Instance {
 public:
  explicit StagedInstance(std::shared_ptr<Stage> stage) : stage_(std::move(stage)) {
    stage_->count_instance(1);
  }
  ~StagedInstance() override { stage_->count_instance(-1); }
  Result<void> submit(BatchView batch, BatchCompletion done) override {
    return stage_->take(batch, std::move(done));
  }

 private:
  const std::shared_ptr<Stage> stage_;
};

// Computes before submit returns.
class InstantInstance final : public Instance {
 public:
  Result<void> submit(BatchView batch, BatchCompletion done) override {
    compute(batch);
    done({{}, {}});
    return {};
  }
};

inline Signature signature(int batch_max) {
  return {.inputs = {{"x", DataType::fp32, {4}}},
          .outputs = {{"y", DataType::fp32, {4}}},
          .batch_max = batch_max};
}

// A model with one input x and one output y of four floats a row.
inline ModelRuntime model_runtime(std::string name, std::int64_t version, int batch_max) {
  ModelRuntime runtime;
  runtime.name = std::move(name);
  runtime.version = version;
  runtime.backend = "test";
  runtime.device = "cpu";
  runtime.signature = signature(batch_max);
  runtime.output_bytes_max = {4 * sizeof(float)};
  return runtime;
}

inline ModelRuntime staged_model(const std::shared_ptr<Stage>& stage, int instances = 1,
                                 int batch_max = 8) {
  ModelRuntime runtime = model_runtime("detector", 1, batch_max);
  for (int i = 0; i < instances; ++i)
    runtime.instances.push_back(std::make_unique<StagedInstance>(stage));
  return runtime;
}

}  // namespace takt::engine_test
