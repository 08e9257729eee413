// SPDX-License-Identifier: Apache-2.0
#include "rest/task_runner.h"

#include "image/encode.h"
#include "line/line_fixture.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>

namespace takt::rest {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TaskSpec detector() {
  TaskSpec spec;
  spec.name = "defects";
  spec.model = "detector";
  spec.inputs = {{"", {"board", "golden"}}};
  spec.postprocess.name = "boxes_labels_scores";
  spec.postprocess.layout = "detectron2";
  spec.postprocess.classes = {"open", "short"};
  return spec;
}

class TaskRunnerTest : public ::testing::Test {
 protected:
  void open(TaskRunnerOptions options = {}, std::vector<TaskSpec> tasks = {detector()}) {
    auto made = TaskRunner::create(tasks, client_, pool_, clock_, options);
    ASSERT_TRUE(made.has_value()) << made.error().message;
    runner_ = std::move(*made);
  }

  TaskCall call(const std::string& task = "defects") {
    auto bytes = std::make_shared<std::vector<std::byte>>();
    EXPECT_TRUE(encode_png(Image(128, 64, PixelFormat::gray8, 9).view(), *bytes));
    TaskCall made{task, {{"board", *bytes}, {"golden", *bytes}}, bytes};
    return made;
  }

  using Answer = server::ApiResult<TaskAnswer>;
  std::future<Answer> run(TaskCall asked) {
    auto promise = std::make_shared<std::promise<Answer>>();
    runner_->run(std::move(asked),
                 [promise](Answer answer) { promise->set_value(std::move(answer)); });
    return promise->get_future();
  }
  void TearDown() override {
    runner_.reset();
    for (const SizeClassUse& use : pool_->use()) EXPECT_EQ(use.in_use, 0U);
  }

  line::ScriptedClient client_;
  std::shared_ptr<SlotPool> pool_ = line::make_pool("pictures", 4);
  SystemClock clock_;
  std::unique_ptr<TaskRunner> runner_;
};

TEST_F(TaskRunnerTest, DetectionsComeInPixelsOfThePicture) {
  open();
  client_.respond([](const std::string&, const InferRequest& request) {
    EXPECT_EQ(request.inputs.size(), 1U);
    return line::found({{1, 0.9F, {0, 16, 32, 48}}});  // of the model's 64x64
  });
  const Answer answer = run(call()).get();
  ASSERT_TRUE(answer.has_value()) << answer.error().message;
  EXPECT_EQ(answer->width, 128);
  const auto& detections = std::get<std::vector<Detection>>(answer->result);
  ASSERT_EQ(detections.size(), 1U);
  EXPECT_EQ(answer->card->plan.class_name(detections[0].class_index), "short");
  EXPECT_EQ(detections[0].box, (Box{0, 0, 64, 64}));  // letterboxed: 128x64 to 64x32
  EXPECT_THAT(answer->card->roles, ElementsAre("board", "golden"));
}

TEST_F(TaskRunnerTest, ClassAndDeadlineAreTheTasksOrTheCalls) {
  TaskSpec urgent = detector();
  urgent.priority = PriorityClass::critical;
  urgent.deadline = std::chrono::seconds(5);
  open({}, {urgent});
  std::vector<TimePoint> deadlines;
  client_.respond([&](const std::string&, const InferRequest& request) {
    EXPECT_EQ(request.priority, PriorityClass::high) << "critical is for lines";
    deadlines.push_back(request.deadline);
    return line::found({});
  });
  const TimePoint before = clock_.now();
  EXPECT_TRUE(run(call()).get());
  TaskCall longer = call();
  longer.deadline = std::chrono::seconds(50);
  EXPECT_TRUE(run(std::move(longer)).get());
  ASSERT_EQ(deadlines.size(), 2U);
  EXPECT_GE(deadlines[0] - before, std::chrono::seconds(5));
  EXPECT_LT(deadlines[0] - before, std::chrono::seconds(20));
  EXPECT_GE(deadlines[1] - before, std::chrono::seconds(50));
}

TEST_F(TaskRunnerTest, WhatIsWrongWithTheRequestIsSaid) {
  open();
  const auto error_of = [this](TaskCall asked) {
    const Answer answer = run(std::move(asked)).get();
    return answer ? server::ApiError{} : answer.error();
  };
  EXPECT_EQ(error_of(call("defect")).code, server::ApiCode::not_found);
  TaskCall missing = call();
  missing.images.pop_back();
  EXPECT_THAT(error_of(std::move(missing)).message, HasSubstr("'golden' is missing"));
  TaskCall damaged = call();
  const std::string text = "text";
  damaged.images[1].bytes = std::as_bytes(std::span(text));
  const server::ApiError error = error_of(std::move(damaged));
  EXPECT_EQ(error.code, server::ApiCode::invalid_argument);
  EXPECT_THAT(error.message, HasSubstr("golden: not a PNG"));
}

TEST_F(TaskRunnerTest, TheEnginesErrorsReachTheClient) {
  open();
  client_.respond([](const std::string&, const InferRequest&) {
    return std::unexpected(Error{ErrorKind::deadline_exceeded, "too late"});
  });
  const Answer answer = run(call()).get();
  ASSERT_FALSE(answer.has_value());
  EXPECT_EQ(answer.error().code, server::ApiCode::deadline_exceeded);
}

TEST_F(TaskRunnerTest, CallsAreBounded) {
  open({.threads = 2, .calls_max = 2});
  auto first = run(call());
  auto second = run(call());
  const Answer third = run(call()).get();
  ASSERT_FALSE(third.has_value());
  EXPECT_EQ(third.error().code, server::ApiCode::resource_exhausted);
  ASSERT_TRUE(line::eventually([this] { return client_.waiting() == 2; }));
  client_.respond_to_waiting(
      [](const std::string&, const InferRequest&) { return line::found({}); });
  EXPECT_TRUE(first.get());
  EXPECT_TRUE(second.get());
  client_.respond([](const std::string&, const InferRequest&) { return line::found({}); });
  EXPECT_TRUE(line::eventually([this] { return run(call()).get().has_value(); }));
}

TEST_F(TaskRunnerTest, NoSlotIsTooMuchToDo) {
  open();
  std::vector<Slot> taken;
  while (auto slot = pool_->acquire(16)) taken.push_back(std::move(*slot));
  const Answer answer = run(call()).get();
  ASSERT_FALSE(answer.has_value());
  EXPECT_EQ(answer.error().code, server::ApiCode::resource_exhausted);
}

TEST_F(TaskRunnerTest, TasksWithoutPicturesOrFindingsAreLeftOut) {
  TaskSpec raw = detector();
  raw.name = "raw";
  raw.postprocess.name = "raw";
  TaskSpec tensors;
  tensors.name = "tensors";
  tensors.model = "detector";
  open({}, {raw, tensors, detector()});
  EXPECT_EQ(runner_->tasks().size(), 1U);
}

}  // namespace
}  // namespace takt::rest
