// SPDX-License-Identifier: Apache-2.0
#include "line/line.h"

#include "line/line_fixture.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <thread>

namespace takt::line {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using namespace std::chrono_literals;

// Every model answers at once: no defect, no difference.
std::optional<Result<Answer>> all_good(const std::string& model, const InferRequest&) {
  if (model == "matcher") return distance_at(0, 0, 0);
  if (model == "classifier") return classified(0, 0.9F);
  return found({});
}

LineConfig patient_line() {
  LineConfig config = board_line();
  config.deadline = 20s;  // no verdict by the clock while a test goes well
  config.frames_in_flight_max = 1;
  config.ring.capacity = 1;
  return config;
}

class LineTest : public ::testing::Test {
 protected:
  // A test that failed half-way must not leave its line waiting for answers.
  void TearDown() override {
    client_.respond([](const std::string&, const InferRequest&) {
      return fail(ErrorKind::unavailable, "the test is over");
    });
    client_.answer_all({ErrorKind::unavailable, "the test is over"});
    line_.reset();
  }
  void start(LineConfig config) {
    auto source = std::make_unique<ScriptedSource>();
    source_ = source.get();
    source_->set_interval(interval_);
    LineParts parts;
    parts.source = std::move(source);
    parts.client = &client_;
    parts.journal = &journal_;
    parts.sinks = {&sink_};
    parts.observers = {&observer_};
    parts.clock = clock_;
    Result<std::unique_ptr<Line>> line = Line::create(std::move(config), tasks_, std::move(parts));
    ASSERT_TRUE(line) << line.error().message;
    line_ = std::move(*line);
    line_->start();
  }
  void give(const std::string& name) { source_->give(board_frame(pool_, name, clock_->now())); }
  // Puts a frame in flight whose answers don't come, so that those behind it wait.
  void block_with(const std::string& name) {
    give(name);
    ASSERT_TRUE(eventually([&] { return client_.waiting() == 2; }));
  }
  // From now on the engine works.
  void answer_everything() {
    client_.respond(all_good);
    client_.respond_to_waiting(all_good);
  }
  void finish() {
    source_->end();
    ASSERT_TRUE(line_->wait_for(10s));
  }
  std::vector<std::string> judged_with(const std::string& reason) const {
    std::vector<std::string> names;
    for (const VerdictRecord& record : observer_.records()) {
      if (std::ranges::find(record.reasons, reason) != record.reasons.end()) {
        names.push_back(record.frame);
      }
    }
    return names;
  }
  void expect_one_verdict_each(std::size_t frames) {
    EXPECT_EQ(journal_.accepted(), frames);
    EXPECT_EQ(journal_.verdicts().size(), frames);
    EXPECT_EQ(observer_.size(), frames);
    for (const auto& [seq, count] : journal_.verdicts()) EXPECT_EQ(count, 1);
    const LineStats stats = line_->stats();
    EXPECT_EQ(stats.accepted, frames);
    EXPECT_EQ(stats.verdicts, frames);
    EXPECT_EQ(stats.frames_in_flight, 0U);
  }

  const SystemClock system_clock_;
  ManualClock manual_clock_{TimePoint(1000s)};
  const Clock* clock_ = &system_clock_;
  std::shared_ptr<SlotPool> pool_ = make_pool("frames", 256);
  ScriptedClient client_;
  MemoryJournal journal_;
  Collector sink_;
  Collector observer_;
  ScriptedSource* source_ = nullptr;
  Duration interval_{};
  std::vector<TaskSpec> tasks_ = board_tasks();
  std::unique_ptr<Line> line_;
};

TEST_F(LineTest, JudgesEveryFrameAndEndsWithItsSource) {
  client_.respond(all_good);
  LineConfig config = board_line();
  config.deadline = 20s;
  config.ring.policy = RingPolicy::block;
  start(config);
  for (int i = 0; i < 50; ++i) give(std::to_string(i));
  finish();
  expect_one_verdict_each(50);
  EXPECT_EQ(line_->stats().pass, 50U);
  EXPECT_EQ(sink_.size(), 50U);
  EXPECT_EQ(line_->stats().sinks.at(0).written, 50U);
  EXPECT_EQ(pool_->in_use(), 0U);
}

TEST_F(LineTest, APacedLineAnnouncesWhatIsCriticalAboutWholeFrames) {
  for (TaskSpec& task : tasks_) task.priority = PriorityClass::critical;
  tasks_[1].priority = PriorityClass::high;
  client_.respond(all_good);
  client_.expect_p99("classifier", 5ms);
  interval_ = 100ms;
  start(board_line());
  finish();
  const std::vector<ScriptedClient::Announced> announced = client_.announced();
  ASSERT_EQ(announced.size(), 2U) << "the detector at the start, and again at the end";
  EXPECT_EQ(announced[0].model, client_.find("detector", std::nullopt)->id);
  EXPECT_EQ(announced[0].min_interval, 90ms);
  EXPECT_EQ(announced[0].deadline, 100ms - 1ms - 5ms) << "its verdict's margin and the crops' time";
  EXPECT_EQ(announced[0].rows, 1);
  EXPECT_EQ(announced[1].model, announced[0].model);
  EXPECT_EQ(announced[1].min_interval, Duration{});
}

TEST_F(LineTest, WithoutAPaceOrADeadlineNothingIsAnnounced) {
  for (TaskSpec& task : tasks_) task.priority = PriorityClass::critical;
  client_.respond(all_good);
  start(board_line());
  finish();
  interval_ = 100ms;
  LineConfig config = board_line();
  config.deadline.reset();
  start(config);
  finish();
  EXPECT_TRUE(client_.announced().empty());
}

TEST_F(LineTest, AFullRingMakesTheSourceWaitUnderBlock) {
  LineConfig config = patient_line();
  config.ring.policy = RingPolicy::block;
  start(config);
  block_with("a");
  for (const char* name : {"b", "c", "d"}) give(name);
  answer_everything();
  finish();
  expect_one_verdict_each(4);
  EXPECT_EQ(line_->stats().dropped, 0U);
  EXPECT_THAT(observer_.names(), ElementsAre("a", "b", "c", "d"));
}

TEST_F(LineTest, TheOldestWaitingFrameGivesWayUnderDropOldest) {
  LineConfig config = patient_line();
  config.ring.policy = RingPolicy::drop_oldest;
  start(config);
  block_with("a");
  for (const char* name : {"b", "c", "d"}) give(name);
  ASSERT_TRUE(eventually([&] { return observer_.size() == 2; }));
  EXPECT_THAT(judged_with("dropped"), ElementsAre("b", "c"));
  answer_everything();
  finish();
  expect_one_verdict_each(4);
  EXPECT_EQ(line_->stats().review, 2U);
}

TEST_F(LineTest, TheNewFrameGivesWayUnderDropNewest) {
  LineConfig config = patient_line();
  config.ring.policy = RingPolicy::drop_newest;
  start(config);
  block_with("a");
  for (const char* name : {"b", "c", "d"}) give(name);
  ASSERT_TRUE(eventually([&] { return observer_.size() == 2; }));
  EXPECT_THAT(judged_with("dropped"), ElementsAre("c", "d"));
  answer_everything();
  finish();
  expect_one_verdict_each(4);
}

TEST_F(LineTest, AnEngineThatNeverAnswersStillGivesEveryFrameItsVerdict) {
  LineConfig config = board_line();
  config.deadline = 5ms;
  start(config);
  for (int i = 0; i < 20; ++i) give(std::to_string(i));
  finish();
  expect_one_verdict_each(20);
  EXPECT_EQ(line_->stats().by_fallback, 20U);
  EXPECT_EQ(line_->stats().pass, 0U);
}

TEST_F(LineTest, AnswersAfterTheVerdictAreCounted) {
  clock_ = &manual_clock_;
  start(board_line());
  block_with("a");
  manual_clock_.advance(200ms);
  give("b");  // makes the line look at the clock
  ASSERT_TRUE(eventually([&] { return observer_.size() == 1; }));
  answer_everything();
  ASSERT_TRUE(eventually([&] { return line_->stats().late_results == 2; }));
  finish();
  expect_one_verdict_each(2);
  EXPECT_THAT(judged_with("task:defects late"), ElementsAre("a"));
  EXPECT_EQ(client_.results().in_use(), 0U);
}

TEST_F(LineTest, AStopInTheMiddleLetsFramesThatAreInFinish) {
  LineConfig config = patient_line();
  config.ring.policy = RingPolicy::block;
  start(config);
  block_with("in flight");
  give("waiting");
  ASSERT_TRUE(eventually([&] { return line_->stats().frames_waiting == 1; }));
  line_->stop();
  EXPECT_FALSE(line_->wait_for(1ms)) << "a frame is still without verdict";
  answer_everything();
  ASSERT_TRUE(line_->wait_for(10s));
  expect_one_verdict_each(2);
  EXPECT_EQ(line_->stats().pass, 2U);
}

TEST_F(LineTest, AStopIsBoundedByTheDeadlinesOfTheFrames) {
  clock_ = &manual_clock_;
  start(board_line());
  block_with("stuck");
  line_->stop();
  manual_clock_.advance(200ms);
  ASSERT_TRUE(line_->wait_for(10s));
  expect_one_verdict_each(1);
  EXPECT_THAT(observer_.last().reasons, Contains("task:defects late"));
}

TEST_F(LineTest, AStopWithoutDeadlinesIsBoundedByDrainMax) {
  LineConfig config = patient_line();
  config.deadline.reset();
  config.ring.policy = RingPolicy::block;
  config.drain_max = 10ms;
  start(config);
  block_with("stuck");
  give("waiting");
  ASSERT_TRUE(eventually([&] { return line_->stats().frames_waiting == 1; }));
  line_->stop();
  ASSERT_TRUE(line_->wait_for(10s));
  expect_one_verdict_each(2);
  EXPECT_THAT(judged_with("dropped"), ElementsAre("waiting"));
  EXPECT_THAT(judged_with("task:defects late"), ElementsAre("stuck"));
}

TEST_F(LineTest, ALineMayEndWhileTheEngineStillWorksForIt) {
  LineConfig config = board_line();
  config.deadline = 5ms;
  start(config);
  give("a");
  ASSERT_TRUE(eventually([&] { return observer_.size() == 1; }));
  finish();
  line_.reset();
  client_.respond_to_waiting(all_good);
  EXPECT_EQ(client_.results().in_use(), 0U) << "nobody takes these answers any more";
  EXPECT_EQ(pool_->in_use(), 0U);
}

TEST_F(LineTest, AFrameThatCanNotBeReadDoesNotStopTheLine) {
  client_.respond(all_good);
  start(board_line());
  Frame torn = board_frame(pool_, "torn", SystemClock().now());
  torn.damage = Error{ErrorKind::invalid_input, "torn.png is truncated"};
  source_->give(std::move(torn));
  ASSERT_TRUE(eventually([&] { return observer_.size() == 1; }));
  give("good");
  finish();
  expect_one_verdict_each(2);
  EXPECT_THAT(judged_with("damaged: torn.png is truncated"), ElementsAre("torn"));
}

TEST_F(LineTest, FramesOfAnEarlierRunAreAnsweredBeforeTheFirstNewOne) {
  client_.respond(all_good);
  VerdictRecord left;
  left.seq = FrameSeq{99};
  left.frame = "left-over";
  journal_.leave_unanswered(left);
  start(patient_line());
  give("new");
  finish();
  EXPECT_THAT(observer_.names(), ElementsAre("left-over", "new"));
  EXPECT_THAT(sink_.names(), ElementsAre("left-over", "new"));
}

TEST_F(LineTest, AFullJournalDoesNotStopTheLine) {
  client_.respond(all_good);
  journal_.set_full(true);
  LineConfig config = patient_line();
  config.ring.policy = RingPolicy::block;
  start(config);
  for (const char* name : {"a", "b"}) give(name);
  finish();
  EXPECT_THAT(judged_with("journal"), ElementsAre("a", "b"));
  EXPECT_EQ(line_->stats().review, 2U);
  EXPECT_GE(line_->stats().journal_failures, 2U);
}

TEST_F(LineTest, ALineThatWasNeverStartedEndsAtOnce) {
  auto source = std::make_unique<ScriptedSource>();
  LineParts parts;
  parts.source = std::move(source);
  parts.client = &client_;
  parts.journal = &journal_;
  Result<std::unique_ptr<Line>> line = Line::create(board_line(), board_tasks(), std::move(parts));
  ASSERT_TRUE(line);
  line->reset();
  EXPECT_EQ(journal_.accepted(), 0U);
}

// Threads as in the field: the engine answers from its own threads, some late, some with faults,
// and the line is stopped somewhere in the middle.
TEST_F(LineTest, UnderFaultsFromManyThreadsEveryAcceptedFrameHasOneVerdict) {
  LineConfig config = board_line();
  config.deadline = 10ms;
  config.ring.capacity = 4;
  start(config);
  std::atomic<bool> working = true;
  std::vector<std::thread> engine;
  engine.reserve(2);
  for (int t = 0; t < 2; ++t) {
    engine.emplace_back([&, t] {
      for (int n = t; working || client_.waiting() > 0; ++n) {
        const bool answered =
            n % 7 == 0 ? client_.answer("detector", fail(ErrorKind::internal, "injected"))
                       : client_.answer("detector", found({detection(0, 0.9F)}));
        const bool compared = client_.answer("matcher", distance_at(0, 0, 0));
        const bool looked = n % 5 != 0 && client_.answer("classifier", classified(0, 0.9F));
        if (!answered && !compared && !looked) std::this_thread::yield();
      }
    });
  }
  for (int i = 0; i < 60; ++i) {
    give(std::to_string(i));
    if (i == 50) line_->stop();
  }
  ASSERT_TRUE(line_->wait_for(30s));
  working = false;
  for (std::thread& thread : engine) thread.join();
  const std::size_t frames = observer_.size();
  expect_one_verdict_each(frames);
  std::set<std::string> names;
  for (const std::string& name : observer_.names()) EXPECT_TRUE(names.insert(name).second);
  line_.reset();
  EXPECT_EQ(client_.results().in_use(), 0U);
}

}  // namespace
}  // namespace takt::line
