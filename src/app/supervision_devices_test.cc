// SPDX-License-Identifier: Apache-2.0
// A task's workers on two devices: what happens to one of them is its own affair.
#include "app/supervision_fixture.h"

#include <algorithm>
#include <random>

namespace takt::supervision_test {
namespace {

using engine::EventKind;

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// Each device has a repository of its own, so that its workers can be told apart.
class TwoDevices : public Supervision {
 protected:
  void start_both() { start(1, {"a", "b"}); }
  [[nodiscard]] fs::path model_file(const std::string& device) const {
    return folder_ / device / "m" / "1" / "model.onnx";
  }
  void write_on(const std::string& device, const std::vector<std::string>& parameters,
                const std::string& name = "m") {
    write_model_to(folder_ / device, name, parameters);
  }
  engine::WorkerSpec spec_on(const std::string& device, const std::string& name = "m") {
    engine::WorkerSpec made = spec(name);
    made.device = device;
    made.load.model.repository = folder_ / device;
    return made;
  }
  // The model `m` with its parameters on each device.
  ModelId add_both(const std::vector<std::string>& on_a, const std::vector<std::string>& on_b) {
    write_on("a", on_a);
    write_on("b", on_b);
    const Result<ModelId> model = supervisor_->add_worker(spec_on("a"));
    EXPECT_TRUE(model) << model.error().message;
    if (!model) return {};
    const Result<void> added = supervisor_->add_replica(*model, spec_on("b"));
    EXPECT_TRUE(added) << added.error().message;
    return *model;
  }
  engine::WorkerStatus worker(const std::string& device, const std::string& name = "m") {
    for (const engine::WorkerStatus& status : supervisor_->workers()) {
      if (status.device == device && status.name == name) return status;
    }
    ADD_FAILURE() << "no worker of " << name << " on " << device;
    return {};
  }
  bool reaches(const std::string& device, engine::WorkerState state) {
    return wait_until([&] { return worker(device).state == state; });
  }
  // Ends the device's worker, and lets none start until give_back().
  void take_away(const std::string& device) {
    fs::rename(model_file(device), folder_ / (device + "-away"));
    send_signal(worker(device).pid, SIGKILL);
    ASSERT_TRUE(reaches(device, engine::WorkerState::circuit_open));
  }
  void give_back(const std::string& device) {
    fs::rename(folder_ / (device + "-away"), model_file(device));
    ASSERT_TRUE(reaches(device, engine::WorkerState::serving));
  }
  std::vector<engine::Event> told(engine::EventKind kind) {
    std::vector<engine::Event> some;
    for (const engine::Event& event : events()) {
      if (event.kind == kind) some.push_back(event);
    }
    return some;
  }
  void expect_good(ModelId model, int count) {
    Tally tally;
    submit(tally, model, count);
    ASSERT_TRUE(tally.wait_for(static_cast<std::size_t>(count)));
    EXPECT_EQ(tally.good(), static_cast<std::size_t>(count)) << tally.last_error();
  }
};

TEST_F(TwoDevices, EachHasAWorkerOfItsOwn) {
  start_both();
  const ModelId model = add_both({}, {});
  expect_good(model, 50);
  EXPECT_NE(worker("a").pid, worker("b").pid);
  EXPECT_EQ(engine_->replicas(model).size(), 2U);
  expect_nothing_left();
}

TEST_F(TwoDevices, TheLoadOfADeviceThatIsGoneForGoodMovesToTheOtherAndBack) {
  options_.circuit_failures = 2;
  start_both();
  const ModelId model = add_both({"base_us: 20000"}, {"base_us: 20000"});
  expect_good(model, 8);
  Tally tally;
  submit(tally, model, 40);
  ASSERT_TRUE(wait_until([&] { return engine_->stats().batches_running == 2; }));
  take_away("a");
  submit(tally, model, 8);  // while the circuit is open there
  ASSERT_TRUE(tally.wait_for(48));
  EXPECT_EQ(tally.good(), 48U) << tally.last_error();
  EXPECT_EQ(worker("b").restarts, 0U);
  ASSERT_EQ(told(engine::EventKind::circuit_opened).size(), 1U);
  EXPECT_EQ(told(engine::EventKind::circuit_opened)[0].device, "a");
  EXPECT_EQ(told(engine::EventKind::worker_lost)[0].device, "a");
  give_back("a");
  take_away("b");
  expect_good(model, 8);  // a has it again
  take_away("a");
  Tally refused;
  submit(refused, model, 3);
  ASSERT_TRUE(refused.wait_for(3));
  EXPECT_EQ(refused.failed(ErrorKind::unavailable), 3U) << "no device is left";
  give_back("b");
  expect_good(model, 8);
  expect_nothing_left();
}

TEST_F(TwoDevices, AShortLossOnOneDeviceRefusesNothingWhileTheOtherIsGone) {
  options_.circuit_failures = 2;
  start_both();
  const ModelId model = add_both({"base_us: 20000"}, {"base_us: 20000"});
  expect_good(model, 8);
  take_away("a");
  expect_good(model, 4);
  const pid_t before = worker("b").pid;
  Tally tally;
  submit(tally, model, 8);
  ASSERT_TRUE(wait_until([&] { return engine_->stats().batches_running > 0; }));
  send_signal(before, SIGKILL);
  ASSERT_TRUE(tally.wait_for(8));
  EXPECT_EQ(tally.good(), 8U) << tally.last_error();
  EXPECT_NE(worker("b").pid, before);
  expect_nothing_left();
}

TEST_F(TwoDevices, APoisonedDeviceRestartsOnlyItsOwnWorkers) {
  const std::string warm_up = warm_up_batches();
  start_both();
  const ModelId model =
      add_both({"probability.device_poisoned: 1", "faults_after: " + warm_up}, {});
  write_on("a", {});  // its next process is well
  for (const char* const device : {"a", "b"}) write_on(device, {}, "bystander");
  const Result<ModelId> bystander = supervisor_->add_worker(spec_on("a", "bystander"));
  ASSERT_TRUE(bystander) << bystander.error().message;
  ASSERT_TRUE(supervisor_->add_replica(*bystander, spec_on("b", "bystander")));
  const pid_t on_b = worker("b").pid;
  ASSERT_TRUE(wait_until([&] {
    expect_good(model, 4);
    return counted(engine::EventKind::device_restarted) == 1;
  }));
  ASSERT_TRUE(wait_until(
      [&] { return worker("a").restarts == 1 && worker("a", "bystander").restarts == 1; }));
  EXPECT_EQ(worker("b").pid, on_b);
  EXPECT_EQ(worker("b").restarts, 0U);
  EXPECT_EQ(worker("b", "bystander").restarts, 0U);
  const engine::Event restarted = told(engine::EventKind::device_restarted).at(0);
  EXPECT_EQ(restarted.device, "a");
  EXPECT_EQ(restarted.count, 2U) << "both workers of that device";
  expect_good(model, 8);
  expect_nothing_left();
}

TEST_F(TwoDevices, AShortageOfMemoryOnOneMakesBatchesSmallerThereAlone) {
  const std::string warm_up = warm_up_batches();
  start_both();
  // So long that on a busy machine too larger batches are measured to be worth it.
  const ModelId model = add_both(
      {"base_us: 5000", "memory_rows_max: 1", "faults_after: " + warm_up}, {"base_us: 5000"});
  Tally tally;
  std::size_t asked = 0;
  ASSERT_TRUE(wait_until([&] {
    submit(tally, model, 16);
    asked += 16;
    EXPECT_TRUE(tally.wait_for(asked));
    return is_limited_to_one_row();  // at once, where the first batch had two
  }));
  EXPECT_EQ(tally.good(), asked) << tally.last_error();
  for (const engine::Event& event : events()) EXPECT_EQ(event.device, "a") << event.text;
  const EngineStats stats = engine_->stats();
  for (const BatchLimitStatus& limit : stats.batch_limits) EXPECT_EQ(limit.device, "a");
  EXPECT_EQ(worker("a").restarts, 0U);
  expect_nothing_left();
}

TEST_F(TwoDevices, EachWatchdogFollowsTheBatchesOfItsOwnDevice) {
  options_.watchdog_factor = 20;
  options_.watchdog_min = 500ms;
  start_both();
  const ModelId model = add_both({"base_us: 100000"}, {"base_us: 1000"});
  expect_good(model, 16);
  EXPECT_TRUE(wait_until([&] { return worker("a").watchdog >= 2s; }));
  EXPECT_TRUE(wait_until([&] { return worker("b").watchdog > 0s; }));
  EXPECT_LT(worker("b").watchdog, 2s);
}

TEST_F(TwoDevices, AReplicaThatTakesSomethingElseIsRefusedAndItsWorkerEnds) {
  start_both();
  write_on("a", {});
  write_on("b", {});
  fs::copy_file(fs::path(TAKT_TEST_MODELS) / "conv_net_color.onnx", model_file("b"),
                fs::copy_options::overwrite_existing);
  const Result<ModelId> model = supervisor_->add_worker(spec_on("a"));
  ASSERT_TRUE(model) << model.error().message;
  const std::size_t before = open_descriptors();
  const Result<void> other = supervisor_->add_replica(*model, spec_on("b"));
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().kind, ErrorKind::invalid_input);
  EXPECT_TRUE(has(other.error().message, "on device 'b' it is another model"));
  EXPECT_EQ(supervisor_->workers().size(), 1U);
  EXPECT_EQ(open_descriptors(), before);
  write_on("b", {});
  ASSERT_TRUE(supervisor_->add_replica(*model, spec_on("b"))) << "nothing was left behind";
  expect_good(*model, 8);
}

TEST_F(TwoDevices, AReplicaWhereOneIsIsRefusedAndItsWorkerEnds) {
  start_both();
  const ModelId model = add_both({}, {});
  const std::size_t before = open_descriptors();
  const Result<void> again = supervisor_->add_replica(model, spec_on("b"));
  ASSERT_FALSE(again);
  EXPECT_TRUE(has(again.error().message, "is on device 'b' already"));
  EXPECT_EQ(supervisor_->workers().size(), 2U);
  EXPECT_EQ(open_descriptors(), before);
}

TEST_F(TwoDevices, WhatIsToldOfACircuitSaysWhetherAnotherDeviceServes) {
  options_.circuit_failures = 2;
  start_both();
  static_cast<void>(add_both({}, {}));
  const auto last = [this](EventKind kind, std::size_t count) {
    EXPECT_TRUE(wait_until([&] { return told(kind).size() == count; }));
    return told(kind).back().text;
  };
  take_away("a");
  const std::string opened = last(EventKind::circuit_opened, 1);
  EXPECT_TRUE(has(opened, "nothing is started there; other devices of the task go on")) << opened;
  EXPECT_FALSE(has(opened, "refused")) << opened;
  take_away("b");
  const std::string last_opened = last(EventKind::circuit_opened, 2);
  EXPECT_TRUE(has(last_opened, "its requests are refused at once")) << last_opened;
  give_back("b");
  const std::string closed = last(EventKind::circuit_closed, 1);
  EXPECT_TRUE(has(closed, "its requests are taken again")) << closed;
  give_back("a");
  const std::string further = last(EventKind::circuit_closed, 2);
  EXPECT_TRUE(has(further, "it has a share of the task's requests again")) << further;
}

// Whatever happens to the workers of one device: every request is answered, and whoever fails was
// lost twice.
TEST_F(TwoDevices, ChaosOnOneDeviceLosesNoRequest) {
  options_.probe_interval = 10ms;
  start_both();
  const ModelId model = add_both({"base_us: 300"}, {"base_us: 300"});
  Tally tally;
  std::atomic<bool> stop{false};
  std::atomic<std::size_t> asked{0};
  std::thread load([&] {
    while (!stop) {
      if (asked - tally.answered() < 32) {
        submit(tally, model);
        ++asked;
      } else {
        std::this_thread::sleep_for(100us);
      }
    }
  });
  std::mt19937 random(20261129);
  pid_t struck = 0;
  for (int i = 0; i < 50; ++i) {
    const bool serves = wait_until([&] {
      const engine::WorkerStatus status = worker("a");
      return status.state == engine::WorkerState::serving && status.pid != struck;
    });
    EXPECT_TRUE(serves) << "no worker serves again after fault " << i;
    if (!serves) break;
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 5000));
    struck = worker("a").pid;
    if (struck > 0) ::kill(struck, SIGKILL);
  }
  stop = true;
  load.join();
  ASSERT_TRUE(tally.wait_for(asked));
  EXPECT_EQ(tally.good() + tally.failed(ErrorKind::worker_lost), asked) << tally.last_error();
  EXPECT_GT(tally.good(), asked - asked / 10);
  EXPECT_EQ(worker("b").restarts, 0U);
  EXPECT_EQ(counted(engine::EventKind::circuit_opened), worker("a").circuits_opened);
  expect_nothing_left();
}

}  // namespace
}  // namespace takt::supervision_test
