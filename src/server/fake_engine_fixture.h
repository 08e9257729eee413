// SPDX-License-Identifier: Apache-2.0
// For tests of front ends: an engine in memory with two models, answering at once or when it is told,
// and their catalog.
// Thread-safe: every member from any thread.
// Owns: the pool of its outputs and the requests that wait.
#pragma once

#include "engine/inference_client.h"
#include "memory/slot_pool.h"
#include "server/model_catalog.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace takt::server {

// Longer than anything takes here; a test that waits for so long has failed.
inline constexpr auto kWaitMax = std::chrono::seconds(30);

inline ModelCardPtr make_card(std::uint32_t id, const std::string& name, Signature signature) {
  ModelCard card;
  card.info = {ModelId{id}, name, 1, std::move(signature)};
  card.backend = "simulated";
  card.versions = {"1"};
  card.config.name = name;
  card.config.max_batch_size = card.info.signature.batch_max;
  for (const TensorSpec& spec : card.info.signature.inputs) {
    card.config.inputs.push_back({spec.name, spec.type, spec.shape});
  }
  for (const TensorSpec& spec : card.info.signature.outputs) {
    card.config.outputs.push_back({spec.name, spec.type, spec.shape});
  }
  return std::make_shared<const ModelCard>(std::move(card));
}

// "addsub": OUTPUT0 = INPUT0 + INPUT1, OUTPUT1 = INPUT0 - INPUT1, each INT32 [4], in batches of 8.
inline ModelCardPtr addsub_card() {
  const auto tensor = [](const char* name) { return TensorSpec{name, DataType::int32, {4}}; };
  return make_card(
      1, "addsub",
      {{tensor("INPUT0"), tensor("INPUT1")}, {tensor("OUTPUT0"), tensor("OUTPUT1")}, 8});
}

// "echo": y = x, bytes of any number.
inline ModelCardPtr echo_card() {
  const auto tensor = [](const char* name) { return TensorSpec{name, DataType::uint8, {-1}}; };
  return make_card(2, "echo", {{tensor("x")}, {tensor("y")}, 0});
}

class FakeEngine final : public InferenceClient {
 public:
  std::shared_ptr<SlotPool> outputs =
      SlotPool::create("fake-outputs", std::array{SizeClass{4 << 20, 256}}).value();

  // From now on requests wait for answer().
  void hold() {
    const std::scoped_lock lock(mutex_);
    held_ = true;
  }

  // Requests wait where they come, in submit(), until `gate` opens.
  void block(std::shared_future<void> gate) {
    const std::scoped_lock lock(mutex_);
    gate_ = std::move(gate);
  }

  // How many requests had come at the count-th flush(), which it waits for; 0: there was none.
  [[nodiscard]] std::size_t submitted_at_flush(std::size_t count) {
    std::unique_lock lock(mutex_);
    const bool came = changed_.wait_for(lock, kWaitMax, [&] { return flushes_.size() >= count; });
    return came ? flushes_[count - 1] : 0;
  }
  [[nodiscard]] std::size_t flushes() {
    const std::scoped_lock lock(mutex_);
    return flushes_.size();
  }

  // Waits until `count` requests have come since the beginning.
  [[nodiscard]] bool wait_for(std::size_t count) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, kWaitMax, [&] { return requests_.size() >= count; });
  }
  [[nodiscard]] bool wait_withdrawn(std::size_t count) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, kWaitMax, [&] { return withdrawn_ >= count; });
  }
  [[nodiscard]] std::size_t submitted() {
    const std::scoped_lock lock(mutex_);
    return requests_.size();
  }
  [[nodiscard]] TimePoint deadline_of(std::size_t index) {
    const std::scoped_lock lock(mutex_);
    return requests_.at(index).request.deadline;
  }

  // Answers the request that came as the index-th, once.
  void answer(std::size_t index) {
    finish(index, [this](const InferRequest& request) { return run(request); });
  }
  void fail_with(std::size_t index, Error error) {
    finish(index, [&](const InferRequest& /*request*/) -> Result<InferResult> {
      return std::unexpected(error);
    });
  }

  [[nodiscard]] Result<ModelInfo> find(std::string_view model,
                                       std::optional<std::int64_t> /*version*/) const override {
    return fail(ErrorKind::unavailable, "not asked in tests: " + std::string(model));
  }
  RequestId submit(InferRequest request, InferCompletion done) override {
    std::size_t index = 0;
    bool now = false;
    std::shared_future<void> gate;
    {
      const std::scoped_lock lock(mutex_);
      index = requests_.size();
      requests_.push_back({std::move(request), std::move(done), false});
      now = !held_;
      gate = gate_;
    }
    changed_.notify_all();
    if (gate.valid()) gate.wait_for(kWaitMax);
    if (now) answer(index);
    return RequestId{index};
  }
  void flush(Duration /*spare*/) override {
    {
      const std::scoped_lock lock(mutex_);
      flushes_.push_back(requests_.size());
    }
    changed_.notify_all();
  }
  void cancel(RequestId request) override {
    const bool was_waiting = finish(request.value, [](const InferRequest& /*request*/) {
      return Result<InferResult>(fail(ErrorKind::cancelled, "withdrawn by its client"));
    });
    if (!was_waiting) return;
    {
      const std::scoped_lock lock(mutex_);
      ++withdrawn_;
    }
    changed_.notify_all();
  }
  void expect_arrivals(ModelId /*model*/, FlowId /*flow*/, Duration /*min_interval*/,
                       Duration /*deadline*/, int /*rows*/) override {}
  [[nodiscard]] Duration expected_p99(ModelId /*model*/, int /*rows*/) const override { return {}; }

 private:
  struct Waiting {
    InferRequest request;
    InferCompletion done;
    bool answered = false;
  };

  bool finish(std::size_t index,
              const std::function<Result<InferResult>(const InferRequest&)>& make) {
    InferRequest request;
    InferCompletion done;
    {
      const std::scoped_lock lock(mutex_);
      Waiting& waiting = requests_.at(index);
      if (std::exchange(waiting.answered, true)) return false;
      done = std::move(waiting.done);
      request = std::move(waiting.request);
      waiting.request.deadline = request.deadline;
    }
    done(make(request));
    return true;
  }

  Result<InferResult> run(const InferRequest& request) {
    InferResult result;
    const auto& first = std::get<TensorView>(request.inputs.at(0));
    auto slot = outputs->acquire(2 * first.bytes.size() + 1);
    if (!slot) return std::unexpected(slot.error());
    const std::span<std::byte> room = slot->bytes();
    if (request.model == ModelId{2}) {
      std::ranges::copy(first.bytes, room.begin());
      result.outputs.push_back({first.type, first.shape, room.first(first.bytes.size())});
    } else {
      add_and_subtract(first, std::get<TensorView>(request.inputs.at(1)), room, result);
    }
    result.hold = std::move(*slot);
    return result;
  }

  static void add_and_subtract(const TensorView& a, const TensorView& b, std::span<std::byte> room,
                               InferResult& result) {
    const std::size_t bytes = a.bytes.size();
    auto* const numbers = reinterpret_cast<std::int32_t*>(room.data());
    const std::size_t count = bytes / sizeof(std::int32_t);
    for (std::size_t i = 0; i < count; ++i) {
      numbers[i] = a.as<std::int32_t>()[i] + b.as<std::int32_t>()[i];
      numbers[count + i] = a.as<std::int32_t>()[i] - b.as<std::int32_t>()[i];
    }
    result.outputs.push_back({a.type, a.shape, room.first(bytes)});
    result.outputs.push_back({a.type, a.shape, room.subspan(bytes, bytes)});
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  // Guarded by mutex_:
  std::deque<Waiting> requests_;  // all that came
  std::size_t withdrawn_ = 0;
  bool held_ = false;
  std::shared_future<void> gate_;
  std::vector<std::size_t> flushes_;  // how many requests had come
};

class FakeCatalog final : public ModelCatalog {
 public:
  std::vector<ModelCardPtr> cards{addsub_card(), echo_card()};
  std::atomic<bool> is_ready{true};
  std::function<void()> on_load = [] {};
  std::map<std::string, LoadOverrides> loaded;
  std::vector<std::string> unloaded;

  [[nodiscard]] ApiResult<ModelCardPtr> find(std::string_view model,
                                             std::string_view version) const override {
    if (version == "x") return refuse(ApiCode::invalid_argument, "version 'x' is no number");
    for (const ModelCardPtr& card : cards) {
      if (card->info.name == model && (version.empty() || version == "1")) return card;
    }
    return refuse(ApiCode::not_found, "no model '" + std::string(model) + "'");
  }
  [[nodiscard]] std::vector<ModelCardPtr> serving() const override { return cards; }
  [[nodiscard]] bool ready() const override { return is_ready; }
  [[nodiscard]] std::optional<engine::ModelStatistics> statistics(ModelId model) const override {
    engine::ModelStatistics statistics;
    statistics.last_inference = std::chrono::milliseconds(1700000000000);
    statistics.inferences = std::uint64_t{10} * model.value;
    statistics.executions = 5;
    statistics.success = {3, std::chrono::microseconds(30)};
    statistics.fail = {1, std::chrono::microseconds(1)};
    statistics.cancelled = {1, std::chrono::microseconds(2)};
    statistics.refused = {1, std::chrono::microseconds(4)};
    statistics.queue = {3, std::chrono::microseconds(9)};
    statistics.batches = {{4, {1, std::chrono::microseconds(1)}, {1, Duration(7)}, {}}};
    return statistics;
  }
  [[nodiscard]] std::vector<IndexEntry> index(bool ready_only) const override {
    std::vector<IndexEntry> entries{{"addsub", "1", "READY", ""}};
    if (!ready_only) entries.push_back({"broken", "", "UNAVAILABLE", "no model.onnx\xff"});
    return entries;
  }
  [[nodiscard]] ApiResult<void> load(std::string_view model,
                                     const LoadOverrides& overrides) override {
    on_load();
    if (model == "broken") return refuse(ApiCode::invalid_argument, "no model.onnx");
    loaded[std::string(model)] = overrides;
    return {};
  }
  [[nodiscard]] ApiResult<void> unload(std::string_view model) override {
    if (model != "addsub") return refuse(ApiCode::not_found, "no model");
    unloaded.emplace_back(model);
    return {};
  }
};

}  // namespace takt::server
