// SPDX-License-Identifier: Apache-2.0
#include "line/record_json.h"

#include "line/record_fixture.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cstdint>
#include <limits>

namespace takt::line {
namespace {

TEST(RecordJson, HasTheKeysThatToolsRead) {
  const nlohmann::json json = to_json(sample_record("pcb", 4));
  EXPECT_EQ(json.at("frame"), "frame-4");
  EXPECT_EQ(json.at("verdict"), "reject");
  EXPECT_EQ(json.at("route"), "bin-2");
  EXPECT_EQ(json.at("latency_us"), 15000);
  EXPECT_EQ(json.at("detections").at(0).at("class"), "open");
  EXPECT_EQ(json.at("detections").at(0).at("box").dump(), "[10.0,20.5,30.0,40.25]");
  EXPECT_EQ(json.at("detections").at(0).at("score").dump(), "0.9712");
  EXPECT_EQ(json.at("tasks").at(1).at("error_kind"), "deadline_exceeded");
  EXPECT_FALSE(json.at("tasks").at(0).contains("fallback"));
  const nlohmann::json& fallback = json.at("tasks").at(2).at("fallback");
  EXPECT_EQ(fallback.at("model"), "pcb-matcher-small");
  EXPECT_EQ(fallback.at("cause_kind"), "worker_lost");
  EXPECT_EQ(fallback.at("error_kind"), "out_of_memory");
}

TEST(RecordJson, ReadsBackWhatItWrote) {
  const nlohmann::json once = to_json(sample_record("pcb", 9));
  const Result<VerdictRecord> record = record_from_json(once);
  ASSERT_TRUE(record) << record.error().message;
  EXPECT_EQ(to_json(*record), once);
}

TEST(RecordJson, RefusesWhatIsNotARecord) {
  EXPECT_EQ(record_from_json(nlohmann::json::array()).error().kind, ErrorKind::invalid_input);
  nlohmann::json incomplete = to_json(sample_record("pcb", 1));
  incomplete.erase("verdict");
  const Result<VerdictRecord> record = record_from_json(incomplete);
  ASSERT_FALSE(record);
  EXPECT_NE(record.error().message.find("verdict"), std::string::npos)
      << "the message names the key";
}

TEST(RecordJson, RefusesTimesThatNoClockCounts) {
  const nlohmann::json good = to_json(sample_record("pcb", 1));
  for (const char* key :
       {"/latency_us", "/lateness_us", "/tasks/0/total_us", "/tasks/0/compute_us"}) {
    for (const std::int64_t us :
         {std::numeric_limits<std::int64_t>::max(), std::numeric_limits<std::int64_t>::min()}) {
      nlohmann::json record = good;
      record[nlohmann::json::json_pointer(key)] = us;
      const Result<VerdictRecord> read = record_from_json(record);
      ASSERT_FALSE(read) << key << " took " << us;
      EXPECT_EQ(read.error().kind, ErrorKind::invalid_input);
    }
  }
}

TEST(RecordJson, ATextThatIsNotUtf8StillBecomesALine) {
  VerdictRecord record = sample_record("pcb", 1);
  record.frame = "caf\xe9";
  const std::string line =
      to_json(record).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  EXPECT_TRUE(nlohmann::json::accept(line));
}

TEST(RecordJson, NumbersThatAreNotWholeAreRefusedWhereTheyMustBe) {
  nlohmann::json written = to_json(VerdictRecord{});
  for (const char* key : {"seq", "trigger_seq", "captured_us", "latency_us"}) {
    nlohmann::json changed = written;
    changed[key] = 1.7e28;
    EXPECT_FALSE(record_from_json(changed)) << key;
  }
}

}  // namespace
}  // namespace takt::line
