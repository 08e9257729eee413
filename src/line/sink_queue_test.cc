// SPDX-License-Identifier: Apache-2.0
#include "line/sink_queue.h"

#include "line/line_fixture.h"
#include "line/serial_sink.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>

namespace takt::line {
namespace {

using ::testing::ElementsAre;

// A sink that writes only as often as it is allowed to.
class GatedSink final : public Sink {
 public:
  std::string_view name() const noexcept override { return "gated"; }
  Result<void> write(const VerdictRecord& record) override {
    std::unique_lock lock(mutex_);
    ++entered_;
    changed_.notify_all();
    changed_.wait(lock, [this] { return allowed_ > 0; });
    --allowed_;
    written_.push_back(record.frame);
    return {};
  }
  Result<void> flush() override {
    const std::scoped_lock lock(mutex_);
    flushed_ = written_.size();
    return {};
  }
  void allow(int writes) {
    {
      const std::scoped_lock lock(mutex_);
      allowed_ += writes;
    }
    changed_.notify_all();
  }
  bool wait_until_entered(int writes) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(10), [&] { return entered_ >= writes; });
  }
  std::vector<std::string> written() const {
    const std::scoped_lock lock(mutex_);
    return written_;
  }
  std::size_t flushed() const {
    const std::scoped_lock lock(mutex_);
    return flushed_;
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  int allowed_ = 0;
  int entered_ = 0;
  std::vector<std::string> written_;
  std::size_t flushed_ = 0;
};

class FailingSink final : public Sink {
 public:
  std::string_view name() const noexcept override { return "failing"; }
  Result<void> write(const VerdictRecord&) override {
    return fail(ErrorKind::unavailable, "disk full");
  }
  Result<void> flush() override { return {}; }
};

VerdictRecord record(const std::string& name) {
  VerdictRecord made;
  made.frame = name;
  return made;
}

VerdictRecord record_with_pixels(const std::shared_ptr<SlotPool>& pool, const std::string& name) {
  VerdictRecord made = record(name);
  made.images = board_frame(pool, name, TimePoint{}).images;
  return made;
}

TEST(SinkQueue, WritesEveryVerdictInOrderAndFlushesAtTheEnd) {
  GatedSink sink;
  sink.allow(3);
  SinkQueue queue({}, std::vector<Sink*>{&sink});
  for (const char* name : {"a", "b", "c"}) {
    EXPECT_EQ(queue.push(record(name)), SinkQueue::Pushed::whole);
  }
  queue.close();
  EXPECT_THAT(sink.written(), ElementsAre("a", "b", "c"));
  EXPECT_EQ(sink.flushed(), 3U);
  EXPECT_EQ(queue.stats().at(0).written, 3U);
}

TEST(SinkQueue, FlushesWhileNothingElseComes) {
  GatedSink sink;
  sink.allow(1);
  SinkQueue queue({.flush_interval = std::chrono::milliseconds(1)}, std::vector<Sink*>{&sink});
  EXPECT_EQ(queue.push(record("a")), SinkQueue::Pushed::whole);
  EXPECT_TRUE(eventually([&] { return sink.flushed() == 1; }));
}

TEST(SinkQueue, AFullQueueSkipsTheSinksAndNeverBlocksTheLine) {
  GatedSink sink;
  SinkQueue queue({.queue_max = 2}, std::vector<Sink*>{&sink});
  EXPECT_EQ(queue.push(record("being written")), SinkQueue::Pushed::whole);
  ASSERT_TRUE(sink.wait_until_entered(1));
  EXPECT_EQ(queue.push(record("b")), SinkQueue::Pushed::whole);
  EXPECT_EQ(queue.push(record("c")), SinkQueue::Pushed::whole);
  EXPECT_EQ(queue.size(), 2U);
  EXPECT_EQ(queue.push(record("d")), SinkQueue::Pushed::skipped);
  sink.allow(3);
  queue.close();
  EXPECT_THAT(sink.written(), ElementsAre("being written", "b", "c"));
}

TEST(SinkQueue, AFullQueueMakesAnOfflineLineWait) {
  GatedSink sink;
  SinkQueue queue({.queue_max = 1, .when_full = WhenFull::wait}, std::vector<Sink*>{&sink});
  EXPECT_EQ(queue.push(record("a")), SinkQueue::Pushed::whole);
  ASSERT_TRUE(sink.wait_until_entered(1));
  EXPECT_EQ(queue.push(record("b")), SinkQueue::Pushed::whole);
  auto third = std::async(std::launch::async, [&] { return queue.push(record("c")); });
  sink.allow(3);
  EXPECT_EQ(third.get(), SinkQueue::Pushed::whole);
  queue.close();
  EXPECT_THAT(sink.written(), ElementsAre("a", "b", "c"));
}

TEST(SinkQueue, VerdictsWithPixelsHoldABoundedNumberOfSlots) {
  const auto pool = make_pool("frames", 16);
  GatedSink sink;
  SinkQueue queue({.pictures_max = 1}, std::vector<Sink*>{&sink});
  EXPECT_EQ(queue.push(record_with_pixels(pool, "a")), SinkQueue::Pushed::whole);
  ASSERT_TRUE(sink.wait_until_entered(1));
  EXPECT_EQ(queue.push(record_with_pixels(pool, "b")), SinkQueue::Pushed::without_pictures);
  EXPECT_EQ(pool->in_use(), 2U) << "the slots of the verdict that is being written";
  sink.allow(2);
  queue.close();
  EXPECT_THAT(sink.written(), ElementsAre("a", "b"));
  EXPECT_EQ(pool->in_use(), 0U);
}

TEST(SinkQueue, AFailingSinkIsCountedAndDoesNotHinderTheOthers) {
  FailingSink failing;
  Collector good;
  SinkQueue queue({}, std::vector<Sink*>{&failing, &good});
  EXPECT_EQ(queue.push(record("a")), SinkQueue::Pushed::whole);
  queue.close();
  EXPECT_EQ(good.size(), 1U);
  const std::vector<SinkStats> stats = queue.stats();
  EXPECT_EQ(stats.at(0).failures, 1U);
  EXPECT_EQ(stats.at(0).last_error, "disk full");
  EXPECT_EQ(stats.at(0).written, 0U);
  EXPECT_EQ(stats.at(1).written, 1U);
}

TEST(SinkQueue, WithoutSinksNothingIsKept) {
  const auto pool = make_pool("frames", 16);
  SinkQueue queue({}, {});
  EXPECT_EQ(queue.push(record_with_pixels(pool, "a")), SinkQueue::Pushed::whole);
  EXPECT_EQ(pool->in_use(), 0U);
}

TEST(SinkQueue, AfterTheEndVerdictsAreSkipped) {
  Collector sink;
  SinkQueue queue({}, std::vector<Sink*>{&sink});
  queue.close();
  EXPECT_EQ(queue.push(record("a")), SinkQueue::Pushed::skipped);
}

TEST(SerialSink, TwoLinesTakeTurnsAtOneSink) {
  struct Exclusive final : Sink {
    std::string_view name() const noexcept override { return "exclusive"; }
    Result<void> write(const VerdictRecord&) override {
      overlapped = overlapped || inside.exchange(true);
      ++writes;
      inside = false;
      return {};
    }
    Result<void> flush() override { return {}; }
    std::atomic<bool> inside{false};
    bool overlapped = false;
    int writes = 0;
  };
  Exclusive sink;
  SerialSink serial(sink);
  SinkQueue one({}, std::vector<Sink*>{&serial});
  SinkQueue two({}, std::vector<Sink*>{&serial});
  for (int i = 0; i < 200; ++i) {
    EXPECT_EQ(one.push(record("a")), SinkQueue::Pushed::whole);
    EXPECT_EQ(two.push(record("b")), SinkQueue::Pushed::whole);
  }
  one.close();
  two.close();
  EXPECT_EQ(sink.writes, 400);
  EXPECT_FALSE(sink.overlapped);
}

}  // namespace
}  // namespace takt::line
