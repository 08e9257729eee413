// SPDX-License-Identifier: Apache-2.0
// What the tests of the server ask in place of an engine: models that compute in memory, at once, on a
// thread of their own, or when the test says so.
// Thread-safe: FakeClient, FakeCatalog and Answer from any thread.
// Owns: pools, whose slots must all be back when a test ends.
#pragma once

#include "core/string_tensor.h"
#include "server/infer_service.h"
#include "server/model_catalog.h"
#include "server/shared_regions.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace takt::server_test {

constexpr auto kPatience = std::chrono::seconds(30);

inline bool wait_until(const std::function<bool()>& condition) {
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::yield();
  }
  return true;
}

// An engine whose models return their inputs, but for INT32, where two inputs become their sum and
// their difference.
class FakeClient final : public InferenceClient {
 public:
  enum class Mode : std::uint8_t { at_once, on_its_thread, held };
  struct Seen {
    ModelId model;
    PriorityClass priority;
    TimePoint deadline;
    std::int64_t rows;
    std::vector<Shape> shapes;
    bool aligned;  // every input lies on 64 bytes
  };

  explicit FakeClient(std::shared_ptr<SlotPool> outputs)
      : outputs_(std::move(outputs)), thread_([this] { serve(); }) {}
  ~FakeClient() override {
    {
      const std::scoped_lock lock(mutex_);
      ending_ = true;
    }
    changed_.notify_all();
    thread_.join();
    EXPECT_TRUE(waiting_.empty()) << "requests were left without an answer";
  }

  void set_mode(Mode mode) {
    const std::scoped_lock lock(mutex_);
    mode_ = mode;
  }
  // From now on a withdrawn request runs to its end, as one that an instance has already.
  void run_to_the_end() {
    const std::scoped_lock lock(mutex_);
    withdrawable_ = false;
  }
  // Every further request is answered with this.
  void fail_with(Error error) {
    const std::scoped_lock lock(mutex_);
    failure_ = std::move(error);
  }

  [[nodiscard]] std::size_t held() const {
    const std::scoped_lock lock(mutex_);
    return waiting_.size();
  }
  // Answers the n-th of those that are held, the one that was asked first being 0.
  void release(std::size_t place = 0) {
    Waiting chosen;
    {
      const std::scoped_lock lock(mutex_);
      ASSERT_LT(place, waiting_.size());
      const auto at = waiting_.begin() + static_cast<std::ptrdiff_t>(place);
      chosen = std::move(*at);
      waiting_.erase(at);
    }
    answer(std::move(chosen));
  }
  [[nodiscard]] std::vector<Seen> seen() const {
    const std::scoped_lock lock(mutex_);
    return seen_;
  }
  [[nodiscard]] Seen last() const { return seen().at(seen().size() - 1); }
  [[nodiscard]] std::size_t cancels() const {
    const std::scoped_lock lock(mutex_);
    return cancels_;
  }

  [[nodiscard]] Result<ModelInfo> find(std::string_view /*model*/,
                                       std::optional<std::int64_t> /*version*/) const override {
    return fail(ErrorKind::internal, "the server asks its catalog");
  }
  RequestId submit(InferRequest request, InferCompletion done) override {
    std::unique_lock lock(mutex_);
    const RequestId id{++last_id_};
    note(request);
    const bool more_come = request.more_come;
    burst_.push_back({id, std::move(request), std::move(done)});
    lock.unlock();
    if (!more_come) flush({});
    return id;
  }
  // A front end that forgets it gets no answer.
  void flush(Duration /*spare*/) override {
    std::unique_lock lock(mutex_);
    std::vector<Waiting> burst = std::exchange(burst_, {});
    const bool at_once = mode_ == Mode::at_once;
    if (!at_once) std::ranges::move(burst, std::back_inserter(waiting_));
    lock.unlock();
    if (!at_once) return changed_.notify_all();
    for (Waiting& each : burst) answer(std::move(each));
  }
  void cancel(RequestId request) override {
    flush({});
    std::unique_lock lock(mutex_);
    ++cancels_;
    const auto found = std::ranges::find(waiting_, request, &Waiting::id);
    if (!withdrawable_ || found == waiting_.end()) return;
    Waiting withdrawn = std::move(*found);
    waiting_.erase(found);
    lock.unlock();
    withdrawn.request = {};
    withdrawn.done(fail(ErrorKind::cancelled, "withdrawn"));
  }
  void expect_arrivals(ModelId /*model*/, FlowId /*flow*/, Duration /*min_interval*/,
                       Duration /*deadline*/, int /*rows*/) override {}
  [[nodiscard]] Duration expected_p99(ModelId /*model*/, int /*rows*/) const override { return {}; }

 private:
  struct Waiting {
    RequestId id;
    InferRequest request;
    InferCompletion done;
  };

  void note(const InferRequest& request) {
    Seen seen{request.model, request.priority, request.deadline, request.rows, {}, true};
    for (const InputData& input : request.inputs) {
      const auto& tensor = std::get<TensorView>(input);
      seen.shapes.push_back(tensor.shape);
      seen.aligned &= reinterpret_cast<std::uintptr_t>(tensor.bytes.data()) % 64 == 0;
    }
    seen_.push_back(std::move(seen));
  }

  void serve() {
    std::unique_lock lock(mutex_);
    while (true) {
      changed_.wait(
          lock, [this] { return ending_ || (mode_ == Mode::on_its_thread && !waiting_.empty()); });
      if (ending_) return;
      Waiting next = std::move(waiting_.front());
      waiting_.pop_front();
      lock.unlock();
      answer(std::move(next));
      lock.lock();
    }
  }

  void answer(Waiting waiting) {
    Result<InferResult> result = compute(waiting.request);
    waiting.request = {};  // as in the engine, its slots are back before its answer is given
    waiting.done(std::move(result));
  }

  Result<InferResult> compute(const InferRequest& request) {
    {
      const std::scoped_lock lock(mutex_);
      if (failure_) return std::unexpected(*failure_);
    }
    std::size_t bytes = 0;
    for (const InputData& input : request.inputs) {
      const auto& tensor = std::get<TensorView>(input);
      if (tensor.bytes.data() == nullptr) return fail(ErrorKind::invalid_input, "got no data");
      bytes += tensor.bytes.size();
    }
    InferResult result;
    Result<Slot> slot = outputs_->acquire(bytes);
    if (!slot) return std::unexpected(slot.error());
    std::span<std::byte> room = slot->bytes();
    for (const InputData& input : request.inputs) {
      const auto& tensor = std::get<TensorView>(input);
      std::memcpy(room.data(), tensor.bytes.data(), tensor.bytes.size());
      result.outputs.push_back({tensor.type, tensor.shape, room.first(tensor.bytes.size())});
      room = room.subspan(tensor.bytes.size());
    }
    if (request.inputs.size() == 2) add_and_subtract(result, slot->bytes());
    result.hold = std::move(*slot);
    return result;
  }

  static void add_and_subtract(const InferResult& result, std::span<std::byte> bytes) {
    const std::size_t half = result.outputs[0].bytes.size();
    for (std::size_t at = 0; at < half; at += sizeof(std::int32_t)) {
      std::int32_t left = 0;
      std::int32_t right = 0;
      std::memcpy(&left, &bytes[at], sizeof(left));
      std::memcpy(&right, &bytes[half + at], sizeof(right));
      const std::int32_t sum = left + right;
      const std::int32_t difference = left - right;
      std::memcpy(&bytes[at], &sum, sizeof(sum));
      std::memcpy(&bytes[half + at], &difference, sizeof(difference));
    }
  }

  const std::shared_ptr<SlotPool> outputs_;
  mutable std::mutex mutex_;  // guards all that follows, but for the thread
  std::condition_variable changed_;
  Mode mode_ = Mode::at_once;
  bool withdrawable_ = true;
  bool ending_ = false;
  std::optional<Error> failure_;
  std::uint64_t last_id_ = 0;
  std::size_t cancels_ = 0;
  std::vector<Seen> seen_;
  std::vector<Waiting> burst_;  // until flush()
  std::deque<Waiting> waiting_;
  std::thread thread_;
};

class FakeCatalog final : public server::ModelCatalog {
 public:
  ModelId add(const std::string& name, std::int64_t version, Signature signature) {
    auto card = std::make_shared<server::ModelCard>();
    card->info = {ModelId{static_cast<std::uint32_t>(cards_.size() + 1)}, name, version,
                  std::move(signature)};
    card->config.name = name;
    card->config.max_batch_size = card->info.signature.batch_max;
    card->config.inputs = configured(card->info.signature.inputs);
    card->config.outputs = configured(card->info.signature.outputs);
    card->backend = "openvino";
    for (const auto& other : cards_) {
      if (other->info.name == name) card->versions = other->versions;
    }
    card->versions.push_back(std::to_string(version));
    for (const auto& other : cards_) {
      if (other->info.name == name) other->versions = card->versions;
    }
    cards_.push_back(card);
    return card->info.id;
  }
  server::ModelCard& card(std::string_view name) {
    return **std::ranges::find_if(cards_, [&](const auto& c) { return c->info.name == name; });
  }

  [[nodiscard]] server::ApiResult<server::ModelCardPtr> find(
      std::string_view model, std::string_view version) const override {
    server::ModelCardPtr newest;
    for (const auto& card : cards_) {
      if (card->info.name != model) continue;
      if (!version.empty() && std::to_string(card->info.version) != version) continue;
      if (newest == nullptr || card->info.version > newest->info.version) newest = card;
    }
    if (newest != nullptr) return newest;
    return server::refuse(server::ApiCode::not_found,
                          "Request for unknown model: '" + std::string(model) + "' is not found");
  }
  [[nodiscard]] std::vector<server::ModelCardPtr> serving() const override {
    return {cards_.begin(), cards_.end()};
  }
  [[nodiscard]] bool ready() const override { return ready_; }
  [[nodiscard]] std::optional<engine::ModelStatistics> statistics(ModelId model) const override {
    const auto found = statistics_.find(model.value);
    return found == statistics_.end() ? std::nullopt : std::optional(found->second);
  }
  [[nodiscard]] std::vector<server::IndexEntry> index(bool ready_only) const override {
    asked_ready_only_ = ready_only;
    return index_;
  }
  [[nodiscard]] server::ApiResult<void> load(std::string_view model,
                                             const server::LoadOverrides& overrides) override {
    loaded_ = model;
    overrides_ = overrides;
    return control_;
  }
  [[nodiscard]] server::ApiResult<void> unload(std::string_view model) override {
    unloaded_ = model;
    return control_;
  }

  // Set and read while nothing is asked.
  bool ready_ = true;
  std::map<std::uint32_t, engine::ModelStatistics> statistics_;
  std::vector<server::IndexEntry> index_;
  server::ApiResult<void> control_;  // what loads and unloads end with
  std::string loaded_;
  server::LoadOverrides overrides_;
  std::string unloaded_;
  mutable bool asked_ready_only_ = false;

 private:
  static std::vector<repository::TensorConfig> configured(const std::vector<TensorSpec>& specs) {
    std::vector<repository::TensorConfig> made;
    for (const TensorSpec& spec : specs) made.push_back({spec.name, spec.type, spec.shape});
    return made;
  }
  std::vector<std::shared_ptr<server::ModelCard>> cards_;
};

// One answer to wait for. A second one is a failure of the test.
class Answer {
 public:
  server::InferService::Completion completion() {
    return [state = state_](server::ApiResult<server::InferAnswer> answer) {
      const std::scoped_lock lock(state->mutex);
      EXPECT_FALSE(state->answer) << "answered twice";
      state->answer = std::move(answer);
      state->came.notify_all();
    };
  }
  [[nodiscard]] bool given() const {
    const std::scoped_lock lock(state_->mutex);
    return state_->answer.has_value();
  }
  server::ApiResult<server::InferAnswer>& wait() {
    std::unique_lock lock(state_->mutex);
    if (state_->came.wait_for(lock, kPatience, [this] { return state_->answer.has_value(); })) {
      return *state_->answer;
    }
    ADD_FAILURE() << "no answer came";
    return state_->none;
  }

 private:
  struct State {
    std::mutex mutex;
    std::condition_variable came;
    std::optional<server::ApiResult<server::InferAnswer>> answer;
    server::ApiResult<server::InferAnswer> none =
        server::refuse(server::ApiCode::internal, "no answer came");
  };
  std::shared_ptr<State> state_ = std::make_shared<State>();
};

// The bytes of values, row-major.
template <typename T>
std::vector<std::byte> bytes_of(const std::vector<T>& values) {
  std::vector<std::byte> bytes(values.size() * sizeof(T));
  if (!values.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}
template <typename T>
std::vector<T> values_of(std::span<const std::byte> bytes) {
  std::vector<T> values(bytes.size() / sizeof(T));
  if (!values.empty()) std::memcpy(values.data(), bytes.data(), values.size() * sizeof(T));
  return values;
}
inline std::vector<std::byte> bytes_of_strings(const std::vector<std::string>& strings) {
  std::vector<std::byte> bytes;
  for (const std::string& text : strings) {
    const std::size_t used = bytes.size();
    bytes.resize(used + sizeof(std::uint32_t) + text.size());
    EXPECT_TRUE(put_string(bytes, used, text));
  }
  return bytes;
}
inline std::vector<std::string> strings_of(std::span<const std::byte> bytes) {
  std::vector<std::string> strings;
  StringElements elements(bytes);
  while (const auto element = elements.next()) strings.emplace_back(*element);
  EXPECT_TRUE(elements.ok());
  return strings;
}

// Models as the protocol's clients know them from their own tests, and one with every datatype.
class ServerTest : public ::testing::Test {
 protected:
  ServerTest() {
    const std::array classes{SizeClass{4096, 2048}, SizeClass{std::size_t{1} << 20, 16},
                             SizeClass{std::size_t{16} << 20, 2}};
    inputs_ = *SlotPool::create("test inputs", classes);
    outputs_ = *SlotPool::create("test outputs", classes);
    client_ = std::make_unique<FakeClient>(outputs_);
    const auto pair = [](const char* first, const char* second, DataType type, Shape shape) {
      return std::vector<TensorSpec>{{first, type, shape}, {second, type, shape}};
    };
    const Signature simple{pair("INPUT0", "INPUT1", DataType::int32, {16}),
                           pair("OUTPUT0", "OUTPUT1", DataType::int32, {16}), 8};
    catalog_.add("simple", 1, simple);
    catalog_.add("simple", 3, simple);
    add_identity("identity_fp32", DataType::fp32, {-1}, 0);
    add_identity("identity_bytes", DataType::bytes, {-1}, 8);
    add_identity("scores", DataType::fp32, {-1}, 8);
    add_every_type();
    start();
  }
  ~ServerTest() override {
    EXPECT_EQ(service_->in_flight(), 0);
    EXPECT_EQ(inputs_->in_use(), 0) << "an input's slot was kept";
    EXPECT_EQ(outputs_->in_use(), 0) << "an output's slot was kept";
  }

  void start(server::InferOptions options = {}) {
    service_ = std::make_unique<server::InferService>(*client_, catalog_, regions_, inputs_, clock_,
                                                      std::move(options));
  }
  void add_identity(const std::string& name, DataType type, const Shape& shape, int batch_max) {
    catalog_.add(name, 1, {{{"INPUT0", type, shape}}, {{"OUTPUT0", type, shape}}, batch_max});
  }

  ManualClock clock_{TimePoint(std::chrono::seconds(1000))};
  std::shared_ptr<SlotPool> inputs_;
  std::shared_ptr<SlotPool> outputs_;
  std::unique_ptr<FakeClient> client_;
  FakeCatalog catalog_;
  server::SharedRegions regions_;
  std::unique_ptr<server::InferService> service_;

 private:
  // "every_type": input and output "FP32" of FP32[-1], and so on.
  void add_every_type() {
    Signature signature;
    for (int i = 0; i <= static_cast<int>(DataType::bytes); ++i) {
      const auto type = static_cast<DataType>(i);
      signature.inputs.push_back({std::string(takt::to_string(type)), type, {-1}});
    }
    signature.outputs = signature.inputs;
    catalog_.add("every_type", 1, std::move(signature));
  }
};

}  // namespace takt::server_test
