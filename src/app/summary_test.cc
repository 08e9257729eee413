// SPDX-License-Identifier: Apache-2.0
#include "app/summary.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace takt::app {
namespace {

using engine::EventKind;

Summary degraded() {
  Summary summary;
  EngineStats& engine = summary.counts.engine;
  engine.events[static_cast<std::size_t>(EventKind::worker_lost)] = 2;
  engine.events[static_cast<std::size_t>(EventKind::requests_shed)] = 7;
  engine.shed_by_class[static_cast<std::size_t>(PriorityClass::background)] = 7;
  engine.batch_limits = {{"detector 3", "cpu", 2, 8}};
  return summary;
}

TEST(Summary, TheTableSaysWhatWasGivenUp) {
  const std::string table = to_table(degraded());
  for (const char* line :
       {"events: worker_lost 2, requests_shed 7\n", "shed for more urgent requests: background 7\n",
        "memory: batches of detector 3 on cpu have at most 2 of 8 rows\n"}) {
    EXPECT_NE(table.find(line), std::string::npos) << table;
  }
}

TEST(Summary, ARunWithoutTroubleSaysNothingOfIt) {
  const std::string table = to_table({});
  for (const char* word : {"events", "shed", "memory:"}) {
    EXPECT_EQ(table.find(word), std::string::npos) << table;
  }
}

TEST(Summary, TheJsonCountsEveryKindByItsName) {
  const std::filesystem::path file =
      std::filesystem::temp_directory_path() / ("takt-summary-" + std::to_string(::getpid()));
  ASSERT_TRUE(write_json(degraded(), file));
  std::ifstream stream(file);
  const auto engine = nlohmann::json::parse(stream).at("engine");
  std::filesystem::remove(file);
  EXPECT_EQ(engine.at("events").size(), static_cast<std::size_t>(engine::kEventKindCount));
  EXPECT_EQ(engine.at("events").at("worker_lost"), 2);
  EXPECT_EQ(engine.at("events").at("worker_back"), 0);
  EXPECT_EQ(engine.at("shed").at("background"), 7);
  EXPECT_EQ(engine.at("batch_limits").at(0).at("rows"), 2);
}

}  // namespace
}  // namespace takt::app
