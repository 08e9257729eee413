// SPDX-License-Identifier: Apache-2.0
#include "line/frame_flow.h"

#include "line/frame_flow_fixture.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>

namespace takt::line {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using namespace std::chrono_literals;

Error error_of(ErrorKind kind) {
  return {kind, "scripted"};
}

TEST(FrameFlow, StartsTheTasksOfTheWholeFrameInParallel) {
  Bench bench;
  bench.accept();
  EXPECT_EQ(bench.client.waiting("detector"), 1U);
  EXPECT_EQ(bench.client.waiting("matcher"), 1U);
  EXPECT_EQ(bench.client.waiting("classifier"), 0U);
  EXPECT_EQ(bench.verdicts(), 0U);
}

TEST(FrameFlow, FeedsEachInputOfAModelWithTheImagesThatItsTaskNames) {
  Bench bench;
  bench.accept();
  const auto& detector = std::get<ImageStack>(bench.client.request("detector").inputs.at(0));
  EXPECT_EQ(detector.images.size(), 2U);
  EXPECT_EQ(detector.region, Region{});
  // The task names golden first, the model's first input is board.
  const InferRequest& matcher = bench.client.request("matcher");
  const auto& board = std::get<ImageStack>(matcher.inputs.at(0));
  const auto& golden = std::get<ImageStack>(matcher.inputs.at(1));
  EXPECT_EQ(board.images.at(0).pixels, detector.images[0].pixels);
  EXPECT_EQ(golden.images.at(0).pixels, detector.images[1].pixels);
}

TEST(FrameFlow, PassesAFrameWhenEveryTaskHasAnsweredAndNobodyObjects) {
  Bench bench;
  bench.accept();
  bench.answer("detector", found({}));
  EXPECT_EQ(bench.verdicts(), 0U);
  bench.answer("matcher", distance_at(0, 0, 0.5F));
  ASSERT_EQ(bench.verdicts(), 1U);
  EXPECT_EQ(bench.verdict().verdict, Verdict::pass);
  EXPECT_EQ(bench.verdict().route, "next");
  EXPECT_EQ(bench.verdict().recipe, "pcb/1");
  EXPECT_FALSE(bench.verdict().by_fallback);
  EXPECT_EQ(bench.flow->in_flight(), 0U);
}

TEST(FrameFlow, LooksAtEachDetectionAgainInItsOwnRequest) {
  Bench bench;
  bench.accept();
  bench.answer("detector",
               found({detection(0, 0.9F, {10, 10, 20, 20}), detection(1, 0.1F, {40, 40, 50, 50}),
                      detection(1, 0.6F, {30, 30, 40, 34})}));
  // The weak one is below the crop's score_min.
  ASSERT_EQ(bench.client.waiting("classifier"), 2U);
  const CropSpec& crop = *bench.tasks[2].crop;
  const InferRequest& first = bench.client.request("classifier", 0);
  const InferRequest& second = bench.client.request("classifier", 1);
  EXPECT_EQ(std::get<ImageStack>(first.inputs[0]).region, crop_window({10, 10, 20, 20}, crop));
  EXPECT_EQ(std::get<ImageStack>(second.inputs[0]).region, crop_window({30, 30, 40, 34}, crop));
  EXPECT_EQ(first.rows, 1);
  EXPECT_EQ(first.holds.size(), 2U) << "a crop looks into the frame's slots";

  bench.answer("matcher", distance_at(0, 0, 0));
  bench.answer("classifier", classified(0, 0.9F));
  EXPECT_EQ(bench.verdicts(), 0U);
  bench.answer("classifier", classified(1, 0.9F));
  ASSERT_EQ(bench.verdicts(), 1U);
  EXPECT_EQ(bench.verdict().verdict, Verdict::reject);
  EXPECT_EQ(bench.verdict().detections.size(), 3U) << "everything above the floor is reported";
  ASSERT_EQ(bench.verdict().tasks.size(), 3U);
  EXPECT_EQ(bench.verdict().tasks[2].requests, 2);
  EXPECT_EQ(bench.verdict().tasks[2].compute, 4ms);
}

TEST(FrameFlow, ACascadeWithoutDetectionsHasNothingToAsk) {
  Bench bench;
  bench.accept();
  bench.answer("matcher", distance_at(0, 0, 0));
  bench.answer("detector", found({detection(0, 0.1F)}));
  EXPECT_EQ(bench.client.waiting("classifier"), 0U);
  ASSERT_EQ(bench.verdicts(), 1U);
  EXPECT_FALSE(bench.verdict().by_fallback);
}

TEST(FrameFlow, TheBestDetectionsWinWhereThereAreMoreThanCropsMax) {
  Bench bench;
  bench.accept();
  bench.answer("detector",
               found({detection(0, 0.3F, {0, 0, 8, 8}), detection(0, 0.9F, {8, 0, 16, 8}),
                      detection(0, 0.5F, {16, 0, 24, 8}), detection(0, 0.4F, {24, 0, 32, 8}),
                      detection(0, 0.8F, {32, 0, 40, 8})}));
  ASSERT_EQ(bench.client.waiting("classifier"), 3U);
  std::vector<float> left;
  for (std::size_t i = 0; i < 3; ++i) {
    const auto& stack = std::get<ImageStack>(bench.client.request("classifier", i).inputs[0]);
    left.push_back(stack.region.x + stack.region.width / 2);
  }
  EXPECT_THAT(left, ElementsAre(12, 36, 20));
  EXPECT_EQ(bench.stats().tasks[2].crops_left_out, 2U);
}

TEST(FrameFlow, ADetectionKeepsItsOwnClassificationWhateverTheOrder) {
  Bench bench([] {
    LineConfig config = board_line();
    config.relabel.enabled = true;
    return config;
  }());
  bench.accept();
  bench.answer("matcher", distance_at(0, 0, 0));
  bench.answer("detector", found({detection(0, 0.9F), detection(1, 0.6F), detection(0, 0.3F)}));
  bench.client.answer_at(2, classified(1, 0.45F));  // the third: not sure enough
  bench.client.answer_at(1, classified(2, 0.95F));  // the second: no name for a defect
  bench.client.answer_at(0, classified(1, 0.8F));   // the first: renamed
  bench.pump();
  ASSERT_EQ(bench.verdicts(), 1U);
  std::vector<std::string> names;
  for (const NamedDetection& seen : bench.verdict().detections) names.push_back(seen.class_name);
  EXPECT_THAT(names, ElementsAre("short", "short", "open"));
}

TEST(FrameFlow, WithoutRelabelTheDetectorsClassStays) {
  Bench bench;
  bench.accept();
  bench.answer("matcher", distance_at(0, 0, 0));
  bench.answer("detector", found({detection(0, 0.9F)}));
  bench.answer("classifier", classified(1, 0.99F));
  EXPECT_EQ(bench.verdict().detections.at(0).class_name, "open");
}

TEST(FrameFlow, RecordsTheMatchersDistance) {
  Bench bench;
  bench.accept();
  bench.answer("detector", found({}));
  bench.answer("matcher", distance_at(2, 2, 1.75F));
  EXPECT_EQ(bench.verdict().distance, 1.75F);
}

TEST(FrameFlow, AFailedTaskSpeaksThroughItsFallbackAndItsCascadeIsNotRun) {
  Bench bench;
  bench.accept();
  bench.answer("matcher", distance_at(0, 0, 0));
  bench.answer("detector", std::unexpected(error_of(ErrorKind::out_of_memory)));
  ASSERT_EQ(bench.verdicts(), 1U);
  EXPECT_EQ(bench.verdict().verdict, Verdict::review);
  EXPECT_TRUE(bench.verdict().by_fallback);
  EXPECT_THAT(bench.verdict().reasons,
              ElementsAre("task:defects failed out_of_memory", "task:kinds not run"));
  EXPECT_EQ(bench.verdict().tasks[0].error->kind, ErrorKind::out_of_memory);
  EXPECT_EQ(bench.verdict().tasks[2].error->kind, ErrorKind::unavailable);
}

TEST(FrameFlow, OneFailedCropMakesTheTaskFailButKeepsWhatTheOthersSaid) {
  LineConfig config = board_line();
  config.decision.rules = {
      {"short", {ClassifiedAs{.task = "kinds", .classes = {"short"}}}, Verdict::reject, ""}};
  Bench bench(config);
  bench.accept();
  bench.answer("matcher", distance_at(0, 0, 0));
  bench.answer("detector", found({detection(0, 0.9F), detection(0, 0.8F)}));
  bench.answer("classifier", std::unexpected(error_of(ErrorKind::internal)));
  EXPECT_EQ(bench.verdicts(), 0U);
  bench.answer("classifier", classified(1, 0.9F));
  ASSERT_EQ(bench.verdicts(), 1U);
  EXPECT_EQ(bench.verdict().verdict, Verdict::reject);
  EXPECT_THAT(bench.verdict().reasons,
              ElementsAre("rule:short kinds=short x1 max 0.90", "task:kinds failed internal"));
}

TEST(FrameFlow, AnOutputThatCanNotBeBelievedIsAFailure) {
  Bench bench;
  bench.accept();
  bench.answer("detector", found({}));
  bench.answer("matcher", distance_at(0, 0, std::numeric_limits<float>::quiet_NaN()));
  ASSERT_EQ(bench.verdicts(), 1U);
  EXPECT_THAT(bench.verdict().reasons, ElementsAre("task:difference failed corrupt_output"));
}

TEST(FrameFlow, TheTimerDecidesNotTheLastReply) {
  Bench bench;
  bench.accept();
  bench.answer("detector", found({detection(0, 0.9F)}));
  bench.pass_time(98ms);
  EXPECT_EQ(bench.verdicts(), 0U);
  bench.pass_time(1ms);  // verdict_margin before the deadline
  ASSERT_EQ(bench.verdicts(), 1U);
  EXPECT_EQ(bench.verdict().verdict, Verdict::reject) << "what is known by then counts";
  EXPECT_THAT(bench.verdict().reasons, ElementsAre("rule:defect open x1 max 0.90",
                                                   "task:difference late", "task:kinds late"));
  EXPECT_EQ(bench.verdict().lateness, -1ms);
  EXPECT_EQ(bench.verdict().latency, 99ms);
  EXPECT_EQ(bench.client.cancelled(), 2U) << "nobody waits for matcher and classifier any more";
  EXPECT_EQ(bench.stats().late_verdicts, 0U);
}

TEST(FrameFlow, AnAnswerAfterTheVerdictIsCountedAndNotUsed) {
  Bench bench;
  bench.accept();
  bench.pass_time(100ms);
  ASSERT_EQ(bench.verdicts(), 1U);
  bench.answer("detector", found({detection(0, 0.9F)}));
  bench.answer("matcher", std::unexpected(error_of(ErrorKind::cancelled)));
  EXPECT_EQ(bench.verdicts(), 1U);
  EXPECT_EQ(bench.client.waiting(), 0U) << "no cascade for a judged frame";
  EXPECT_EQ(bench.stats().late_results, 1U) << "withdrawn is not late";
}

TEST(FrameFlow, AVerdictBehindItsDeadlineIsMeasured) {
  Bench bench;
  bench.accept();
  bench.pass_time(130ms);
  EXPECT_EQ(bench.verdict().lateness, 30ms);
  EXPECT_EQ(bench.stats().late_verdicts, 1U);
  EXPECT_EQ(bench.stats().lateness.max, 30ms);
}

TEST(FrameFlow, ATaskThatIsRefusedAtOnceLeavesTheFrameToTheOthers) {
  Bench bench;
  bench.client.respond([](const std::string& model, const InferRequest&) {
    return model == "detector" ? std::optional<Result<Answer>>(
                                     fail(ErrorKind::deadline_exceeded, "can't be in time"))
                               : std::nullopt;
  });
  bench.accept();
  bench.pump();
  EXPECT_EQ(bench.verdicts(), 0U);
  bench.answer("matcher", distance_at(0, 0, 0));
  ASSERT_EQ(bench.verdicts(), 1U);
  EXPECT_THAT(bench.verdict().reasons, ElementsAre("task:defects late", "task:kinds not run"));
}

TEST(FrameFlow, AFrameThatComesTooLateIsAnsweredWithoutAskingTheEngine) {
  Bench bench;
  Frame frame = bench.frame("old");
  bench.clock.advance(150ms);
  bench.flow->accept(std::move(frame));
  ASSERT_EQ(bench.verdicts(), 1U);
  EXPECT_EQ(bench.client.waiting(), 0U);
  EXPECT_THAT(bench.verdict().reasons, Contains("task:defects late"));
}

TEST(FrameFlow, AStageMustLeaveTimeForWhatFollowsIt) {
  Bench bench;
  bench.client.expect_p99("detector", 20ms);
  bench.client.expect_p99("classifier", 30ms);
  bench.accept();
  const TimePoint end = bench.clock.now() + 99ms;
  EXPECT_EQ(bench.client.request("matcher").deadline, end);
  EXPECT_EQ(bench.client.request("detector").deadline, end - 30ms);
  bench.answer("detector", found({detection(0, 0.9F)}));
  EXPECT_EQ(bench.client.request("classifier").deadline, end);
}

TEST(FrameFlow, ACascadeThatCanNotBeInTimeDoesNotCostTheFirstStageItsAnswer) {
  Bench bench;
  bench.client.expect_p99("detector", 50ms);
  bench.client.expect_p99("classifier", 60ms);
  bench.accept();
  EXPECT_EQ(bench.client.request("detector").deadline, bench.clock.now() + 99ms);
}

TEST(FrameFlow, TheTimeForACascadeFollowsTheNumberOfCrops) {
  Bench bench([] {
    LineConfig config = board_line();
    config.deadline = 1s;
    return config;
  }());
  bench.client.expect_p99("classifier", 10ms);
  std::vector<Detection> many(40, detection(0, 0.9F));
  for (int i = 0; i < 40; ++i) {
    bench.accept("warm-up");
    bench.answer("detector", found(many));
    bench.flow->answer_all();
    bench.client.answer_all(error_of(ErrorKind::cancelled));
    bench.pump();
  }
  bench.accept();
  // Nearly 40 crops a frame, four a batch: ten batches.
  EXPECT_EQ(bench.client.request("detector").deadline, bench.clock.now() + 999ms - 100ms);
}

TEST(FrameFlow, ATaskMayHaveAShorterDeadlineThanItsLine) {
  std::vector<TaskSpec> tasks = board_tasks();
  tasks[1].deadline = 40ms;
  Bench bench(board_line(), tasks);
  bench.accept();
  EXPECT_EQ(bench.client.request("matcher").deadline, bench.clock.now() + 40ms);
}

TEST(FrameFlow, ADamagedFrameIsAnsweredAtOnceWithTheReason) {
  Bench bench;
  Frame frame = bench.frame("torn");
  frame.damage = Error{ErrorKind::invalid_input, "golden image missing"};
  bench.flow->accept(std::move(frame));
  ASSERT_EQ(bench.verdicts(), 1U);
  EXPECT_EQ(bench.client.waiting(), 0U);
  EXPECT_EQ(bench.verdict().verdict, Verdict::review);
  EXPECT_EQ(bench.verdict().route, "table");
  EXPECT_THAT(bench.verdict().reasons, ElementsAre("damaged: golden image missing"));
  EXPECT_EQ(bench.stats().damaged, 1U);
}

TEST(FrameFlow, ATaskThatWasNeverAskedTookNoTime) {
  Bench bench;
  bench.clock.advance(1h);
  Frame frame = bench.frame("torn");
  frame.damage = Error{ErrorKind::invalid_input, "golden image missing"};
  bench.flow->accept(std::move(frame));
  ASSERT_EQ(bench.verdicts(), 1U);
  for (const TaskReport& report : bench.verdict().tasks) {
    EXPECT_EQ(report.finished, bench.clock.now());
    EXPECT_EQ(report.submitted, report.finished) << report.task;
  }
}

TEST(FrameFlow, AFrameThatGaveWayIsAcceptedAndAnsweredLikeAnyOther) {
  Bench bench;
  bench.flow->drop(bench.frame("late"));
  ASSERT_EQ(bench.verdicts(), 1U);
  EXPECT_THAT(bench.verdict().reasons, ElementsAre("dropped"));
  EXPECT_TRUE(bench.verdict().by_fallback);
  EXPECT_EQ(bench.journal.accepted(), 1U);
  EXPECT_TRUE(bench.journal.holds_verdict(bench.verdict().seq));
  EXPECT_EQ(bench.stats().dropped, 1U);
}

TEST(FrameFlow, AFrameWithoutAnImageThatATaskNeedsFailsThatTaskAlone) {
  Bench bench;
  Frame frame = bench.frame("a");
  frame.images.pop_back();
  bench.flow->accept(std::move(frame));
  ASSERT_EQ(bench.verdicts(), 1U);
  EXPECT_THAT(bench.verdict().reasons, Contains("task:difference failed invalid_input"));
  EXPECT_THAT(bench.verdict().tasks[0].error->message, HasSubstr("no image 'golden'"));
}

TEST(FrameFlow, ImagesOfDifferentSizesAreNotStacked) {
  Bench bench;
  Frame frame = bench.frame("a");
  frame.images[1].view.width = 32;
  bench.flow->accept(std::move(frame));
  EXPECT_EQ(bench.client.waiting("detector"), 0U);
  EXPECT_EQ(bench.client.waiting("matcher"), 1U) << "its images are not stacked";
  bench.answer("matcher", distance_at(0, 0, 0));
  EXPECT_THAT(bench.verdict().tasks[0].error->message, HasSubstr("'golden' is 32x64"));
}

TEST(FrameFlow, AVerdictIsInTheJournalBeforeAnybodyHearsOfIt) {
  struct Order final : VerdictObserver {
    explicit Order(const MemoryJournal& kept) : journal(kept) {}
    void on_verdict(const VerdictRecord& record) override {
      journalled = journal.holds_verdict(record.seq);
    }
    const MemoryJournal& journal;
    std::optional<bool> journalled;
  };
  Bench bench;
  Order order(bench.journal);
  bench.path = std::make_unique<VerdictPath>(bench.config, bench.journal,
                                             std::vector<VerdictObserver*>{&order}, *bench.sinks,
                                             *bench.probe);
  FrameFlow flow(bench.config, bench.plan, bench.client, bench.clock, *bench.path, *bench.probe,
                 bench.events);
  flow.drop(bench.frame("a"));
  EXPECT_EQ(order.journalled, true);
}

TEST(FrameFlow, AFrameThatTheJournalDidNotTakeIsNotPassed) {
  Bench bench;
  bench.journal.set_full(true);
  bench.accept();
  bench.journal.set_full(false);
  bench.answer("detector", found({}));
  bench.answer("matcher", distance_at(0, 0, 0));
  ASSERT_EQ(bench.verdicts(), 1U);
  EXPECT_EQ(bench.verdict().verdict, Verdict::review);
  EXPECT_EQ(bench.verdict().route, "table");
  EXPECT_THAT(bench.verdict().reasons, ElementsAre("journal"));
  EXPECT_EQ(bench.stats().journal_failures, 1U);
  EXPECT_EQ(bench.stats().journal_error, "no room");
}

TEST(FrameFlow, AVerdictThatTheJournalDidNotTakeIsNotAPassEither) {
  Bench bench;
  bench.accept("good");
  bench.accept("bad");
  bench.journal.set_full(true);
  bench.answer("detector", found({}));
  bench.answer("matcher", distance_at(0, 0, 0));
  EXPECT_EQ(bench.verdict().verdict, Verdict::review);
  bench.answer("detector", found({detection(0, 0.9F)}));
  bench.answer("classifier", classified(0, 0.9F));
  bench.answer("matcher", distance_at(0, 0, 0));
  EXPECT_EQ(bench.verdict().verdict, Verdict::reject) << "a defect found stays a reject";
  EXPECT_THAT(bench.verdict().reasons, ElementsAre("rule:defect open x1 max 0.90", "journal"));
}

TEST(FrameFlow, FramesOfAnEarlierRunAreAnsweredWithRestart) {
  Bench bench;
  VerdictRecord left;
  left.seq = FrameSeq{41};
  left.line = "pcb";
  left.frame = "left-over";
  bench.journal.leave_unanswered(left);
  bench.path->answer_unanswered();
  ASSERT_EQ(bench.verdicts(), 1U);
  EXPECT_EQ(bench.verdict().verdict, Verdict::review);
  EXPECT_EQ(bench.verdict().route, "table");
  EXPECT_THAT(bench.verdict().reasons, ElementsAre("restart"));
  EXPECT_TRUE(bench.journal.holds_verdict(FrameSeq{41}));
  bench.sinks->close();
  EXPECT_EQ(bench.sink.size(), 1U);
  EXPECT_EQ(bench.stats().restarted, 1U);
  EXPECT_EQ(bench.stats().accepted, 0U) << "this run did not accept it";
}

LineConfig offline_line() {
  LineConfig config = board_line();
  config.deadline.reset();
  config.frames_in_flight_max = 2;
  return config;
}

TEST(FrameFlow, WithoutADeadlineSinksGetVerdictsInTheOrderOfTheFrames) {
  Bench bench(offline_line());
  bench.accept("first");
  bench.accept("second");
  bench.client.answer_at(2, found({}));
  bench.client.answer_at(2, distance_at(0, 0, 0));
  bench.pump();
  EXPECT_THAT(bench.observer.names(), ElementsAre("second")) << "observers don't wait";
  bench.answer("detector", found({}));
  bench.answer("matcher", distance_at(0, 0, 0));
  bench.sinks->close();
  EXPECT_THAT(bench.sink.names(), ElementsAre("first", "second"));
}

TEST(FrameFlow, OneSlowFrameDoesNotPileUpVerdictsWithoutEnd) {
  Bench bench(offline_line());
  bench.accept("slow");
  EXPECT_TRUE(bench.flow->has_room());
  for (int i = 0; bench.flow->has_room() && i < 100; ++i) bench.flow->drop(bench.frame("quick"));
  EXPECT_EQ(bench.verdicts(), 3U);
}

TEST(FrameFlow, WithoutADeadlineAFrameIsGivenUpWhenPatienceEnds) {
  Bench bench(offline_line());
  bench.accept();
  EXPECT_EQ(bench.client.request("matcher").deadline, bench.clock.now() + 60s);
  bench.pass_time(59s);
  EXPECT_EQ(bench.verdicts(), 0U);
  bench.pass_time(1s);
  ASSERT_EQ(bench.verdicts(), 1U);
  EXPECT_THAT(bench.verdict().reasons, Contains("task:defects late"));
  EXPECT_EQ(bench.verdict().lateness, Duration{}) << "there is no deadline to be behind";
}

TEST(FrameFlow, TakesNoMoreFramesThanConfigured) {
  LineConfig config = board_line();
  config.frames_in_flight_max = 2;
  Bench bench(config);
  bench.accept();
  EXPECT_TRUE(bench.flow->has_room());
  bench.accept();
  EXPECT_FALSE(bench.flow->has_room());
  bench.pass_time(1s);
  EXPECT_TRUE(bench.flow->has_room());
}

TEST(FrameFlow, SinksGetPixelsOfWhatWasNotPassedOnly) {
  Bench bench;
  bench.flow->drop(bench.frame("review"));
  bench.accept("pass");
  bench.answer("detector", found({}));
  bench.answer("matcher", distance_at(0, 0, 0));
  bench.sinks->close();
  EXPECT_EQ(bench.sink.size(), 2U);
  EXPECT_EQ(bench.sink.with_pictures(), 1);
  EXPECT_EQ(bench.observer.with_pictures(), 2);
}

TEST(FrameFlow, TheSlotsOfAFrameGoBackWithItsLastRequest) {
  Bench bench;
  bench.accept();
  bench.pass_time(1s);
  bench.sinks->close();
  EXPECT_EQ(bench.pool->in_use(), 2U) << "the engine still looks into them";
  bench.client.answer_all(error_of(ErrorKind::cancelled));
  EXPECT_EQ(bench.pool->in_use(), 0U);
  bench.pump();
  EXPECT_EQ(bench.client.results().in_use(), 0U);
}

TEST(FrameFlow, EveryTaskIsCountedByWhatBecameOfIt) {
  Bench bench;
  bench.accept();
  bench.answer("detector", found({}));
  bench.answer("matcher", std::unexpected(error_of(ErrorKind::internal)));
  bench.accept();
  bench.pass_time(1s);
  const std::vector<TaskStats> tasks = bench.stats().tasks;
  EXPECT_EQ(tasks[0].answered, 1U);
  EXPECT_EQ(tasks[0].late, 1U);
  EXPECT_EQ(tasks[0].compute.p50, 2ms);
  EXPECT_EQ(tasks[1].failed, 1U);
  EXPECT_EQ(tasks[1].late, 1U);
  EXPECT_EQ(tasks[2].answered, 1U);
  EXPECT_EQ(tasks[2].not_run, 1U);
  EXPECT_EQ(bench.stats().by_fallback, 2U);
}

class FallbackModel : public ::testing::Test {
 protected:
  // What is said of the task `defects`, the others having answered that there is nothing.
  std::string reason() {
    for (const std::string& reason : bench.verdict().reasons) {
      if (reason.starts_with("task:defects ")) return reason;
    }
    return {};
  }

  Bench bench{board_line(), board_tasks_with_fallbacks()};
};

TEST_F(FallbackModel, IsNotAskedWhileTheTasksOwnModelAnswers) {
  bench.accept();
  EXPECT_EQ(bench.client.waiting("detector-small"), 0U);
  bench.answer("detector", found({}));
  bench.answer("matcher", distance_at(0, 0, 0));
  EXPECT_TRUE(bench.verdict().reasons.empty());
  EXPECT_FALSE(bench.verdict().tasks[0].stand_in);
  EXPECT_EQ(bench.stats().tasks[0].fallback_asked, 0U);
}

TEST_F(FallbackModel, AnswersInTheTasksPlaceWhateverTookTheFirstAnswer) {
  for (const ErrorKind kind :
       {ErrorKind::worker_lost, ErrorKind::unavailable, ErrorKind::deadline_exceeded,
        ErrorKind::out_of_memory, ErrorKind::corrupt_output, ErrorKind::device_poisoned,
        ErrorKind::internal}) {
    bench.accept();
    bench.answer("matcher", distance_at(0, 0, 0));
    bench.answer("detector", std::unexpected(error_of(kind)));
    ASSERT_EQ(bench.client.waiting("detector-small"), 1U) << to_string(kind);
    bench.answer("detector-small", found({}));
    const VerdictRecord record = bench.verdict();
    EXPECT_EQ(record.verdict, Verdict::pass);
    EXPECT_FALSE(record.by_fallback) << "a model has judged";
    EXPECT_EQ(reason(), "task:defects answered by its fallback detector-small: " +
                            std::string(to_string(kind)));
    EXPECT_FALSE(record.tasks[0].error);
    ASSERT_TRUE(record.tasks[0].stand_in);
    EXPECT_EQ(record.tasks[0].stand_in->task, "defects-small");
    EXPECT_EQ(record.tasks[0].stand_in->cause.kind, kind);
  }
  EXPECT_EQ(bench.stats().tasks[0].answered, 7U);
  EXPECT_EQ(bench.stats().tasks[0].fallback_asked, 7U);
  EXPECT_EQ(bench.stats().tasks[0].fallback_answered, 7U);
}

TEST_F(FallbackModel, IsAskedWithTheSameImagesClassAndDeadline) {
  bench.accept();
  const InferRequest& own = bench.client.request("detector");
  const auto pixels = std::get<ImageStack>(own.inputs.at(0)).images.at(1).pixels;
  const TimePoint deadline = own.deadline;
  bench.answer("detector", std::unexpected(error_of(ErrorKind::worker_lost)));
  const InferRequest& second = bench.client.request("detector-small");
  EXPECT_EQ(std::get<ImageStack>(second.inputs.at(0)).images.at(1).pixels, pixels);
  EXPECT_EQ(second.deadline, deadline);
  EXPECT_EQ(second.priority, bench.tasks[0].priority);
  EXPECT_EQ(second.holds.size(), 2U);
}

TEST_F(FallbackModel, ItsClassesAreReadInItsOwnOrder) {
  bench.accept();
  bench.answer("matcher", distance_at(0, 0, 0));
  bench.answer("detector", std::unexpected(error_of(ErrorKind::worker_lost)));
  bench.answer("detector-small", found({detection(0, 0.9F)}));
  bench.answer("classifier", classified(0, 0.9F));
  ASSERT_EQ(bench.verdicts(), 1U);
  EXPECT_EQ(bench.verdict().verdict, Verdict::reject);
  EXPECT_EQ(bench.verdict().detections.at(0).class_name, "short");
  EXPECT_EQ(bench.verdict().detections.at(0).task, "defects") << "rules know the task by its name";
  EXPECT_EQ(bench.verdict().reasons.back(),
            "task:defects answered by its fallback detector-small: worker_lost");
}

TEST_F(FallbackModel, OnlyTheCropThatFailedIsAskedAgain) {
  bench.accept();
  bench.answer("matcher", distance_at(0, 0, 0));
  bench.answer("detector",
               found({detection(0, 0.9F, {10, 10, 20, 20}), detection(1, 0.8F, {30, 30, 40, 40})}));
  bench.answer("classifier", classified(0, 0.9F));
  bench.answer("classifier", std::unexpected(error_of(ErrorKind::out_of_memory)));
  ASSERT_EQ(bench.client.waiting("classifier-second"), 1U);
  const auto& stack = std::get<ImageStack>(bench.client.request("classifier-second").inputs.at(0));
  EXPECT_EQ(stack.region, crop_window({30, 30, 40, 40}, *bench.tasks[2].crop));
  bench.answer("classifier-second", classified(1, 0.9F));
  ASSERT_EQ(bench.verdicts(), 1U);
  EXPECT_FALSE(bench.verdict().by_fallback);
}

TEST_F(FallbackModel, ThatFailsAsWellLeavesTheVerdictThatIsDeclared) {
  bench.accept();
  bench.answer("matcher", distance_at(0, 0, 0));
  bench.answer("detector", std::unexpected(error_of(ErrorKind::worker_lost)));
  bench.answer("detector-small", std::unexpected(error_of(ErrorKind::unavailable)));
  ASSERT_EQ(bench.verdicts(), 1U);
  EXPECT_EQ(bench.verdict().verdict, Verdict::review);
  EXPECT_TRUE(bench.verdict().by_fallback);
  EXPECT_EQ(reason(),
            "task:defects failed worker_lost; its fallback detector-small, asked after "
            "worker_lost: unavailable");
  EXPECT_EQ(bench.stats().tasks[0].fallback_asked, 1U);
  EXPECT_EQ(bench.stats().tasks[0].fallback_answered, 0U);
}

TEST_F(FallbackModel, ThatIsNotInTimeIsGivenUpAtTheDeadline) {
  bench.accept();
  bench.answer("matcher", distance_at(0, 0, 0));
  bench.answer("detector", std::unexpected(error_of(ErrorKind::worker_lost)));
  bench.pass_time(200ms);
  ASSERT_EQ(bench.verdicts(), 1U);
  EXPECT_EQ(bench.verdict().verdict, Verdict::review);
  EXPECT_EQ(reason(),
            "task:defects late; its fallback detector-small, asked after worker_lost: "
            "deadline_exceeded");
  EXPECT_EQ(bench.client.cancelled(), 1U) << "the request to the fallback";
  bench.answer("detector-small", found({}));
  EXPECT_EQ(bench.verdicts(), 1U);
  EXPECT_EQ(bench.stats().late_results, 1U);
}

TEST_F(FallbackModel, IsNotAskedWhereTheInputIsWrong) {
  bench.accept();
  bench.answer("matcher", distance_at(0, 0, 0));
  bench.answer("detector", std::unexpected(error_of(ErrorKind::invalid_input)));
  EXPECT_EQ(bench.client.waiting("detector-small"), 0U);
  EXPECT_EQ(reason(), "task:defects failed invalid_input");
}

TEST_F(FallbackModel, IsNotAskedWhenNoTimeIsLeft) {
  bench.accept();
  bench.client.answer("detector", std::unexpected(error_of(ErrorKind::worker_lost)));
  bench.clock.advance(200ms);
  bench.pump();
  EXPECT_EQ(bench.client.waiting("detector-small"), 0U);
}

}  // namespace
}  // namespace takt::line
