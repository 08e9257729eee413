// SPDX-License-Identifier: Apache-2.0
// Workers as processes: this program is their gateway and, started with `worker`, the workers.
#include "app/supervision_fixture.h"
#include "worker/worker_process.h"

#include <random>

namespace takt::supervision_test {
namespace {

TEST_F(Supervision, AWorkerThatCannotBePutUnderItsLimitIsNotStarted) {
  write_model("model");
  options_.memory = {.cgroup = folder_, .bytes_max = std::size_t{64} << 20};  // no control group
  const auto keeper = engine::WorkerKeeper::start(options_, spec("model"));
  ASSERT_FALSE(keeper);
  EXPECT_EQ(keeper.error().kind, ErrorKind::unavailable);
  EXPECT_NE(keeper.error().message.find("memory.max"), std::string::npos) << keeper.error().message;
  std::size_t groups = 0;
  for (const auto& entry : fs::directory_iterator(folder_)) {
    groups += entry.path().filename().string().starts_with("takt-") ? 1U : 0U;
  }
  EXPECT_EQ(groups, 0U) << "the group was left behind";
}

TEST_F(Supervision, AWorkerAnswersWhatItsGatewayAsks) {
  start();
  const ModelId model = add("m");
  Tally tally;
  submit(tally, model, 100);
  ASSERT_TRUE(tally.wait_for(100));
  EXPECT_EQ(tally.good(), 100U) << tally.last_error();
  EXPECT_NE(pid_of(), ::getpid());
  expect_nothing_left();
}

TEST_F(Supervision, DescribesAModelInAProcessOfItsOwn) {
  write_model("m");
  const auto description =
      describe_model(options_, {.repository = folder_, .model = "m", .version = {}});
  ASSERT_TRUE(description) << description.error().message;
  EXPECT_EQ(description->version, 1);
  EXPECT_EQ(description->signature.batch_max, 4);
  EXPECT_FALSE(describe_model(options_, {.repository = folder_, .model = "none", .version = {}}));
}

TEST_F(Supervision, AModelThatCannotBeLoadedSaysWhy) {
  start();
  write_model("m", {"base_ms: 1"});
  const auto added = supervisor_->add_worker(spec("m"));
  ASSERT_FALSE(added);
  EXPECT_EQ(added.error().kind, ErrorKind::invalid_input);
  EXPECT_NE(added.error().message.find("base_ms"), std::string::npos) << added.error().message;
}

TEST_F(Supervision, WhatTheBackendNotesInAWorkerIsKnownHere) {
  start();
  add("m", {"note: the cache is full"});
  EXPECT_EQ(supervisor_->workers()[0].notes, std::vector<std::string>{"the cache is full"});
}

TEST_F(Supervision, ALoadThatTakesLongSaysWhatItIsAt) {
  start();
  write_model("m", {"load_us: 1200000"});
  engine::WorkerSpec wanted = spec("m");
  std::vector<ipc::ModelLoading> said;
  wanted.loading = [&](const ipc::ModelLoading& loading) { said.push_back(loading); };
  const auto added = supervisor_->add_worker(std::move(wanted));
  ASSERT_TRUE(added) << added.error().message;
  ASSERT_FALSE(said.empty());
  EXPECT_EQ(said[0].stage, "passing time");
  EXPECT_EQ(said[0].total, 10);
  EXPECT_LT(said[0].done, 10);
}

TEST_F(Supervision, AProgramThatIsNoWorkerIsAnErrorInTime) {
  options_.program = "/bin/false";
  start();
  write_model("m");
  const auto added = supervisor_->add_worker(spec("m"));
  ASSERT_FALSE(added);
  EXPECT_NE(added.error().message.find("exit code 1"), std::string::npos) << added.error().message;
}

TEST_F(Supervision, ABatchThatAKilledWorkerHadIsRunByTheNextOne) {
  start();
  const ModelId model = add("m", {"base_us: 100000"});
  Tally tally;
  submit(tally, model, 8);
  const pid_t before = pid_of();
  ASSERT_TRUE(wait_until([&] { return engine_->stats().batches_running > 0; }));
  send_signal(before, SIGKILL);
  ASSERT_TRUE(tally.wait_for(8));
  EXPECT_EQ(tally.good(), 8U) << tally.last_error();
  const std::uint64_t moved = engine_->stats().retries_moved;
  EXPECT_GE(moved, 1U);
  ASSERT_TRUE(wait_until([&] { return events().size() == 2; }));
  const std::vector<engine::Event> told = events();
  EXPECT_EQ(told[0].kind, engine::EventKind::worker_lost);
  EXPECT_EQ(told[0].name, "m");
  EXPECT_EQ(told[0].count, moved);
  EXPECT_NE(told[0].text.find("killed by signal 9"), std::string::npos) << told[0].text;
  EXPECT_EQ(told[1].kind, engine::EventKind::worker_back);
  EXPECT_EQ(told[1].after, supervisor_->workers()[0].recovery_last);
  EXPECT_EQ(supervisor_->workers()[0].restarts, 1U);
  expect_nothing_left();
}

TEST_F(Supervision, AnIdleWorkerThatIsKilledIsReplacedBeforeTheNextRequest) {
  start();
  const ModelId model = add("m");
  const pid_t before = pid_of();
  send_signal(before, SIGKILL);
  ASSERT_TRUE(served_again(before));
  Tally tally;
  submit(tally, model);
  ASSERT_TRUE(tally.wait_for(1));
  EXPECT_EQ(tally.good(), 1U) << tally.last_error();
}

TEST_F(Supervision, ARequestWhoseTimeIsOverAfterTheRestartIsAnError) {
  start();
  const ModelId model = add("m", {"base_us: 100000"});
  Tally tally;
  submit(tally, model, 1, 110ms);
  ASSERT_TRUE(wait_until([&] { return engine_->stats().batches_running > 0; }));
  send_signal(pid_of(), SIGKILL);
  ASSERT_TRUE(tally.wait_for(1));
  EXPECT_EQ(tally.good(), 0U);
  expect_nothing_left();
}

TEST_F(Supervision, AStoppedProcessIsAHangAndIsReplaced) {
  options_.watchdog = 200ms;
  start();
  const ModelId model = add("m", {"base_us: 1000"});
  const pid_t before = pid_of();
  send_signal(before, SIGSTOP);
  Tally tally;
  submit(tally, model, 4);
  ASSERT_TRUE(tally.wait_for(4));
  EXPECT_EQ(tally.good(), 4U) << tally.last_error();
  EXPECT_EQ(supervisor_->workers()[0].hangs, 1U);
  EXPECT_TRUE(served_again(before));
  EXPECT_NE(events().at(0).text.find("its worker hung"), std::string::npos);
}

TEST_F(Supervision, TheWatchdogFollowsTheLongestOfTheBatchesThatRan) {
  options_.watchdog_factor = 1000;
  options_.watchdog_min = 1ms;
  start();
  const ModelId model = add("m", {"base_us: 1000"});
  const auto watchdog = [this] { return supervisor_->workers()[0].watchdog; };
  ASSERT_TRUE(wait_until([&] { return watchdog() >= 1s; })) << "as measured at load";
  const pid_t before = pid_of();
  write_model("m", {"base_us: 50000"});  // the next incarnation is slower
  send_signal(before, SIGKILL);
  ASSERT_TRUE(served_again(before));
  Tally tally;
  submit(tally, model, 8);
  ASSERT_TRUE(tally.wait_for(8));
  EXPECT_EQ(tally.good(), 8U) << tally.last_error();
  EXPECT_TRUE(wait_until([&] { return watchdog() >= 50s; })) << "as learned";
}

TEST_F(Supervision, WhoeverBringsAWorkerDownTwiceGetsNoThird) {
  options_.circuit_failures = 100;
  start();
  // Each process crashes with its first batch.
  const ModelId model = add(
      "m", {"crash_allowed: true", "probability.crash: 1", "faults_after: " + warm_up_batches()});
  Tally tally;
  submit(tally, model);
  ASSERT_TRUE(tally.wait_for(1));
  EXPECT_EQ(tally.failed(ErrorKind::worker_lost), 1U);
  EXPECT_NE(tally.last_error().find("tried before"), std::string::npos) << tally.last_error();
  EXPECT_TRUE(tally.last_error().starts_with("m 1: its worker ended: ")) << tally.last_error();
  expect_nothing_left();
}

TEST_F(Supervision, AfterFailuresInARowTheCircuitOpensAndRequestsAreRefusedAtOnce) {
  options_.circuit_failures = 2;
  options_.probe_interval = 1h;
  start();
  const ModelId model = add(
      "m", {"crash_allowed: true", "probability.crash: 1", "faults_after: " + warm_up_batches()});
  Tally tally;
  int asked = 0;
  ASSERT_TRUE(wait_until([&] {
    submit(tally, model);
    ++asked;
    return supervisor_->workers()[0].state == engine::WorkerState::circuit_open;
  }));
  ASSERT_TRUE(tally.wait_for(static_cast<std::size_t>(asked)));
  Tally late;
  submit(late, model, 3);
  ASSERT_TRUE(late.wait_for(3));
  EXPECT_EQ(late.failed(ErrorKind::unavailable), 3U) << late.last_error();
  EXPECT_EQ(supervisor_->workers()[0].circuits_opened, 1U);
  expect_nothing_left();
}

TEST_F(Supervision, AModelThatCannotBeLoadedAgainOpensTheCircuitAndIsProbed) {
  options_.circuit_failures = 2;
  start();
  const ModelId model = add("m");
  Tally tally;
  submit(tally, model);  // it has worked: the next start is at once
  ASSERT_TRUE(tally.wait_for(1));
  const fs::path file = folder_ / "m" / "1" / "model.onnx";
  fs::rename(file, folder_ / "away");
  const pid_t before = pid_of();
  send_signal(before, SIGKILL);
  ASSERT_TRUE(wait_until(
      [&] { return supervisor_->workers()[0].state == engine::WorkerState::circuit_open; }));
  Tally refused;
  submit(refused, model);
  ASSERT_TRUE(refused.wait_for(1));
  EXPECT_EQ(refused.failed(ErrorKind::unavailable), 1U) << refused.last_error();
  fs::rename(folder_ / "away", file);
  ASSERT_TRUE(served_again(before));
  Tally after;
  submit(after, model);
  ASSERT_TRUE(after.wait_for(1));
  EXPECT_EQ(after.good(), 1U) << after.last_error();
}

TEST_F(Supervision, AProbeClosesTheCircuitWhenTheWorkerServesAgain) {
  options_.circuit_failures = 1;
  start();
  const ModelId model = add("m");
  const pid_t before = pid_of();
  send_signal(before, SIGKILL);  // without one good batch
  ASSERT_TRUE(served_again(before));
  EXPECT_EQ(supervisor_->workers()[0].circuits_opened, 1U);
  Tally tally;
  submit(tally, model, 4);
  ASSERT_TRUE(tally.wait_for(4));
  EXPECT_EQ(tally.good(), 4U) << tally.last_error();
  using enum engine::EventKind;
  ASSERT_TRUE(wait_until([&] { return events().size() == 4; }));
  EXPECT_EQ(kinds(), (std::vector{worker_lost, circuit_opened, worker_back, circuit_closed}));
}

TEST_F(Supervision, WhatRanOnAPoisonedDeviceRunsAgainOnItsNextWorkers) {
  const std::string warm_up = warm_up_batches();
  start(2);
  const ModelId poison =
      add("poison", {"probability.device_poisoned: 1", "faults_after: " + warm_up});
  write_model("poison");  // its next process is well
  const ModelId bystander = add("bystander", {"base_us: 200000"});
  const pid_t first = pid_of(0);
  const pid_t second = pid_of(1);
  Tally running;
  submit(running, bystander);
  ASSERT_TRUE(wait_until([&] { return engine_->stats().batches_running > 0; }));
  Tally poisoned;
  submit(poisoned, poison);
  ASSERT_TRUE(poisoned.wait_for(1));
  ASSERT_TRUE(running.wait_for(1));
  EXPECT_EQ(poisoned.good(), 1U) << poisoned.last_error();
  EXPECT_EQ(running.good(), 1U) << running.last_error();
  EXPECT_EQ(engine_->stats().retries_moved, 2U);
  ASSERT_TRUE(served_again(first, 0));
  ASSERT_TRUE(served_again(second, 1));
  for (const engine::WorkerStatus& worker : supervisor_->workers()) {
    EXPECT_EQ(worker.restarts, 1U) << worker.name;
  }
  EXPECT_EQ(counted(engine::EventKind::device_restarted), 1U);
  const std::vector<engine::Event> told = events();
  const auto restarted =
      std::ranges::find(told, engine::EventKind::device_restarted, &engine::Event::kind);
  ASSERT_NE(restarted, told.end());
  EXPECT_EQ(restarted->count, 2U) << "both workers of the device";
  EXPECT_EQ(restarted->name, "poison");
  expect_nothing_left();
}

TEST_F(Supervision, APoisonedDeviceRestartsAllItsWorkers) {
  start();
  const ModelId healthy = add("healthy");
  const ModelId poisoned =
      add("poisoned", {"probability.device_poisoned: 0.2", "faults_after: 20"});
  const pid_t first = pid_of(0);
  const pid_t second = pid_of(1);
  Tally tally;
  std::size_t asked = 0;
  ASSERT_TRUE(wait_until([&] {
    submit(tally, poisoned);
    EXPECT_TRUE(tally.wait_for(++asked));
    return pid_of(0) != first && pid_of(1) != second;
  }));
  ASSERT_TRUE(served_again(first, 0));
  ASSERT_TRUE(served_again(second, 1));
  EXPECT_EQ(tally.good(), asked) << tally.last_error();
  Tally after;
  submit(after, healthy, 4);
  ASSERT_TRUE(after.wait_for(4));
  EXPECT_EQ(after.good(), 4U) << after.last_error();
}

// On a device whose memory suffices for one row at a time, for a while: nothing is lost, batches
// get smaller, and larger again when that is over.
TEST_F(Supervision, AShortageOfMemoryMakesBatchesSmallerAndLeavesNoTrace) {
  const int warm_up = std::stoi(warm_up_batches());
  start();
  const ModelId model =
      add("m", {"base_us: 5000", "memory_rows_max: 1", "faults_after: " + std::to_string(warm_up),
                "faults_until: " + std::to_string(warm_up + 200)});
  Tally tally;
  std::size_t asked = 0;
  const auto wave = [&] {
    submit(tally, model, 16);
    asked += 16;
    EXPECT_TRUE(tally.wait_for(asked));
  };
  ASSERT_TRUE(wait_until([&] {
    wave();
    return is_limited_to_one_row() && asked > 400;
  }));
  ASSERT_TRUE(wait_until([&] {
    wave();
    return engine_->stats().batch_limits.empty();
  }));
  EXPECT_EQ(tally.good(), asked) << tally.last_error();
  std::vector<int> limits;
  for (const engine::Event& event : events()) limits.push_back(event.rows);
  ASSERT_GE(limits.size(), 3U);
  EXPECT_LE(limits[0], 2) << "half of four, or of what the first batch had";
  EXPECT_EQ(std::ranges::min(limits), 1);
  EXPECT_EQ(limits.back(), 4) << "as configured";
  const EngineStats before = engine_->stats();
  wave();
  const EngineStats after = engine_->stats();
  EXPECT_EQ(after.batches_failed, before.batches_failed);
  EXPECT_LT(after.batches - before.batches, 16U) << "batches of several rows again";
  EXPECT_EQ(supervisor_->workers()[0].restarts, 0U);
  expect_nothing_left();
}

TEST_F(Supervision, MemoryThatIsNotSharedIsRefusedAndNothingElse) {
  start();
  const ModelId model = add("m");
  InferRequest foreign = request(model);
  std::vector<std::byte> own(std::get<TensorView>(foreign.inputs[0]).bytes.size());
  std::get<TensorView>(foreign.inputs[0]).bytes = own;
  Tally tally;
  engine_->submit(std::move(foreign), tally.completion());
  ASSERT_TRUE(tally.wait_for(1));
  EXPECT_EQ(tally.failed(ErrorKind::invalid_input), 1U);
  submit(tally, model);
  ASSERT_TRUE(tally.wait_for(2));
  EXPECT_EQ(tally.good(), 1U);
}

TEST_F(Supervision, ASandboxedWorkerWithALimitOnItsMemoryServes) {
  start();
  write_model("m");
  engine::WorkerSpec confined = spec("m");
  confined.load.confinement = {.sandbox = true, .memory_bytes_max = std::size_t{1} << 50};
  const auto model = supervisor_->add_worker(std::move(confined));
  ASSERT_TRUE(model) << model.error().message;
  std::ifstream status("/proc/" + std::to_string(pid_of()) + "/status");
  const std::string text((std::istreambuf_iterator<char>(status)), {});
  EXPECT_NE(text.find("Seccomp:\t2"), std::string::npos);
  Tally tally;
  submit(tally, *model, 4);
  ASSERT_TRUE(tally.wait_for(4));
  EXPECT_EQ(tally.good(), 4U) << tally.last_error();
}

// Whatever happens to the workers, at whatever moment: every request is answered once, and nothing
// is left behind. TAKT_LONG asks for ten times as many faults.
TEST_F(Supervision, ChaosLosesNoRequestAndLeaksNothing) {
  const int faults = std::getenv("TAKT_LONG") != nullptr ? 2000 : 200;
  options_.watchdog = 100ms;
  options_.probe_interval = 10ms;
  options_.ready_timeout = 3s;  // for those that are stopped while they start
  start();
  // Faults from inside: all that a device can do.
  const ModelId model = add(
      "m",
      {"base_us: 300", "crash_allowed: true", "faults_after: 30", "probability.out_of_memory: 0.01",
       "probability.crash: 0.002", "probability.hang: 0.001", "probability.failure: 0.01",
       "probability.device_poisoned: 0.002", "probability.corrupt_output: 0.01"},
      2);
  Tally tally;
  std::atomic<bool> stop{false};
  std::atomic<std::size_t> asked{0};
  std::thread load([&] {
    while (!stop) {
      if (asked - tally.answered() < 64) {
        submit(tally, model, 1, asked % 3 == 0 ? Duration(50ms) : Duration{});
        ++asked;
      } else {
        std::this_thread::sleep_for(100us);
      }
    }
  });
  const auto descriptors = [] { return open_descriptors(); };
  std::size_t descriptors_max = 0;
  std::mt19937 random(20261124);
  // Faults from outside: every fourth at any moment, so that starting workers are hit too, each of
  // the others on one that serves, however slowly this machine starts it.
  constexpr std::array kSignals{SIGKILL, SIGABRT, SIGSTOP, SIGKILL};
  pid_t struck = 0;
  for (int i = 0; i < faults; ++i) {
    if (i % 4 != 3 && !served_again(struck)) {
      ADD_FAILURE() << "no worker serves again after fault " << i;
      break;
    }
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 8000));
    struck = pid_of();
    if (struck > 0) ::kill(struck, kSignals[static_cast<std::size_t>(i) % kSignals.size()]);
    descriptors_max = std::max(descriptors_max, descriptors());
  }
  stop = true;
  load.join();
  ASSERT_TRUE(tally.wait_for(asked)) << tally.answered() << " of " << asked;
  expect_nothing_left();
  EXPECT_EQ(tally.answered(), asked.load()) << "each once";
  EXPECT_GT(tally.good(), 0U) << tally.last_error();
  EXPECT_GT(supervisor_->workers()[0].restarts, static_cast<std::uint64_t>(faults) / 2);
  EXPECT_LT(descriptors_max, 64U);
  const pid_t last = pid_of();
  engine_->stop(1s);
  supervisor_.reset();
  EXPECT_TRUE(last == 0 || ::kill(last, 0) != 0);
  EXPECT_EQ(engine_->stats().slots_in_use, 0U);
}

TEST_F(Supervision, RemovingAModelEndsItsWorkerAloneAndLeavesNothing) {
  start();
  const ModelId stays = add("stays");
  const pid_t first = pid_of();
  const std::size_t descriptors = open_descriptors();
  const std::size_t mappings = shared_mappings();
  for (int i = 0; i < 3; ++i) {
    const ModelId goes = add("goes");
    const pid_t worker = pid_of(1);
    EXPECT_GT(open_descriptors(), descriptors);
    EXPECT_GT(shared_mappings(), mappings);
    Tally tally;
    submit(tally, goes, 4);
    ASSERT_TRUE(engine_->remove_model(goes, 10s));
    supervisor_->remove_workers(goes);
    EXPECT_EQ(tally.answered(), 4U);
    EXPECT_NE(::kill(worker, 0), 0);
    EXPECT_EQ(supervisor_->workers().size(), 1U);
    EXPECT_EQ(open_descriptors(), descriptors);
    EXPECT_EQ(shared_mappings(), mappings);
    EXPECT_EQ(child_processes(), 1U);
  }
  EXPECT_EQ(pid_of(), first);
  Tally tally;
  submit(tally, stays);
  ASSERT_TRUE(tally.wait_for(1));
  EXPECT_EQ(tally.good(), 1U) << tally.last_error();
}

TEST_F(Supervision, AWorkerThatIsBeingReplacedCanBeRemoved) {
  options_.circuit_failures = 1;
  options_.probe_interval = 1h;
  start();
  const ModelId model = add("m");
  fs::remove_all(folder_ / "m");  // so that the next one can't start
  send_signal(pid_of(), SIGKILL);
  ASSERT_TRUE(wait_until(
      [&] { return supervisor_->workers()[0].state == engine::WorkerState::circuit_open; }));
  ASSERT_TRUE(engine_->remove_model(model, 10s));
  supervisor_->remove_workers(model);
  supervisor_->remove_workers(model);
  EXPECT_TRUE(supervisor_->workers().empty());
  EXPECT_EQ(child_processes(), 0U);
}

TEST_F(Supervision, StoppingLeavesNoProcessAndNoDescriptor) {
  const std::size_t before = open_descriptors();
  start();
  const ModelId model = add("m");
  const pid_t worker = pid_of();
  Tally tally;
  submit(tally, model, 10);
  ASSERT_TRUE(tally.wait_for(10));
  engine_->stop(1s);
  supervisor_.reset();
  engine_.reset();
  EXPECT_NE(::kill(worker, 0), 0);
  EXPECT_EQ(open_descriptors(), before);
}

}  // namespace
}  // namespace takt::supervision_test

int main(int argc, char** argv) {
  if (const auto code = takt::worker::run_if_worker(argc, argv)) return *code;
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
