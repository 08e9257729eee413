// SPDX-License-Identifier: Apache-2.0
#include "app/profile_store.h"

#include "app/temporary_folder.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>

namespace takt::app {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

ProfileKey key() {
  return {.model = "detector", .version = 3, .conditions = {{"backend", "simulated"}}};
}

StoredProfile profile() {
  StoredProfile stored;
  stored.batch_max = 4;
  stored.learned = {{.batch = 1,
                     .p50 = 1ms,
                     .p99 = 2ms,
                     .longest = 3ms,
                     .executions = 300,
                     .window = {1ms, 1ms, 3ms}},
                    {.batch = 4, .p50 = 4ms, .p99 = 4ms, .longest = 4ms, .executions = 7}};
  stored.measured = {.points = {{.batch = 1, .p50 = 900us, .p99 = 1ms, .longest = 1ms}},
                     .contention = 1.25,
                     .batch_overhead = 30us,
                     .request_overhead = 20us};
  return stored;
}

class ProfileStoreTest : public ::testing::Test {
 protected:
  [[nodiscard]] std::string text() const {
    std::ifstream stream(store_.file_of(key()));
    return {std::istreambuf_iterator<char>(stream), {}};
  }
  void replace(const std::string& with) const {
    std::ofstream(store_.file_of(key()), std::ios::trunc) << with;
  }

  TemporaryFolder folder_ = std::move(*TemporaryFolder::make());
  ProfileStore store_{folder_.path()};
};

TEST_F(ProfileStoreTest, GivesBackWhatItWasGiven) {
  const auto nothing = store_.read(key());
  ASSERT_TRUE(nothing);
  EXPECT_FALSE(nothing->has_value());
  ASSERT_TRUE(store_.write(key(), profile()));
  const auto read = store_.read(key());
  ASSERT_TRUE(read && *read) << read.error().message;
  const StoredProfile& stored = **read;
  EXPECT_EQ(stored.batch_max, 4);
  ASSERT_EQ(stored.learned.size(), 2U);
  EXPECT_EQ(stored.learned[0].p99, 2ms);
  EXPECT_EQ(stored.learned[0].longest, 3ms);
  EXPECT_EQ(stored.learned[0].executions, 300);
  EXPECT_EQ(stored.learned[0].window, (std::vector<Duration>{1ms, 1ms, 3ms}));
  ASSERT_TRUE(stored.measured);
  EXPECT_EQ(stored.measured->contention, 1.25);
  EXPECT_EQ(stored.measured->batch_overhead, 30us);
  EXPECT_EQ(stored.measured->request_overhead, 20us);
  EXPECT_EQ(stored.measured->points.at(0).p50, 900us);
}

TEST_F(ProfileStoreTest, LeavesNoUnfinishedFile) {
  ASSERT_TRUE(store_.write(key(), profile()));
  ASSERT_TRUE(store_.write(key(), profile()));
  const fs::directory_iterator files(folder_.path() / "profiles");
  EXPECT_EQ(std::distance(begin(files), end(files)), 1);
}

TEST_F(ProfileStoreTest, AnotherConditionIsAnotherProfile) {
  ASSERT_TRUE(store_.write(key(), profile()));
  ProfileKey other = key();
  other.conditions[0].second = "openvino";
  const auto read = store_.read(other);
  ASSERT_TRUE(read);
  EXPECT_FALSE(read->has_value());
}

TEST_F(ProfileStoreTest, AFileUnderAForeignNameIsNotBelieved) {
  ProfileKey other = key();
  other.version = 4;
  ASSERT_TRUE(store_.write(other, profile()));
  fs::rename(store_.file_of(other), store_.file_of(key()));
  const auto read = store_.read(key());
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().kind, ErrorKind::invalid_input);
  EXPECT_NE(read.error().message.find("something else"), std::string::npos) << read.error().message;
}

TEST_F(ProfileStoreTest, EveryCutOfAFileIsAnErrorAndNothingWorse) {
  ASSERT_TRUE(store_.write(key(), profile()));
  const std::string whole = text();
  for (std::size_t length = 0; length + 2 < whole.size(); ++length) {
    replace(whole.substr(0, length));
    const auto read = store_.read(key());
    ASSERT_FALSE(read) << length << " bytes";
    EXPECT_EQ(read.error().kind, ErrorKind::invalid_input);
  }
}

TEST_F(ProfileStoreTest, ValuesThatMakeNoSenseAreRefused) {
  ASSERT_TRUE(store_.write(key(), profile()));
  const std::string whole = text();
  const std::pair<const char*, const char*> changes[] = {
      {R"("p50_ns":1000000)", R"("p50_ns":-1)"},
      {R"("p50_ns":1000000)", R"("p50_ns":1e300)"},
      {R"("p50_ns":1000000)", R"("p50_ns":9000000)"},
      {R"("batch":4)", R"("batch":0)"},
      {R"("batch":4)", R"("batch":"4")"},
      {R"("batch":4)", R"("batch":4294967300)"},  // 4 in 32 bits
      {R"("executions":300)", R"("executions":-300)"},
      {R"([1000000,1000000,3000000])", R"([3000000,1000000])"},
      {R"("contention":1.25)", R"("contention":0.5)"},
      {R"("format_version":1)", R"("format_version":2)"},
      {R"("takt profile")", R"("other")"},
      {R"("batch_max":4)", R"("batch_max":-4)"},
  };
  for (const auto& [from, to] : changes) {
    std::string changed = whole;
    const std::size_t at = changed.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    replace(changed.replace(at, std::string(from).size(), to));
    EXPECT_FALSE(store_.read(key())) << to;
  }
}

TEST_F(ProfileStoreTest, AFolderThatCantBeWrittenIsAnErrorWithARemedy) {
  std::ofstream(folder_.path() / "profiles") << "a file where the folder should be";
  const Result<void> written = store_.write(key(), profile());
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().kind, ErrorKind::unavailable);
  EXPECT_NE(written.error().message.find("models.cache"), std::string::npos);
}

TEST(ProfileStore, WithoutACacheNothingIsKept) {
  const ProfileStore none{{}};
  EXPECT_TRUE(none.write(key(), profile()));
  const auto read = none.read(key());
  ASSERT_TRUE(read);
  EXPECT_FALSE(read->has_value());
}

TEST(Accumulate, CountsOnWhereTheRunBeganWithStoredTimes) {
  const auto sum =
      accumulate({{.batch = 1, .p50 = 1ms, .p99 = 1ms, .executions = 300, .window = {1ms}},
                  {.batch = 2, .p50 = 1ms, .p99 = 1ms, .executions = 20},
                  {.batch = 8, .p50 = 9ms, .p99 = 9ms, .executions = 999}},
                 {{.batch = 1, .p50 = 2ms, .p99 = 2ms, .executions = 5},
                  {.batch = 2, .p50 = 3ms, .p99 = 3ms, .executions = 4}});
  ASSERT_EQ(sum.size(), 3U);
  EXPECT_EQ(sum[0].executions, 305);
  EXPECT_EQ(sum[0].p50, 2ms) << "the window that went on";
  EXPECT_EQ(sum[0].window, std::vector<Duration>{1ms}) << "until there is a new one";
  EXPECT_EQ(sum[1].executions, 4) << "too few before to begin with";
  EXPECT_EQ(sum[2].executions, 999) << "not executed this time";
}

// The key of a model changes with whatever its times depend on.
class ProfileKeyTest : public ::testing::Test {
 protected:
  ProfileKeyTest() {
    config_.models.repository = folder_.path();
    config_.devices = {{.name = "cpu", .lanes = 2, .threads_per_lane = 1}};
    task_.model = "m";
    fs::create_directories(folder_.path() / "m" / "1");
    std::ofstream(folder_.path() / "m" / "1" / "model.onnx") << "one";
  }
  [[nodiscard]] ProfileKey key(const std::string& backend = "openvino") const {
    return profile_key(config_, config_.devices[0], task_, 1, backend);
  }

  TemporaryFolder folder_ = std::move(*TemporaryFolder::make());
  config::Config config_;
  TaskSpec task_;
};

TEST_F(ProfileKeyTest, ChangesWithWhateverTheTimesDependOn) {
  const ProfileKey before = key();
  EXPECT_EQ(key(), before);
  EXPECT_NE(key("simulated"), before);
  std::ofstream(folder_.path() / "m" / "config.pbtxt") << "max_batch_size: 4";
  const ProfileKey configured = key();
  EXPECT_NE(configured, before);
  std::ofstream(folder_.path() / "m" / "1" / "model.onnx") << "another";
  EXPECT_NE(key(), configured);
  const ProfileKey written = key();
  const fs::path file = folder_.path() / "m" / "1" / "model.onnx";
  fs::last_write_time(file, fs::last_write_time(file) + 1s);
  EXPECT_NE(key(), written) << "as large as before, but changed";
  const ProfileKey changed = key();
  config_.devices[0].lanes = 4;
  EXPECT_NE(key(), changed);
  config_.devices[0].lanes = 2;
  task_.batch_max = 3;
  EXPECT_NE(key(), changed);
  task_.batch_max = 0;
  EXPECT_EQ(key(), changed);
}

TEST_F(ProfileKeyTest, EachDeviceHasItsOwn) {
  config_.devices = {{.name = "a", .lanes = 2, .cpus = {0, 1}},
                     {.name = "b", .lanes = 2, .cpus = {2, 3}}};
  EXPECT_NE(profile_key(config_, config_.devices[0], task_, 1, "openvino"),
            profile_key(config_, config_.devices[1], task_, 1, "openvino"));
}

}  // namespace
}  // namespace takt::app
