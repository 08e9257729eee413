// SPDX-License-Identifier: Apache-2.0
#include "line/journal.h"

#include "line/record_fixture.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <thread>

namespace takt::line {
namespace {

constexpr std::size_t kSmallSegmentBytes = 16 << 10;

std::unique_ptr<Journal> open_journal(const std::filesystem::path& directory,
                                      std::size_t segment_bytes = kSmallSegmentBytes) {
  JournalOptions options;
  options.directory = directory;
  options.segment_bytes = segment_bytes;
  options.bytes_max = 64 * segment_bytes;
  options.sync_interval = std::chrono::milliseconds(1);
  Result<std::unique_ptr<Journal>> journal = Journal::open(options);
  EXPECT_TRUE(journal) << journal.error().message;
  return journal ? std::move(*journal) : nullptr;
}

FrameSeq accept_one(Journal& journal, const std::string& line) {
  const FrameSeq seq = journal.next_seq(line);
  EXPECT_TRUE(journal.accept(seq, sample_frame("f" + std::to_string(seq.value)), line));
  return seq;
}

bool eventually(const std::function<bool()>& condition) {
  for (int i = 0; i < 5000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return false;
}

TEST(Journal, NumbersFramesPerLineAndGoesOnAfterARestart) {
  const TemporaryDirectory directory;
  {
    const auto journal = open_journal(directory.path());
    EXPECT_EQ(accept_one(*journal, "a").value, 1U);
    EXPECT_EQ(accept_one(*journal, "a").value, 2U);
    EXPECT_EQ(accept_one(*journal, "b").value, 1U);
  }
  const auto journal = open_journal(directory.path());
  EXPECT_EQ(journal->next_seq("a").value, 3U);
  EXPECT_EQ(journal->next_seq("b").value, 2U);
}

TEST(Journal, AfterARestartNamesTheFramesThatHaveNoVerdict) {
  const TemporaryDirectory directory;
  {
    const auto journal = open_journal(directory.path());
    const FrameSeq first = accept_one(*journal, "a");
    accept_one(*journal, "a");
    accept_one(*journal, "b");
    ASSERT_TRUE(journal->verdict(sample_record("a", first.value)));
  }
  const auto journal = open_journal(directory.path());
  const auto unanswered = journal->unanswered("a");
  ASSERT_TRUE(unanswered);
  ASSERT_EQ(unanswered->size(), 1U);
  EXPECT_EQ(unanswered->front().seq.value, 2U);
  EXPECT_EQ(unanswered->front().part_id, "part-f2");
  EXPECT_EQ(journal->unanswered("b")->size(), 1U);
  const std::vector<VerdictRecord> recovered = journal->take_recovered();
  ASSERT_EQ(recovered.size(), 1U);
  EXPECT_EQ(recovered.front().seq.value, 1U);
  EXPECT_TRUE(journal->take_recovered().empty()) << "given out once";
}

TEST(Journal, ATornRecordAtTheEndIsCutOffAndTheRestIsKept) {
  const TemporaryDirectory directory;
  {
    const auto journal = open_journal(directory.path());
    for (int i = 0; i < 3; ++i) accept_one(*journal, "a");
  }
  for (const auto& entry : std::filesystem::directory_iterator(directory.path())) {
    if (entry.path().extension() != ".journal") continue;
    std::fstream file(entry.path(), std::ios::in | std::ios::out | std::ios::binary);
    std::string bytes((std::istreambuf_iterator<char>(file)), {});
    const std::size_t last = bytes.rfind("part-f3");
    ASSERT_NE(last, std::string::npos);
    file.seekp(static_cast<std::streamoff>(last));
    file.put('X');
  }
  const auto journal = open_journal(directory.path());
  EXPECT_EQ(journal->unanswered("a")->size(), 2U);
  EXPECT_EQ(journal->stats().torn_segments, 1U);
}

TEST(Journal, AFileThatIsNoSegmentIsRefusedByName) {
  const TemporaryDirectory directory;
  std::ofstream(directory.path() / "segment-000000000001.journal") << "hello";
  JournalOptions options;
  options.directory = directory.path();
  const Result<std::unique_ptr<Journal>> journal = Journal::open(options);
  ASSERT_FALSE(journal);
  EXPECT_EQ(journal.error().kind, ErrorKind::invalid_input);
  EXPECT_NE(journal.error().message.find("segment-000000000001"), std::string::npos);
}

// Prevents a journal that can't be opened again after a kill while the keeper made the next segment.
TEST(Journal, ASegmentThatAKilledProcessWasMakingIsRemoved) {
  const TemporaryDirectory directory;
  const std::filesystem::path half = directory.path() / "unfinished-segment-000000000001.journal";
  std::ofstream(half) << std::string(4096, '\0');
  const auto journal = open_journal(directory.path());
  EXPECT_FALSE(std::filesystem::exists(half));
  ASSERT_TRUE(journal->accept(journal->next_seq("a"), sample_frame("f"), "a"));
}

TEST(Journal, ASegmentIsNeverSeenUnderItsNameWithoutItsHeader) {
  const TemporaryDirectory directory;
  const std::filesystem::path path = directory.path() / "segment-000000000001.journal";
  const auto made = JournalSegment::create(path, 1, 64 << 10);
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_TRUE(JournalSegment::open(path).has_value());
  const auto again = JournalSegment::create(path, 1, 64 << 10);
  ASSERT_FALSE(again) << "an existing segment is never overwritten";
  EXPECT_EQ(again.error().kind, ErrorKind::unavailable);
}

// Prevents verdicts that the store takes for known ones, and so drops.
TEST(Journal, NumbersThatStoreAndFilesKnowDoNotComeAgain) {
  const TemporaryDirectory directory;
  const auto journal = open_journal(directory.path());
  journal->skip_past("a", FrameSeq{41});
  EXPECT_EQ(journal->next_seq("a").value, 42U);
  journal->skip_past("a", FrameSeq{7});
  EXPECT_EQ(journal->next_seq("a").value, 43U) << "numbers only rise";
}

TEST(Journal, ASecondProcessIsKeptOut) {
  const TemporaryDirectory directory;
  const auto journal = open_journal(directory.path());
  JournalOptions options;
  options.directory = directory.path();
  const Result<std::unique_ptr<Journal>> second = Journal::open(options);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().kind, ErrorKind::unavailable);
  EXPECT_NE(second.error().message.find("another takt process"), std::string::npos);
}

TEST(Journal, WhenFullRefusesAndTakesAgainOnceTheStoreHasTheVerdicts) {
  const TemporaryDirectory directory;
  JournalOptions options;
  options.directory = directory.path();
  options.segment_bytes = kSmallSegmentBytes;
  options.bytes_max = 3 * kSmallSegmentBytes;
  options.sync_interval = std::chrono::milliseconds(1);
  const auto journal = std::move(*Journal::open(options));

  std::vector<FrameSeq> judged;
  Result<void> last;
  while (last) {
    const FrameSeq seq = journal->next_seq("a");
    last = journal->accept(seq, sample_frame("f"), "a");
    if (!last) break;
    last = journal->verdict(sample_record("a", seq.value));
    if (last) judged.push_back(seq);
    ASSERT_LT(judged.size(), 1000U) << "the journal is bounded";
  }
  EXPECT_EQ(last.error().kind, ErrorKind::unavailable);
  EXPECT_NE(last.error().message.find("journal.bytes_max"), std::string::npos);
  EXPECT_GE(journal->stats().refused, 1U);

  for (const FrameSeq seq : judged) journal->acknowledge("a", seq);
  EXPECT_EQ(journal->stats().unacknowledged, 0U);
  EXPECT_TRUE(eventually([&] {
    const FrameSeq seq = journal->next_seq("a");
    return journal->accept(seq, sample_frame("f"), "a").has_value();
  })) << "segments that everybody is done with make room";
}

// Frames in flight when the journal becomes full: refusing their verdicts would judge them twice.
TEST(Journal, AFrameThatItTookFindsRoomForItsVerdict) {
  const TemporaryDirectory directory;
  JournalOptions options;
  options.directory = directory.path();
  options.segment_bytes = kSmallSegmentBytes;
  options.bytes_max = 2 * kSmallSegmentBytes;
  std::vector<FrameSeq> taken;
  {
    const auto journal = std::move(*Journal::open(options));
    while (taken.size() < 1000U) {
      const FrameSeq seq = journal->next_seq("a");
      if (!journal->accept(seq, sample_frame("f"), "a")) break;
      taken.push_back(seq);
    }
    ASSERT_GT(taken.size(), 4U);
    ASSERT_LT(taken.size(), 1000U);
    for (const FrameSeq seq : taken) {
      VerdictRecord record = sample_record("a", seq.value);
      record.detections.resize(40, record.detections.front());
      record.reasons.assign(9, std::string(300, 'r'));
      const Result<void> written = journal->verdict(record);
      ASSERT_TRUE(written) << written.error().message;
    }
    EXPECT_EQ(journal->stats().verdicts, taken.size());
    EXPECT_GT(journal->stats().shortened, 0U);
    EXPECT_LT(journal->stats().shortened, taken.size()) << "only where room is short";
  }
  const auto journal = std::move(*Journal::open(options));
  EXPECT_TRUE(journal->unanswered("a")->empty());
  EXPECT_EQ(journal->take_recovered().size(), taken.size());
}

TEST(Journal, WhenFullItStartsAgainAndAgainWithoutGrowing) {
  const TemporaryDirectory directory;
  JournalOptions options;
  options.directory = directory.path();
  options.segment_bytes = kSmallSegmentBytes;
  options.bytes_max = 2 * kSmallSegmentBytes;
  std::size_t segments = 0;
  for (int start = 0; start < 4; ++start) {
    Result<std::unique_ptr<Journal>> journal = Journal::open(options);
    ASSERT_TRUE(journal) << journal.error().message;
    const Result<std::vector<VerdictRecord>> unanswered = (*journal)->unanswered("a");
    ASSERT_TRUE(unanswered);
    for (const VerdictRecord& owed : *unanswered) {
      ASSERT_TRUE((*journal)->verdict(owed)) << "what was taken can be answered";
    }
    for (int frame = 0; frame < 1000; ++frame) {
      const FrameSeq seq = (*journal)->next_seq("a");
      if (!(*journal)->accept(seq, sample_frame("f"), "a")) break;
      // Every second start is ended in the middle.
      if (start % 2 == 1) {
        ASSERT_TRUE((*journal)->verdict(sample_record("a", seq.value)));
      }
    }
    const std::size_t now = (*journal)->stats().segments;
    if (start >= 2) {
      EXPECT_LE(now, segments);
    }
    segments = now;
  }
}

TEST(Journal, FinishedSegmentsGoAndNumbersDoNotComeAgain) {
  const TemporaryDirectory directory;
  std::uint64_t last = 0;
  {
    const auto journal = open_journal(directory.path());
    for (int i = 0; i < 200; ++i) {
      const FrameSeq seq = accept_one(*journal, "a");
      ASSERT_TRUE(journal->verdict(sample_record("a", seq.value)));
      journal->acknowledge("a", seq);
      last = seq.value;
    }
    EXPECT_TRUE(eventually([&] { return journal->stats().segments == 1; }));
  }
  const auto journal = open_journal(directory.path());
  EXPECT_EQ(journal->next_seq("a").value, last + 1);
}

TEST(Journal, ARecordLargerThanASegmentIsAnErrorAndNothingElse) {
  const TemporaryDirectory directory;
  const auto journal = open_journal(directory.path());
  Frame huge = sample_frame(std::string(2 * kSmallSegmentBytes, 'x'));
  const Result<void> accepted = journal->accept(journal->next_seq("a"), huge, "a");
  ASSERT_FALSE(accepted);
  EXPECT_NE(accepted.error().message.find("journal.segment_bytes"), std::string::npos);
  accept_one(*journal, "a");
}

// The child reports each number after the journal took it; what it reported must be there after kill -9.
TEST(Journal, WhatWasTakenSurvivesKillMinus9) {
  const TemporaryDirectory directory;
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  constexpr std::size_t kSegmentBytes = 1 << 20;  // room for the verdicts that never come
  if (child == 0) {
    const auto journal = open_journal(directory.path(), kSegmentBytes);
    while (true) {
      const FrameSeq seq = journal->next_seq("a");
      if (!journal->accept(seq, sample_frame("f"), "a")) ::_exit(1);
      if (seq.value % 2 == 0 && !journal->verdict(sample_record("a", seq.value))) ::_exit(1);
      if (::write(ends[1], &seq.value, sizeof(seq.value)) < 0) ::_exit(1);
    }
  }
  ::close(ends[1]);
  std::uint64_t reported = 0;
  while (reported < 100)
    ASSERT_EQ(::read(ends[0], &reported, sizeof(reported)), static_cast<ssize_t>(sizeof(reported)));
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  std::uint64_t seq = 0;
  while (::read(ends[0], &seq, sizeof(seq)) == static_cast<ssize_t>(sizeof(seq))) reported = seq;
  ::close(ends[0]);

  const auto journal = open_journal(directory.path(), kSegmentBytes);
  const std::size_t judged = journal->take_recovered().size();
  const std::size_t open = journal->unanswered("a")->size();
  EXPECT_GE(judged, reported / 2);
  EXPECT_GE(open, (reported + 1) / 2);
  EXPECT_GT(journal->next_seq("a").value, reported);
}

}  // namespace
}  // namespace takt::line
