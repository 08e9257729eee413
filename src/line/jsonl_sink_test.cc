// SPDX-License-Identifier: Apache-2.0
#include "line/jsonl_sink.h"

#include "line/record_fixture.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <fstream>
#include <string>
#include <vector>

namespace takt::line {
namespace {

std::vector<std::uint64_t> seqs(const std::filesystem::path& path) {
  std::vector<std::uint64_t> found;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);)
    found.push_back(nlohmann::json::parse(line).at("seq"));
  return found;
}

TEST(JsonlSink, WritesOneObjectALine) {
  const TemporaryDirectory directory;
  const std::filesystem::path path = directory.path() / "new" / "out.jsonl";
  {
    const auto sink = std::move(*JsonlSink::open(path, JsonlSink::Mode::replace));
    ASSERT_TRUE(sink->write(sample_record("pcb", 1)));
    ASSERT_TRUE(sink->write(sample_record("pcb", 2)));
    ASSERT_TRUE(sink->flush());
    EXPECT_EQ(seqs(path), (std::vector<std::uint64_t>{1, 2})) << "after a flush others can read it";
  }
  const auto sink = std::move(*JsonlSink::open(path, JsonlSink::Mode::replace));
  EXPECT_TRUE(seqs(path).empty());
}

TEST(JsonlSink, AfterACrashTheHalfLineIsCutAndWhatIsMissingIsAdded) {
  const TemporaryDirectory directory;
  const std::filesystem::path path = directory.path() / "out.jsonl";
  {
    const auto sink = std::move(*JsonlSink::open(path, JsonlSink::Mode::append));
    ASSERT_TRUE(sink->write(sample_record("pcb", 1)));
  }
  std::ofstream(path, std::ios::app) << R"({"seq": 2, "verd)";
  {
    const auto sink = std::move(*JsonlSink::open(path, JsonlSink::Mode::append));
    const std::map<std::string, FrameSeq> last{{"pcb", FrameSeq{1}}};
    EXPECT_EQ(sink->last_seqs(), last);
    for (std::uint64_t seq = 1; seq <= 3; ++seq)
      ASSERT_TRUE(sink->repair(sample_record("pcb", seq)));
  }
  EXPECT_EQ(seqs(path), (std::vector<std::uint64_t>{1, 2, 3}));
}

TEST(JsonlSink, AFileInUseOrOutOfReachIsRefused) {
  const TemporaryDirectory directory;
  const std::filesystem::path path = directory.path() / "out.jsonl";
  const auto sink = std::move(*JsonlSink::open(path, JsonlSink::Mode::append));
  const auto second = JsonlSink::open(path, JsonlSink::Mode::append);
  ASSERT_FALSE(second);
  EXPECT_NE(second.error().message.find("another process"), std::string::npos);
  const auto folder = JsonlSink::open(directory.path(), JsonlSink::Mode::append);
  ASSERT_FALSE(folder);
  EXPECT_EQ(folder.error().kind, ErrorKind::unavailable);
}

// /dev/full answers every write with "no space left on device".
TEST(JsonlSink, AFullDiskIsAnErrorAndMemoryStaysBounded) {
  Result<std::unique_ptr<JsonlSink>> sink = JsonlSink::open("/dev/full", JsonlSink::Mode::append);
  ASSERT_TRUE(sink) << sink.error().message;
  ASSERT_TRUE((*sink)->write(sample_record("pcb", 1)));
  const Result<void> flushed = (*sink)->flush();
  ASSERT_FALSE(flushed);
  EXPECT_EQ(flushed.error().kind, ErrorKind::unavailable);
}

}  // namespace
}  // namespace takt::line
