// SPDX-License-Identifier: Apache-2.0
// Many threads submit, withdraw, add, remove and stop at once; instances fail at random. What must
// hold: every request is answered exactly once, every slot comes back, every instance is destroyed.
#include "engine/engine_fixture.h"

#include <atomic>
#include <random>
#include <thread>

namespace takt::engine_test {
namespace {

// Runs batches on a thread of its own, with failures drawn from a seed.
class RandomInstance final : public Instance {
 public:
  RandomInstance(unsigned seed, std::shared_ptr<std::atomic<int>> alive)
      : random_(seed), alive_(std::move(alive)), thread_([this] { serve(); }) {
    ++*alive_;
  }
  ~RandomInstance() override {
    {
      const std::scoped_lock lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_one();
    thread_.join();
    --*alive_;
  }
  Result<void> submit(BatchView batch, BatchCompletion done) override {
    const std::scoped_lock lock(mutex_);
    EXPECT_FALSE(done_) << "a second batch before the first has ended";
    if (random_() % 64 == 0) return fail(ErrorKind::out_of_memory, "drawn");
    batch_ = batch;
    done_ = std::move(done);
    changed_.notify_one();
    return {};
  }

 private:
  void serve() {
    std::unique_lock lock(mutex_);
    while (true) {
      changed_.wait(lock, [this] { return stopping_ || done_; });
      if (!done_) return;
      const auto draw = random_() % 32;
      const BatchView batch = batch_;
      BatchCompletion done = std::exchange(done_, nullptr);
      lock.unlock();
      BatchOutcome outcome{{}, {}};
      if (draw < 4) {
        constexpr std::array kKinds{ErrorKind::out_of_memory, ErrorKind::invalid_input,
                                    ErrorKind::internal, ErrorKind::device_poisoned};
        outcome.status = fail(kKinds[draw], "drawn");
      } else {
        compute(batch);
        if (draw == 4) batch[0].outputs[0].shape.clear();
      }
      done(std::move(outcome));
      done = nullptr;
      lock.lock();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::mt19937 random_;
  BatchView batch_;
  BatchCompletion done_;
  bool stopping_ = false;
  const std::shared_ptr<std::atomic<int>> alive_;
  std::thread thread_;
};

class EngineStress : public ::testing::Test {
 protected:
  ModelRuntime runtime(std::string name, std::int64_t version, int instances) {
    ModelRuntime made = model_runtime(std::move(name), version, 8);
    for (int i = 0; i < instances; ++i)
      made.instances.push_back(std::make_unique<RandomInstance>(++seed_, alive_));
    return made;
  }

  // Submits until told to stop, withdraws some, checks every result.
  void client(Engine& engine, unsigned seed, const std::atomic<bool>& go_on, int requests_max) {
    std::mt19937 random(seed);
    const SystemClock clock;
    for (int i = 0; i < requests_max && go_on; ++i) {
      const Result<ModelInfo> info = engine.find(random() % 2 == 0 ? "detector" : "matcher");
      if (!info) continue;
      const auto rows = static_cast<std::int64_t>(1 + random() % 3);
      const float value = static_cast<float>(random() % 1000);
      Result<Slot> slot = inputs_->acquire(1);
      if (!slot) {  // everything is under way: let it come back
        std::this_thread::yield();
        continue;
      }
      const std::size_t bytes = static_cast<std::size_t>(rows) * 4 * sizeof(float);
      for (std::size_t offset = 0; offset < bytes; offset += sizeof(float))
        std::memcpy(slot->bytes().data() + offset, &value, sizeof(float));
      InferRequest request;
      request.model = info->id;
      request.priority = static_cast<PriorityClass>(random() % 4);
      if (random() % 3 == 0)
        request.deadline = clock.now() + std::chrono::microseconds(random() % 3000);
      request.rows = rows;
      request.inputs.push_back(
          TensorView{DataType::fp32, Shape{rows, 4}, slot->bytes().first(bytes)});
      request.holds.push_back(std::move(*slot));
      ++submitted_;
      auto answers = std::make_shared<std::atomic<int>>(0);
      const RequestId id =
          engine.submit(std::move(request), [this, answers, value](Result<InferResult> result) {
            EXPECT_EQ(++*answers, 1) << "answered twice";
            if (result) {
              for (const float y : result->outputs[0].as<float>()) EXPECT_EQ(y, 2 * value + 1);
            }
            ++answered_;
          });
      if (random() % 4 == 0) engine.cancel(id);
    }
  }

  // Of both models: each answer by one outcome.
  static std::uint64_t outcomes(const Engine& engine) {
    std::uint64_t sum = 0;
    for (const ModelInfo& info : engine.models()) {
      const engine::ModelStatistics all = *engine.statistics(info.id);
      sum += all.success.count + all.fail.count + all.cancelled.count + all.refused.count;
      EXPECT_GE(all.inferences, all.success.count);
      EXPECT_GE(all.success.total, all.queue.total);
      std::uint64_t executions = 0;
      for (const engine::BatchStatistics& batch : all.batches)
        executions += batch.compute_infer.count;
      EXPECT_EQ(executions, all.executions);
    }
    return sum;
  }

  void expect_nothing_left() {
    EXPECT_EQ(submitted_, answered_);
    EXPECT_EQ(inputs_->in_use(), 0);
    EXPECT_EQ(*alive_, 0);
  }

  unsigned seed_ = 0;
  std::shared_ptr<std::atomic<int>> alive_ = std::make_shared<std::atomic<int>>(0);
  std::atomic<int> submitted_{0};
  std::atomic<int> answered_{0};
  const std::array<SizeClass, 1> classes_{SizeClass{4096, 256}};
  std::shared_ptr<SlotPool> inputs_ = *SlotPool::create("stress inputs", classes_);
};

TEST_F(EngineStress, EveryRequestIsAnsweredOnceAndEverySlotComesBack) {
  EngineOptions options;
  options.devices = {{"cpu", 2}};
  const std::unique_ptr<Engine> engine = *Engine::create(options);
  ASSERT_TRUE(engine->add_model(runtime("detector", 1, 2)));
  ASSERT_TRUE(engine->add_model(runtime("matcher", 1, 1), {.queue_depth_max = 16}));
  const std::atomic<bool> go_on{true};
  std::vector<std::thread> clients;
  clients.reserve(4);
  for (unsigned i = 0; i < 4; ++i)
    clients.emplace_back([&, i] { client(*engine, 100 + i, go_on, 1500); });
  for (std::thread& thread : clients) thread.join();
  engine->stop(std::chrono::seconds(20));
  expect_nothing_left();
  const EngineStats stats = engine->stats();
  EXPECT_EQ(stats.submitted, static_cast<std::uint64_t>(submitted_));
  EXPECT_EQ(stats.answered, stats.submitted);
  EXPECT_EQ(stats.slots_in_use, 0);
  EXPECT_EQ(stats.queue_depth, 0);
  EXPECT_EQ(stats.batches_running, 0);
  EXPECT_EQ(stats.instances_abandoned, 0);
  EXPECT_EQ(
      stats.failed_by_kind[static_cast<int>(ErrorKind::overloaded)] > 0 || stats.cancelled > 0,
      true);
  EXPECT_GT(stats.completed, 0);
  EXPECT_EQ(outcomes(*engine), stats.answered);
}

TEST_F(EngineStress, VersionsComeAndGoUnderLoad) {
  EngineOptions options;
  options.devices = {{"cpu", 2}};
  const std::unique_ptr<Engine> engine = *Engine::create(options);
  ASSERT_TRUE(engine->add_model(runtime("matcher", 1, 1)));
  std::atomic<bool> go_on{true};
  std::vector<std::thread> clients;
  clients.reserve(2);
  for (unsigned i = 0; i < 2; ++i)
    clients.emplace_back([&, i] { client(*engine, 200 + i, go_on, 1 << 30); });
  std::optional<ModelId> serving;
  for (int version = 1; version <= 20; ++version) {
    const Result<ModelId> next = engine->add_model(runtime("detector", version, 1));
    ASSERT_TRUE(next) << next.error().message;
    if (serving) {
      const Duration drain = version % 2 == 0 ? std::chrono::seconds(20) : Duration{};
      EXPECT_TRUE(engine->remove_model(*serving, drain));
    }
    serving = *next;
  }
  go_on = false;
  for (std::thread& thread : clients) thread.join();
  engine->stop(std::chrono::seconds(20));
  expect_nothing_left();
  EXPECT_GT(engine->stats().completed, 0);
}

TEST_F(EngineStress, StoppingAtAnyMomentAnswersEverything) {
  for (unsigned round = 0; round < 20; ++round) {
    EngineOptions options;
    options.devices = {{"cpu", 2}};
    std::unique_ptr<Engine> engine = *Engine::create(options);
    ASSERT_TRUE(engine->add_model(runtime("detector", 1, 2)));
    ASSERT_TRUE(engine->add_model(runtime("matcher", 1, 1)));
    const std::atomic<bool> go_on{true};
    std::vector<std::thread> clients;
    clients.reserve(3);
    for (unsigned i = 0; i < 3; ++i)
      clients.emplace_back([&, i] { client(*engine, round * 10 + i, go_on, 200); });
    ASSERT_TRUE(wait_until([&] { return submitted_ > static_cast<int>(round * 300); }));
    std::thread second_stopper([&] { engine->stop(Duration{}); });
    engine->stop(round % 2 == 0 ? Duration{} : std::chrono::seconds(20));
    second_stopper.join();
    for (std::thread& thread : clients) thread.join();
    const EngineStats stats = engine->stats();
    EXPECT_EQ(stats.answered, stats.submitted);
    engine.reset();
    expect_nothing_left();
  }
}

}  // namespace
}  // namespace takt::engine_test
