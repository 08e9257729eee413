// SPDX-License-Identifier: Apache-2.0
#include "app/compile_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace takt::app {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;
using ::testing::Not;

cuda::CompileReport a_report() {
  cuda::CompileReport report;
  report.device = "NVIDIA H200";
  report.libraries = {{"NVRTC", "12.9"}, {"cuDNN", "9.19.0"}};
  report.plan = "/cache/plans/net-1.taktplan";
  report.tuned_steps = 12;
  report.reused_steps = 3;
  report.seconds = 4.25;
  cuda::BatchReport batch;
  batch.batch = 8;
  batch.latency_p50 = 1500us;
  batch.rows_per_second = 5333.3;
  batch.arena_bytes = std::size_t{12} << 20;
  batch.weights_bytes = std::size_t{97} << 20;
  batch.layers = {{"conv_1", "[8,3,64,64] -> [8,64,32,32]", "fp16", "cudnn 7", 100, 0.8, 2e8, 5e10},
                  {"soft\x1b[2Jmax", "[8,10]", "fp32", "own", 25, 0.2, 0, 0}};
  report.batches = {batch};
  return report;
}

TEST(CompileReport, HasARowForEachBatch) {
  EXPECT_EQ(to_table(a_report(), false),
            "NVIDIA H200, NVRTC 12.9, cuDNN 9.19.0\n"
            "  batch       p50  rows/s     arena   weights\n"
            "      8  1.500 ms  5333.3  12.0 MiB  97.0 MiB\n"
            "plan: /cache/plans/net-1.taktplan (12 steps tuned, 3 reused, 4.2 s)\n");
}

TEST(CompileReport, SaysWhyAPlanWasMadeAgain) {
  cuda::CompileReport report;
  EXPECT_THAT(to_table(report, false), testing::Not(testing::HasSubstr("wasn't used")));
  report.remade = "old.taktplan: made under other conditions";
  EXPECT_THAT(to_table(report, false),
              testing::HasSubstr("wasn't used: old.taktplan: made under other conditions\n"));
  EXPECT_EQ(nlohmann::json::parse(to_json(report)).at("remade"), report.remade);
}

TEST(CompileReport, ShowsLayersWithWhatTheyReach) {
  const std::string table = to_table(a_report(), true);
  EXPECT_THAT(table, HasSubstr("  conv_1          [8,3,64,64] -> [8,64,32,32]  fp16       cudnn 7  "
                               "       100.0 us  80.0 %  2000.0    500.0\n"));
  EXPECT_THAT(table, HasSubstr("own              25.0 us  20.0 %       -        -\n"));
}

TEST(CompileReport, LetsNoNameMoveTheCursor) {
  EXPECT_THAT(to_table(a_report(), true), Not(HasSubstr("\x1b")));
}

TEST(CompileReport, IsShownWithoutLayersToo) {
  cuda::CompileReport report = a_report();
  report.batches.front().layers.clear();
  EXPECT_THAT(to_table(report, true), HasSubstr("batch 8\n  layer  shapes"));
}

TEST(CompileReport, IsJsonForScripts) {
  cuda::CompileReport report = a_report();
  report.batches.front().layers.back().name = "no utf-8: \xff";
  const nlohmann::json out = nlohmann::json::parse(to_json(report));
  EXPECT_EQ(out.at("device"), "NVIDIA H200");
  EXPECT_EQ(out.at("libraries").at("cuDNN"), "9.19.0");
  EXPECT_EQ(out.at("plan"), "/cache/plans/net-1.taktplan");
  EXPECT_EQ(out.at("tuned_steps"), 12);
  EXPECT_EQ(out.at("batches").at(0).at("latency_p50_us"), 1500.0);
  EXPECT_EQ(out.at("batches").at(0).at("layers").at(0).at("flops"), 5e10);
}

}  // namespace
}  // namespace takt::app
