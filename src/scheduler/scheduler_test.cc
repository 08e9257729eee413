// SPDX-License-Identifier: Apache-2.0
#include "scheduler/scheduler.h"

#include "scheduler/line_fixture.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace takt::scheduler {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

TEST(Scheduler, StartsARequestAtOnceOnAnIdleDevice) {
  Line line;
  line.add(0, {0}, limits(4), hundred_and_fifty());
  line.arrive(1, 0, 1000);
  ASSERT_EQ(line.all<StartBatch>().size(), 1U);
  EXPECT_EQ(line.all<StartBatch>()[0].expected_end, at_us(100));
  EXPECT_THAT(line.only_started().requests, ElementsAre(1));
}

TEST(Scheduler, BatchesWhatWaitedWhileTheInstanceWasBusy) {
  Line line;
  line.add(0, {0}, limits(3), hundred_and_fifty());
  line.arrive(1, 0);
  const Started first = line.only_started();
  for (std::uint64_t id = 2; id <= 5; ++id) line.arrive(id, 0);
  line.complete(first, 100);
  EXPECT_THAT(line.only_started().requests, ElementsAre(2, 3, 4));
}

TEST(Scheduler, BatchesWhatArrivesTogether) {
  Line line;
  line.add(0, {0, 1}, limits(3), hundred_and_fifty());
  for (const std::uint64_t id : {1, 2}) {
    line.apply(RequestArrived{.request = RequestId{id}, .model = ModelId{0}, .more_come = true});
  }
  EXPECT_THAT(line.all<StartBatch>(), SizeIs(0));
  line.arrive(3, 0);
  EXPECT_THAT(line.only_started().requests, ElementsAre(1, 2, 3));
}

TEST(Scheduler, WhatArrivesWithTheLastIsStartedWhereThatIsRefused) {
  Line line;
  line.add(0, {0}, limits(3), hundred_and_fifty());
  line.apply(RequestArrived{.request = RequestId{1}, .model = ModelId{0}, .more_come = true});
  line.arrive(2, 7);  // of a model that isn't there
  EXPECT_THAT(line.only_started().requests, ElementsAre(1));
}

TEST(Scheduler, CountsRowsNotRequestsAgainstBatchMax) {
  Line line;
  line.add(0, {0}, limits(4), hundred_and_fifty());
  line.arrive(1, 0);
  const Started first = line.only_started();
  line.arrive(2, 0, {}, PriorityClass::normal, 3);
  line.arrive(3, 0, {}, PriorityClass::normal, 2);
  line.arrive(4, 0);
  line.complete(first, 100);
  EXPECT_THAT(line.only_started().requests, ElementsAre(2))
      << "3 doesn't fit, and 4 doesn't overtake it";
}

TEST(Scheduler, AModelWithoutBatchDimensionRunsEachRequestAlone) {
  Line line;
  line.add(0, {0}, limits(0), {{1, us(100), us(100)}});
  line.arrive(1, 0);
  const Started first = line.only_started();
  line.arrive(2, 0);
  line.arrive(3, 0);
  line.complete(first, 100);
  EXPECT_THAT(line.only_started().requests, ElementsAre(2));
}

TEST(Scheduler, GrowsOnlyWhileEveryMemberStaysInTime) {
  Line line;
  line.add(0, {0}, limits(8), hundred_and_fifty());
  line.arrive(1, 0);
  const Started first = line.only_started();
  line.arrive(2, 0, 260);  // in time alone and with one more, not with two
  line.arrive(3, 0, 5000);
  line.arrive(4, 0, 5000);
  line.now_us = 100;
  line.complete(first, 100);
  EXPECT_THAT(line.only_started().requests, ElementsAre(2, 3));
}

TEST(Scheduler, GrowthMakesNoMoreUrgentRequestOfAnotherModelLate) {
  Line line;
  line.add(0, {0}, limits(8), hundred_and_fifty());
  line.add(1, {1}, limits(1), {{1, us(100), us(100)}});
  line.arrive(1, 0);
  const Started first = line.only_started();
  line.arrive(2, 0, 320);
  line.arrive(3, 0, 5000);  // with it the batch would end at 250
  line.arrive(4, 1, 340);   // must start by 240
  line.now_us = 100;
  line.complete(first, 100);
  EXPECT_THAT(line.only_started().requests, ElementsAre(2));
}

TEST(Scheduler, ALooserRequestOfAnotherModelDoesNotStopGrowth) {
  Line line;
  line.add(0, {0}, limits(8), hundred_and_fifty());
  line.add(1, {1}, limits(1), {{1, us(100), us(100)}});
  line.arrive(1, 0);
  const Started first = line.only_started();
  line.arrive(2, 0, 320);
  line.arrive(3, 0, 5000);
  line.arrive(4, 1, 350);  // may start at 250, when the grown batch ends
  line.now_us = 100;
  line.complete(first, 100);
  EXPECT_THAT(line.only_started().requests, ElementsAre(2, 3));
}

TEST(Scheduler, ABacklogRunsInOneBatchWhenOneInstanceCanTakeIt) {
  Line line(2);
  line.add(0, {}, limits(8), hundred_and_fifty());
  for (std::uint64_t id = 1; id <= 4; ++id) line.arrive(id, 0);
  line.apply(InstanceReady{InstanceId{0}, ModelId{0}});
  EXPECT_THAT(line.only_started().requests, ElementsAre(1, 2, 3, 4));
}

TEST(Scheduler, ABacklogRunsInOneBatchWhenOneLaneIsFree) {
  Line line(2);
  line.add(0, {0, 1}, limits(8), hundred_and_fifty());
  line.add(1, {2, 3}, limits(0), {{1, us(100), us(100)}});
  line.arrive(10, 1);
  const Started running = line.only_started();
  line.arrive(11, 1);
  for (std::uint64_t id = 1; id <= 4; ++id) line.arrive(id, 0);
  line.complete(running, 100);
  EXPECT_THAT(line.only_started().requests, ElementsAre(1, 2, 3, 4));
}

TEST(Scheduler, TwoLanesShareABacklogThatBecomesRunnableAtOnce) {
  Line line(2);
  line.add(0, {0, 1}, limits(8, 16, us(1000)), hundred_and_fifty());
  for (std::uint64_t id = 1; id <= 4; ++id) line.arrive(id, 0);
  EXPECT_TRUE(line.started().empty()) << "held for company";
  line.now_us = 1000;
  line.apply(TimerFired{});
  const auto batches = line.started();
  ASSERT_EQ(batches.size(), 2U);
  EXPECT_THAT(batches[0].requests, ElementsAre(1, 2));
  EXPECT_THAT(batches[1].requests, ElementsAre(3, 4));
}

TEST(Scheduler, HigherClassGoesFirstWhateverTheDeadline) {
  Line line;
  line.add(0, {0}, limits(1), {{1, us(100), us(100)}});
  line.add(1, {1}, limits(1), {{1, us(100), us(100)}});
  line.arrive(1, 0);
  Started running = line.only_started();
  line.arrive(2, 0, 300, PriorityClass::background);
  line.arrive(3, 0, 1000, PriorityClass::normal);
  line.arrive(4, 1, 9000, PriorityClass::high);
  line.arrive(5, 1, {}, PriorityClass::critical);
  std::vector<std::uint64_t> order;
  for (int i = 0; i < 3; ++i) {
    line.now_us += 50;
    line.complete(running, 50);
    running = line.only_started();
    order.push_back(running.requests.at(0));
  }
  EXPECT_THAT(order, ElementsAre(5, 4, 3));
}

TEST(Scheduler, EarliestDeadlineFirstAcrossModelsOfAClass) {
  Line line;
  line.add(0, {0}, limits(1), {{1, us(100), us(100)}});
  line.add(1, {1}, limits(1), {{1, us(100), us(100)}});
  line.arrive(1, 0);
  const Started first = line.only_started();
  line.arrive(2, 0, 2000);
  line.arrive(3, 1, 1000);
  line.complete(first, 100);
  EXPECT_THAT(line.only_started().requests, ElementsAre(3));
}

TEST(Scheduler, ABusyInstanceDoesNotHoldBackOtherModels) {
  Line line(2);
  line.add(0, {0}, limits(1), {{1, us(100), us(100)}});
  line.add(1, {1}, limits(1), {{1, us(100), us(100)}});
  line.arrive(1, 0, {}, PriorityClass::critical);
  line.arrive(2, 0, {}, PriorityClass::critical);
  EXPECT_TRUE(line.started().empty());
  line.arrive(3, 1, {}, PriorityClass::background);
  EXPECT_THAT(line.only_started().requests, ElementsAre(3));
}

TEST(Scheduler, RefusesAtOnceWhatCannotBeInTime) {
  Line line;
  line.add(0, {0}, limits(1), {{1, us(100), us(100)}});
  line.arrive(1, 0, 200);
  line.arrive(2, 0, 200);
  EXPECT_TRUE(line.all<Refuse>().empty());
  line.arrive(3, 0, 299);
  ASSERT_EQ(line.all<Refuse>().size(), 1U);
  const Refuse refusal = line.all<Refuse>()[0];
  EXPECT_EQ(refusal.kind, ErrorKind::deadline_exceeded);
  EXPECT_EQ(refusal.late_by, us(1));
  EXPECT_THAT(describe(refusal).message, HasSubstr("1 us after its deadline"));
  line.arrive(4, 0, 300);
  EXPECT_TRUE(line.all<Refuse>().empty());
}

TEST(Scheduler, LessUrgentWorkAheadIsNoReasonToRefuse) {
  Line line;
  line.add(0, {0}, limits(1), {{1, us(100), us(100)}});
  line.arrive(1, 0);
  for (std::uint64_t id = 2; id <= 9; ++id) line.arrive(id, 0, {}, PriorityClass::background);
  line.arrive(10, 0, 200, PriorityClass::critical);
  EXPECT_TRUE(line.all<Refuse>().empty());
}

TEST(Scheduler, AdmitsWhateverTheDeadlineWhenNoProfileIsKnown) {
  Line line;
  line.add(0, {0}, limits(1), {});
  line.arrive(1, 0, 1);
  EXPECT_THAT(line.only_started().requests, ElementsAre(1));
  line.now_us = 5;
  line.arrive(2, 0, 5);
  EXPECT_EQ(line.all<Refuse>().size(), 1U) << "its deadline has passed already";
}

TEST(Scheduler, RefusesBeyondTheQueueDepth) {
  Line line;
  line.add(0, {0}, limits(1, 2), {{1, us(100), us(100)}});
  for (std::uint64_t id = 1; id <= 3; ++id) line.arrive(id, 0);
  EXPECT_TRUE(line.all<Refuse>().empty()) << "one runs, two wait";
  line.arrive(4, 0);
  ASSERT_EQ(line.all<Refuse>().size(), 1U);
  EXPECT_EQ(line.all<Refuse>()[0].kind, ErrorKind::overloaded);
  EXPECT_THAT(describe(line.all<Refuse>()[0]).message, HasSubstr("queue_depth_max 2"));
}

TEST(Scheduler, RefusesBeyondTheBytesOfTheQueue) {
  Line line;
  ModelLimits bounded = limits(1);
  bounded.queue_bytes_max = 100;
  line.add(0, {0}, bounded, {{1, us(100), us(100)}});
  const auto arrive = [&line](std::uint64_t id, std::int64_t bytes) {
    line.apply(RequestArrived{.request = RequestId{id}, .model = ModelId{0}, .bytes = bytes});
  };
  arrive(1, 90);
  arrive(2, 60);
  arrive(3, 40);
  EXPECT_TRUE(line.all<Refuse>().empty()) << "what runs doesn't count";
  arrive(4, 1);
  ASSERT_EQ(line.all<Refuse>().size(), 1U);
  EXPECT_EQ(line.all<Refuse>()[0].reason, RefusalReason::queue_bytes_full);
  EXPECT_EQ(line.all<Refuse>()[0].kind, ErrorKind::overloaded);
  EXPECT_THAT(describe(line.all<Refuse>()[0]).message, HasSubstr("queue_bytes_max 100"));
  line.apply(RequestCancelled{RequestId{3}});
  arrive(5, 40);
  EXPECT_TRUE(line.all<Refuse>().empty());
}

TEST(Scheduler, RunsNoMoreBatchesOfAModelThanItsLimit) {
  Line line(3);
  ModelLimits bounded = limits(1);
  bounded.concurrency_max = 2;
  line.add(0, {0, 1, 2}, bounded, {{1, us(100), us(100)}});
  line.add(1, {3}, limits(1), {{1, us(100), us(100)}});
  line.arrive(1, 0);
  const Started first = line.only_started();
  line.arrive(2, 0);
  EXPECT_EQ(line.started().size(), 1U);
  line.arrive(3, 0);
  EXPECT_TRUE(line.started().empty());
  line.arrive(4, 1, {}, PriorityClass::background);
  EXPECT_EQ(line.started().size(), 1U) << "the lane is free for others";
  line.complete(first, 100);
  EXPECT_THAT(line.only_started().requests, ElementsAre(3));
}

TEST(Scheduler, FlowsWithoutDeadlinesTakeTurns) {
  Line line;
  line.add(0, {0}, limits(2), hundred_and_fifty());
  const auto arrive = [&line](std::uint64_t id, std::uint32_t flow, int rows = 1) {
    line.apply(RequestArrived{
        .request = RequestId{id}, .model = ModelId{0}, .rows = rows, .flow = FlowId{flow}});
  };
  arrive(1, 0);
  Started running = line.only_started();
  for (std::uint64_t id = 2; id <= 5; ++id) arrive(id, 0);
  arrive(10, 1, 2);
  arrive(11, 1);
  arrive(20, 2);
  std::vector<std::uint64_t> order;
  while (line.scheduler().waiting() > 0) {
    line.complete(running, 100);
    running = line.only_started();
    order.insert(order.end(), running.requests.begin(), running.requests.end());
  }
  EXPECT_THAT(order, ElementsAre(10, 20, 2, 3, 11, 4, 5)) << "two rows of a flow count twice";
}

TEST(Scheduler, RefusesRowsThatFitNoBatch) {
  Line line;
  line.add(0, {0}, limits(4), hundred_and_fifty());
  for (const int rows : {0, 5, -1}) {
    line.arrive(1, 0, {}, PriorityClass::normal, rows);
    ASSERT_EQ(line.all<Refuse>().size(), 1U);
    EXPECT_EQ(line.all<Refuse>()[0].kind, ErrorKind::invalid_input);
    EXPECT_THAT(describe(line.all<Refuse>()[0]).message, HasSubstr("1 to 4 rows"));
  }
}

TEST(Scheduler, RefusesAnUnknownModel) {
  Line line;
  line.arrive(1, 7);
  ASSERT_EQ(line.all<Refuse>().size(), 1U);
  EXPECT_EQ(line.all<Refuse>()[0].reason, RefusalReason::unknown_model);
  EXPECT_EQ(line.all<Refuse>()[0].kind, ErrorKind::unavailable);
}

TEST(Scheduler, ExpiresAtTheTimerWhatCanNoLongerBeMet) {
  Line line;
  line.add(0, {0}, limits(1), {{1, us(100), us(100)}});
  line.arrive(1, 0);
  line.arrive(2, 0, 250);
  ASSERT_EQ(line.all<ArmTimer>().size(), 1U);
  EXPECT_EQ(line.all<ArmTimer>()[0].at, at_us(150) + Duration(1)) << "its latest start";
  line.now_us = 151;
  line.apply(TimerFired{});
  ASSERT_EQ(line.all<Expire>().size(), 1U);
  EXPECT_EQ(line.all<Expire>()[0].request.value, 2U);
  EXPECT_EQ(line.scheduler().waiting(), 0U);
}

TEST(Scheduler, AnUnknownProfileExpiresAtTheDeadline) {
  Line line;
  line.add(0, {0}, limits(1), {});
  line.arrive(1, 0);
  line.arrive(2, 0, 250);
  EXPECT_EQ(line.all<ArmTimer>().at(0).at, at_us(250));
  line.now_us = 250;
  line.apply(TimerFired{});
  EXPECT_EQ(line.all<Expire>().size(), 1U);
}

TEST(Scheduler, ArmsTheTimerOnlyWhenSomethingComesEarlier) {
  Line line;
  line.add(0, {0}, limits(1), {{1, us(100), us(100)}});
  line.arrive(1, 0);
  line.arrive(2, 0, 1000);
  EXPECT_EQ(line.all<ArmTimer>().size(), 1U);
  line.arrive(3, 0, 2000);
  EXPECT_TRUE(line.all<ArmTimer>().empty());
  line.arrive(4, 0, 500);
  EXPECT_EQ(line.all<ArmTimer>().size(), 1U);
}

TEST(Scheduler, CancelsWhatWaitsAndLeavesWhatRuns) {
  Line line;
  line.add(0, {0}, limits(1), {{1, us(100), us(100)}});
  line.arrive(1, 0);
  const Started first = line.only_started();
  line.arrive(2, 0);
  line.apply(RequestCancelled{RequestId{1}});
  EXPECT_TRUE(line.all<Cancelled>().empty());
  line.apply(RequestCancelled{RequestId{2}});
  ASSERT_EQ(line.all<Cancelled>().size(), 1U);
  line.apply(RequestCancelled{RequestId{2}});
  EXPECT_TRUE(line.all<Cancelled>().empty()) << "it was answered";
  line.complete(first, 100);
  EXPECT_TRUE(line.started().empty());
}

TEST(Scheduler, DoesNotTakeAWaitingRequestTwice) {
  Line line;
  line.add(0, {0}, limits(1), {{1, us(100), us(100)}});
  line.arrive(1, 0);
  line.arrive(2, 0);
  line.arrive(2, 0);
  EXPECT_EQ(line.scheduler().waiting(), 1U);
  EXPECT_EQ(line.statistics().arrivals_ignored, 1U);
}

TEST(Scheduler, AnIdleDeviceDoesNotWaitByDefault) {
  Line line;
  line.add(0, {0}, limits(8), hundred_and_fifty());
  line.arrive(1, 0, 100'000);
  EXPECT_EQ(line.started().size(), 1U);
}

TEST(Scheduler, ABatchDelayWaitsForCompanyUpToItsBound) {
  Line line;
  line.add(0, {0}, limits(4, 16, us(500)), hundred_and_fifty());
  line.arrive(1, 0, 100'000);
  EXPECT_TRUE(line.started().empty());
  EXPECT_EQ(line.all<ArmTimer>().at(0).at, at_us(500));
  line.now_us = 300;
  line.arrive(2, 0, 100'000);
  EXPECT_TRUE(line.started().empty()) << "a newcomer doesn't extend the delay";
  line.now_us = 500;
  line.apply(TimerFired{});
  EXPECT_THAT(line.only_started().requests, ElementsAre(1, 2));
}

TEST(Scheduler, ABatchDelayEndsWhenTheBatchIsFull) {
  Line line;
  line.add(0, {0}, limits(2, 16, us(500)), hundred_and_fifty());
  line.arrive(1, 0);
  line.arrive(2, 0);
  EXPECT_THAT(line.only_started().requests, ElementsAre(1, 2));
}

TEST(Scheduler, ABatchDelayLeavesTimeForAFullBatch) {
  Line line;
  line.add(0, {0}, limits(8, 16, us(500)), hundred_and_fifty());
  line.arrive(1, 0, 600);  // a full batch takes 450
  EXPECT_EQ(line.all<ArmTimer>().at(0).at, at_us(150));
  line.now_us = 150;
  line.apply(TimerFired{});
  EXPECT_EQ(line.started().size(), 1U);
}

TEST(Scheduler, InstancesRunWhereTheirHomeIsFree) {
  Line line(2);
  line.add(0, {0, 1}, limits(1), hundred_and_fifty());
  line.add(1, {2, 3}, limits(1), hundred_and_fifty());
  line.arrive(1, 0);
  const Started first = line.only_started();
  line.arrive(2, 1);
  const Started second = line.only_started();
  EXPECT_NE(first.instance % 2, second.instance % 2) << "the n-th instance is at home on lane n";
  // Whichever ends: the next batch finds an instance at home on the lane that it left.
  line.complete(first, 100);
  line.arrive(3, 1);
  const Started third = line.only_started();
  EXPECT_EQ(third.instance % 2, first.instance % 2);
  line.complete(second, 100);
  line.arrive(4, 0);
  EXPECT_EQ(line.only_started().instance % 2, second.instance % 2);
}

TEST(Scheduler, AFreeLaneIsUsedAwayFromHomeToo) {
  Line line(2);
  line.add(0, {0}, limits(1), hundred_and_fifty());
  line.add(1, {1}, limits(1), hundred_and_fifty());
  line.arrive(1, 0);
  line.arrive(2, 1);
  EXPECT_EQ(line.only_started().instance, 1U);
}

TEST(Scheduler, ABatchDelayNeverHoldsBackOtherWork) {
  Line line;
  line.add(0, {0}, limits(8, 16, us(500)), hundred_and_fifty());
  line.add(1, {1}, limits(1), {{1, us(100), us(100)}});
  line.arrive(1, 0);
  EXPECT_TRUE(line.started().empty());
  line.arrive(2, 1);
  EXPECT_THAT(line.only_started().requests, ElementsAre(1)) << "the lane is wanted, so it goes on";
}

TEST(Scheduler, AFailedBatchFreesTheLaneAndTeachesNothing) {
  Line line;
  line.add(0, {0}, limits(1), {{1, us(100), us(100)}});
  line.arrive(1, 0);
  for (std::uint64_t id = 2; id <= 6; ++id) {
    const Started running = {.batch = id - 1, .model = 0, .instance = 0, .requests = {}};
    line.arrive(id, 0);
    line.complete(running, 90'000, ErrorKind::internal);
    EXPECT_EQ(line.started().size(), 1U);
  }
  EXPECT_EQ(line.scheduler().expected_p99(ModelId{0}, 1), us(100));
  EXPECT_EQ(line.statistics().batches_failed, 5U);
}

TEST(Scheduler, LearnsFromWhatIsExecuted) {
  Line line;
  line.add(0, {0}, limits(1), {{1, us(100), us(100)}});
  line.arrive(1, 0);
  for (std::uint64_t id = 2; id <= 4; ++id) {
    line.complete({.batch = id - 1, .model = 0, .instance = 0, .requests = {}}, 700);
    line.arrive(id, 0);
  }
  EXPECT_EQ(line.scheduler().expected_p99(ModelId{0}, 1), us(700));
}

TEST(Scheduler, ASlowMinuteDoesNotRefuseForEver) {
  Line line;
  line.add(0, {0}, limits(1), {{1, us(100), us(100)}});
  line.arrive(1, 0);
  for (std::uint64_t id = 2; id <= 4; ++id) {
    line.complete({.batch = id - 1, .model = 0, .instance = 0, .requests = {}}, 700);
    if (id < 4) line.arrive(id, 0);
  }
  line.now_us = 1'000'000;
  line.arrive(10, 0, line.now_us + 300);
  EXPECT_EQ(line.all<Refuse>().size(), 1U);
  line.now_us = 11'000'000;  // nothing could run for more than profile_memory
  line.arrive(11, 0, line.now_us + 300);
  EXPECT_THAT(line.only_started().requests, ElementsAre(11));
  EXPECT_EQ(line.statistics().profiles_forgotten, 1U);
}

TEST(Scheduler, ALostInstanceFreesItsLaneAndItsLateCompletionIsIgnored) {
  Line line;
  line.add(0, {0, 1}, limits(1), {{1, us(100), us(100)}});
  line.arrive(1, 0);
  const Started lost = line.only_started();
  line.arrive(2, 0);
  line.apply(InstanceLost{InstanceId{lost.instance}});
  const Started second = line.only_started();
  EXPECT_NE(second.instance, lost.instance);
  line.arrive(3, 0);
  line.complete(lost, 100);
  EXPECT_TRUE(line.started().empty()) << "the lane is still taken by the second batch";
  EXPECT_EQ(line.statistics().completions_ignored, 1U);
}

TEST(Scheduler, RequestsWaitForAnInstanceThatComesBack) {
  Line line;
  line.add(0, {0}, limits(1), {{1, us(100), us(100)}});
  line.apply(InstanceLost{InstanceId{0}});
  line.arrive(1, 0, 1000);
  EXPECT_TRUE(line.started().empty());
  EXPECT_TRUE(line.all<Refuse>().empty());
  line.now_us = 500;
  line.apply(InstanceReady{InstanceId{0}, ModelId{0}});
  EXPECT_THAT(line.only_started().requests, ElementsAre(1));
}

TEST(Scheduler, ASuspendedModelRefusesWhatWaitsAndWhatComes) {
  Line line;
  line.add(0, {0}, limits(1), {{1, us(100), us(100)}});
  line.add(1, {1}, limits(1), {{1, us(100), us(100)}});
  line.arrive(1, 0);
  line.arrive(2, 0);
  line.arrive(3, 1);
  line.apply(InstanceLost{InstanceId{0}});
  line.apply(ModelSuspended{ModelId{0}});
  ASSERT_EQ(line.all<Refuse>().size(), 1U);
  EXPECT_EQ(line.all<Refuse>()[0].request.value, 2U);
  line.arrive(4, 0);
  ASSERT_EQ(line.all<Refuse>().size(), 1U);
  const Refuse refusal = line.all<Refuse>()[0];
  EXPECT_EQ(refusal.reason, RefusalReason::model_suspended);
  EXPECT_EQ(refusal.kind, ErrorKind::unavailable);
  EXPECT_THAT(describe(refusal).message, HasSubstr("failed again and again"));
  EXPECT_THAT(describe(refusal).message, HasSubstr("fallback stands in"));
  line.arrive(5, 1);
  EXPECT_TRUE(line.all<Refuse>().empty()) << "other models go on";
}

TEST(Scheduler, AnInstanceThatIsReadyEndsTheSuspension) {
  Line line;
  line.add(0, {0}, limits(1), {{1, us(100), us(100)}});
  line.apply(InstanceLost{InstanceId{0}});
  line.apply(ModelSuspended{ModelId{0}});
  line.apply(InstanceReady{InstanceId{0}, ModelId{0}});
  line.arrive(1, 0);
  EXPECT_THAT(line.only_started().requests, ElementsAre(1));
}

TEST(Scheduler, SuspensionLeavesWhatRuns) {
  Line line;
  line.add(0, {0}, limits(1), {{1, us(100), us(100)}});
  line.arrive(1, 0);
  const Started running = line.only_started();
  line.apply(ModelSuspended{ModelId{0}});
  EXPECT_TRUE(line.all<Refuse>().empty());
  line.complete(running, 100);
  EXPECT_EQ(line.statistics().batches_completed, 1U);
  line.arrive(2, 0);
  EXPECT_EQ(line.all<Refuse>().size(), 1U) << "only an instance that becomes ready ends it";
}

TEST(Scheduler, ARemovedModelRunsWhatWaitsAndThenIsDrained) {
  Line line;
  line.add(0, {0}, limits(1), {{1, us(100), us(100)}});
  line.arrive(1, 0);
  const Started first = line.only_started();
  line.arrive(2, 0);
  line.apply(ModelRemoved{ModelId{0}});
  line.arrive(3, 0);
  ASSERT_EQ(line.all<Refuse>().size(), 1U);
  EXPECT_EQ(line.all<Refuse>()[0].reason, RefusalReason::model_draining);
  line.complete(first, 100);
  const Started second = line.only_started();
  EXPECT_TRUE(line.all<ModelDrained>().empty());
  line.complete(second, 100);
  EXPECT_EQ(line.all<ModelDrained>().size(), 1U);
  line.add(0, {0}, limits(1), {});
  EXPECT_TRUE(line.all<ModelRefused>().empty()) << "the ids are free again";
}

TEST(Scheduler, ARemovedModelMayDropWhatWaits) {
  Line line;
  line.add(0, {0}, limits(1), {{1, us(100), us(100)}});
  line.arrive(1, 0);
  line.arrive(2, 0);
  line.arrive(3, 0);
  line.apply(ModelRemoved{ModelId{0}, false});
  EXPECT_EQ(line.all<Refuse>().size(), 2U);
  EXPECT_EQ(line.scheduler().waiting(), 0U);
}

TEST(Scheduler, StopsWhenNothingIsLeft) {
  Line line;
  line.add(0, {0}, limits(1), {{1, us(100), us(100)}});
  line.arrive(1, 0);
  const Started first = line.only_started();
  line.arrive(2, 0);
  line.apply(Stop{});
  EXPECT_TRUE(line.all<Stopped>().empty());
  line.arrive(3, 0);
  EXPECT_EQ(line.all<Refuse>().at(0).reason, RefusalReason::stopping);
  line.complete(first, 100);
  const Started second = line.only_started();
  line.complete(second, 100);
  EXPECT_EQ(line.all<Stopped>().size(), 1U);
}

TEST(Scheduler, ADrainThatTakesTooLongIsCutShort) {
  Line line;
  line.add(0, {}, limits(1), {{1, us(100), us(100)}});
  line.arrive(1, 0);
  line.apply(Stop{});
  EXPECT_TRUE(line.all<Stopped>().empty()) << "it waits for an instance";
  line.apply(Stop{.run_waiting = false});
  EXPECT_EQ(line.all<Refuse>().at(0).kind, ErrorKind::unavailable);
  EXPECT_EQ(line.all<Stopped>().size(), 1U);
}

TEST(Scheduler, RefusesAModelThatMakesNoSenseAndSaysWhy) {
  Line line;
  line.add(0, {0}, limits(1), {});
  const auto why = [&line] {
    const auto refused = line.all<ModelRefused>();
    return refused.empty() ? std::string("taken") : refused[0].error.message;
  };
  line.add(0, {1}, limits(1), {});
  EXPECT_THAT(why(), HasSubstr("id is in use"));
  line.add(1, {0}, limits(1), {});
  EXPECT_THAT(why(), HasSubstr("instance 0 belongs to another model"));
  line.add(1, {1}, limits(-1), {});
  EXPECT_THAT(why(), HasSubstr("batch_max >= 0"));
  line.add(1, {1}, limits(1, 0), {});
  EXPECT_THAT(why(), HasSubstr("queue_depth_max >= 1"));
  line.add(1, {1}, limits(4), {{2, us(1), us(1)}, {1, us(1), us(1)}});
  EXPECT_THAT(why(), HasSubstr("rising batch sizes"));
  ModelAdded elsewhere;
  elsewhere.model = ModelId{1};
  elsewhere.device = DeviceId{4};
  line.apply(elsewhere);
  EXPECT_THAT(why(), HasSubstr("no device 4"));
}

TEST(Scheduler, RefusesOptionsThatMakeNoSense) {
  EXPECT_EQ(Scheduler::create({}).error().kind, ErrorKind::invalid_input);
  EXPECT_THAT(Scheduler::create({.devices = {{.lanes = 0}}}).error().message,
              HasSubstr("devices[0].lanes is 0"));
  SchedulerOptions options;
  options.devices = {{.lanes = 1}};
  options.background_share_min = 1.0;
  EXPECT_THAT(Scheduler::create(options).error().message, HasSubstr("background_share_min"));
}

TEST(Scheduler, CountsWhatItDid) {
  Line line;
  line.add(0, {0}, limits(1, 1), {{1, us(100), us(100)}});
  line.arrive(1, 0);
  line.arrive(2, 0);
  line.arrive(3, 0);
  line.apply(RequestCancelled{RequestId{2}});
  const SchedulerStatistics& counts = line.statistics();
  EXPECT_EQ(counts.arrived, 3U);
  EXPECT_EQ(counts.started, 1U);
  EXPECT_EQ(counts.batches, 1U);
  EXPECT_EQ(counts.refused[static_cast<std::size_t>(RefusalReason::queue_full)], 1U);
  EXPECT_EQ(counts.cancelled, 1U);
}

}  // namespace
}  // namespace takt::scheduler
