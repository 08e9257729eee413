// SPDX-License-Identifier: Apache-2.0
#include "line/request_source.h"

#include "image/encode.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

namespace takt::line {
namespace {

using ::testing::HasSubstr;

constexpr int kWidth = 16;
constexpr int kHeight = 8;

std::shared_ptr<const std::vector<std::byte>> png(std::uint8_t fill, int width = kWidth) {
  auto bytes = std::make_shared<std::vector<std::byte>>();
  const Image image(width, kHeight, PixelFormat::gray8, fill);
  EXPECT_TRUE(encode_png(image.view(), *bytes).has_value());
  return bytes;
}

// What became of one frame that was handed in.
struct Outcome {
  std::atomic<int> calls{0};
  std::string verdict;
  std::string error;
};

class RequestSourceTest : public ::testing::Test {
 protected:
  void open(std::uint32_t slots = 8) {
    const SizeClass size{std::size_t{16} * 1024, slots};
    pool_ = SlotPool::create("test", {&size, 1}).value();
    Result<RequestSource> made = make_request_source("station", options_, pool_, clock_);
    ASSERT_TRUE(made.has_value()) << made.error().message;
    source_ = std::move(made->source);
    inlet_ = std::move(made->inlet);
  }

  Submission submission(std::uint8_t fill) {
    Submission made;
    made.captured = clock_.now();
    auto bytes = png(fill);
    for (const std::string& role : options_.roles) made.images.push_back({role, *bytes});
    made.content = std::move(bytes);
    return made;
  }
  FrameAnswer into(Outcome& outcome) {
    return [&outcome](Result<const VerdictRecord*> answer) {
      if (answer) outcome.verdict = to_string((*answer)->verdict);
      if (!answer) outcome.error = answer.error().message;
      ++outcome.calls;
    };
  }
  void TearDown() override { source_.reset(); }  // tells what waits
  std::string refusal(Submission submitted) {
    const Result<void> put = inlet_->put(std::move(submitted), into(unused_));
    return put ? "accepted" : put.error().message;
  }
  static VerdictRecord verdict_of(const Frame& frame, Verdict verdict) {
    VerdictRecord record;
    record.line = "station";
    record.trigger_seq = frame.trigger_seq;
    record.captured_wall_us = frame.captured_wall_us;
    record.verdict = verdict;
    return record;
  }

  RequestOptions options_;
  SystemClock clock_;
  Outcome unused_;
  std::shared_ptr<SlotPool> pool_;
  std::unique_ptr<Source> source_;
  std::shared_ptr<FrameInlet> inlet_;
};

TEST_F(RequestSourceTest, AFrameComesDecodedAndItsVerdictGoesBack) {
  open();
  Outcome outcome;
  Submission submitted = submission(77);
  submitted.part_id = "part-1";
  submitted.recipe = "small";
  ASSERT_TRUE(inlet_->put(std::move(submitted), into(outcome)));
  const std::optional<Frame> frame = source_->next();
  ASSERT_TRUE(frame.has_value());
  EXPECT_EQ(frame->name, "station-1");
  EXPECT_EQ(frame->part_id, "part-1");
  EXPECT_EQ(frame->recipe, "small");
  ASSERT_EQ(frame->images.size(), 1U);
  EXPECT_EQ(frame->images[0].view.width, kWidth);
  EXPECT_EQ(*frame->images[0].view.pixels, 77);
  EXPECT_EQ(outcome.calls, 0);
  inlet_->on_verdict(verdict_of(*frame, Verdict::reject));
  EXPECT_EQ(outcome.calls, 1);
  EXPECT_EQ(outcome.verdict, "reject");
  inlet_->on_verdict(verdict_of(*frame, Verdict::reject));
  EXPECT_EQ(outcome.calls, 1);
}

TEST_F(RequestSourceTest, ImagesOfOneFrameStandInTheOrderOfTheRoles) {
  options_.roles = {"board", "golden"};
  open();
  const auto board = png(1);
  const auto golden = png(2);
  Submission submitted;
  submitted.images = {{"golden", *golden}, {"board", *board}};
  Outcome outcome;
  ASSERT_TRUE(inlet_->put(std::move(submitted), into(outcome)));
  const std::optional<Frame> frame = source_->next();
  ASSERT_TRUE(frame.has_value());
  ASSERT_EQ(frame->images.size(), 2U);
  EXPECT_EQ(frame->images[0].role, "board");
  EXPECT_EQ(*frame->images[0].view.pixels, 1);
  EXPECT_EQ(*frame->images[1].view.pixels, 2);
  inlet_->on_verdict(verdict_of(*frame, Verdict::pass));
}

TEST_F(RequestSourceTest, APictureThatIsNoneIsTheFramesDamage) {
  open();
  const std::string text = "no picture";
  Submission submitted;
  submitted.images = {{"board", std::as_bytes(std::span(text))}};
  Outcome outcome;
  ASSERT_TRUE(inlet_->put(std::move(submitted), into(outcome)));
  const std::optional<Frame> frame = source_->next();
  ASSERT_TRUE(frame.has_value());
  ASSERT_TRUE(frame->damage.has_value());
  EXPECT_EQ(frame->damage->kind, ErrorKind::invalid_input);
  EXPECT_THAT(frame->damage->message, HasSubstr("board: "));
  inlet_->on_verdict(verdict_of(*frame, Verdict::review));
  EXPECT_EQ(outcome.verdict, "review");
}

TEST_F(RequestSourceTest, WrongRolesAreRefusedWithWhatIsExpected) {
  options_.roles = {"board", "golden"};
  open();
  Submission missing = submission(1);
  missing.images.pop_back();
  EXPECT_THAT(refusal(std::move(missing)), HasSubstr("'golden' is missing"));
  Submission unknown = submission(1);
  unknown.images[1].role = "goldne";
  EXPECT_THAT(refusal(std::move(unknown)), HasSubstr("did you mean 'golden'"));
  Submission twice = submission(1);
  twice.images[1].role = "board";
  EXPECT_THAT(refusal(std::move(twice)), HasSubstr("there twice"));
  EXPECT_EQ(unused_.calls, 0);
}

TEST_F(RequestSourceTest, NoMoreThanWaitingMaxWait) {
  options_.waiting_max = 2;
  open();
  Outcome first;
  Outcome second;
  ASSERT_TRUE(inlet_->put(submission(1), into(first)));
  ASSERT_TRUE(inlet_->put(submission(2), into(second)));
  EXPECT_THAT(refusal(submission(3)), HasSubstr("2 frames wait"));
  const std::optional<Frame> frame = source_->next();
  ASSERT_TRUE(frame.has_value());
  EXPECT_TRUE(inlet_->put(submission(4), into(unused_)));
  source_->stop();
  EXPECT_FALSE(source_->next().has_value());
  EXPECT_EQ(first.calls, 0);  // it is the line's
  inlet_->on_verdict(verdict_of(*frame, Verdict::pass));
  EXPECT_EQ(first.verdict, "pass");
  EXPECT_THAT(second.error, HasSubstr("stopping"));
  EXPECT_EQ(unused_.calls, 1);
}

TEST_F(RequestSourceTest, AnEarlierRunsFrameOfTheSameNumberIsNotMistaken) {
  open();
  Outcome outcome;
  ASSERT_TRUE(inlet_->put(submission(1), into(outcome)));
  VerdictRecord old;
  old.trigger_seq = 1;
  old.captured_wall_us = 12345;
  inlet_->on_verdict(old);
  EXPECT_EQ(outcome.calls, 0);
  source_.reset();
  EXPECT_EQ(outcome.calls, 1);
}

TEST_F(RequestSourceTest, AStopRefusesWhatWasNotHandedOutAndWhatComesAfterIt) {
  open();
  Outcome outcome;
  ASSERT_TRUE(inlet_->put(submission(1), into(outcome)));
  source_.reset();
  EXPECT_EQ(outcome.calls, 1);
  EXPECT_THAT(outcome.error, HasSubstr("stopping"));
  EXPECT_THAT(refusal(submission(2)), HasSubstr("stopping"));
}

TEST_F(RequestSourceTest, ManyHandInAtOnce) {
  constexpr int kThreads = 4;
  constexpr int kEach = 50;
  options_.decode_threads = 2;
  options_.waiting_max = kThreads;
  open();
  std::atomic<int> answered{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([this, &answered] {
      for (int i = 0; i < kEach; ++i) {
        std::atomic<bool> done{false};
        while (!inlet_->put(submission(3), [&](auto) {
          ++answered;
          done = true;
        })) {
          std::this_thread::yield();
        }
        while (!done) std::this_thread::yield();
      }
    });
  }
  for (int i = 0; i < kThreads * kEach; ++i) {
    const std::optional<Frame> frame = source_->next();
    ASSERT_TRUE(frame.has_value());
    inlet_->on_verdict(verdict_of(*frame, Verdict::pass));
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(answered, kThreads * kEach);
}

TEST_F(RequestSourceTest, OptionsOutOfRangeAreRefused) {
  const auto error_of = [this](const RequestOptions& options) {
    const SizeClass size{4096, 1};
    const auto made = make_request_source("station", options,
                                          SlotPool::create("test", {&size, 1}).value(), clock_);
    return made ? "accepted" : made.error().message;
  };
  EXPECT_THAT(error_of({.roles = {}}), HasSubstr("at least one role"));
  EXPECT_THAT(error_of({.roles = {"a", "a"}}), HasSubstr("twice"));
  EXPECT_THAT(error_of({.decode_threads = 0}), HasSubstr("decode_threads"));
  EXPECT_THAT(error_of({.waiting_max = 5000}), HasSubstr("waiting_max"));
}

}  // namespace
}  // namespace takt::line
