// SPDX-License-Identifier: Apache-2.0
#include "backend/simulated/parameters.h"

#include "backend/simulated/fault_plan.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace takt::simulated {
namespace {

using namespace std::chrono_literals;
using Pairs = std::vector<std::pair<std::string, std::string>>;

Parameters parsed(const Pairs& pairs) {
  const Result<Parameters> result = parse_parameters(pairs);
  EXPECT_TRUE(result.has_value()) << result.error().message;
  return result.value_or(Parameters{});
}

TEST(SimulatedParameters, ReadsEveryKey) {
  const Parameters parameters = parsed({{"simulated.base_us", "1500"},
                                        {"simulated.row_us", "250"},
                                        {"simulated.jitter_us", "40"},
                                        {"simulated.seed", "9"},
                                        {"simulated.faults", "out_of_memory@3,hang@10"},
                                        {"simulated.hang_us", "2000"},
                                        {"simulated.memory_rows_max", "4"},
                                        {"simulated.compute", "add_sub"},
                                        {"simulated.probability.failure", "0.25"},
                                        {"simulated.input.image", "FP32[2,16,16]"},
                                        {"simulated.output.scores", "TYPE_FP16[5]"}});
  EXPECT_EQ(parameters.base, 1500us);
  EXPECT_EQ(parameters.per_row, 250us);
  EXPECT_EQ(parameters.jitter, 40us);
  EXPECT_EQ(parameters.seed, 9U);
  ASSERT_EQ(parameters.faults.size(), 2U);
  EXPECT_EQ(parameters.faults[1].fault, Fault::hang);
  EXPECT_EQ(parameters.faults[1].batch, 10U);
  EXPECT_EQ(parameters.hang, 2ms);
  EXPECT_EQ(parameters.memory_rows_max, 4);
  EXPECT_EQ(parameters.compute, Compute::add_sub);
  EXPECT_EQ(parameters.probability[static_cast<std::size_t>(Fault::failure)], 0.25);
  EXPECT_EQ(parameters.inputs[0].shape, (Shape{2, 16, 16}));
  EXPECT_EQ(parameters.outputs[0].type, DataType::fp16);
}

TEST(SimulatedParameters, LeavesOtherBackendsKeysAlone) {
  const Parameters parameters = parsed({{"openvino.anything", "1"}, {"labels", "a"}});
  EXPECT_EQ(parameters.base, 0us);
  EXPECT_EQ(parameters.compute, std::nullopt);
}

struct Refusal {
  std::pair<std::string, std::string> pair;
  std::string text;
};

class RefusedParameter : public testing::TestWithParam<Refusal> {};

TEST_P(RefusedParameter, NamesKeyAndRemedy) {
  const Result<Parameters> result = parse_parameters(Pairs{GetParam().pair});
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error().kind, ErrorKind::invalid_input);
  EXPECT_NE(result.error().message.find(GetParam().text), std::string::npos)
      << result.error().message;
}

INSTANTIATE_TEST_SUITE_P(
    All, RefusedParameter,
    testing::Values(Refusal{{"simulated.base_ms", "1"}, "did you mean 'base_us'?"},
                    Refusal{{"simulated.base_us", "1ms"}, "expected microseconds"},
                    Refusal{{"simulated.base_us", "-1"}, "expected microseconds"},
                    Refusal{{"simulated.faults", "hang"}, "expected FAULT@BATCH"},
                    Refusal{{"simulated.faults", "hang@0"}, "expected FAULT@BATCH"},
                    Refusal{{"simulated.faults", "hnag@1"}, "did you mean 'hang'?"},
                    Refusal{{"simulated.probability.hang", "1.5"}, "from 0"},
                    Refusal{{"simulated.probability.hand", "0.5"}, "did you mean 'hang'?"},
                    Refusal{{"simulated.input.x", "FP32"}, "such as FP32[2,640,640]"},
                    Refusal{{"simulated.input.x", "FP31[1]"}, "such as FP32[2,640,640]"},
                    Refusal{{"simulated.input.x", "FP32[0]"}, "greater than 0"},
                    Refusal{{"simulated.compute", "ad_sub"}, "did you mean 'add_sub'?"},
                    Refusal{{"simulated.crash_allowed", "yes"}, "true or false"},
                    Refusal{{"simulated.faults", "crash@1"}, "simulated.crash_allowed"},
                    Refusal{{"simulated.probability.crash", "0.1"}, "simulated.crash_allowed"}));

std::vector<std::optional<Fault>> story(const Pairs& pairs, int batches) {
  FaultPlan plan(parsed(pairs));
  std::vector<std::optional<Fault>> faults;
  faults.reserve(static_cast<std::size_t>(batches));
  for (int i = 0; i < batches; ++i) faults.push_back(plan.next(1).fault);
  return faults;
}

TEST(FaultPlan, ScheduledFaultsHitTheirBatch) {
  const auto faults = story({{"simulated.faults", "failure@2,out_of_memory@4"}}, 5);
  EXPECT_EQ(faults[0], std::nullopt);
  EXPECT_EQ(faults[1], Fault::failure);
  EXPECT_EQ(faults[2], std::nullopt);
  EXPECT_EQ(faults[3], Fault::out_of_memory);
  EXPECT_EQ(faults[4], std::nullopt);
}

TEST(FaultPlan, SameSeedSameStory) {
  const auto with_seed = [](const std::string& seed) {
    return story({{"simulated.probability.failure", "0.3"}, {"simulated.seed", seed}}, 200);
  };
  EXPECT_EQ(with_seed("1"), with_seed("1"));
  EXPECT_NE(with_seed("1"), with_seed("2"));
}

TEST(FaultPlan, ProbabilityIsMetInTheLongRun) {
  const auto faults = story({{"simulated.probability.failure", "0.1"}}, 10000);
  const auto failures = std::ranges::count(faults, std::optional(Fault::failure));
  EXPECT_GT(failures, 900);
  EXPECT_LT(failures, 1100);
}

TEST(FaultPlan, PoisonStays) {
  const auto faults = story({{"simulated.faults", "device_poisoned@2"}}, 4);
  EXPECT_EQ(faults[0], std::nullopt);
  for (std::size_t i = 1; i < 4; ++i) EXPECT_EQ(faults[i], Fault::device_poisoned);
}

TEST(FaultPlan, LargeBatchesRunOutOfMemory) {
  FaultPlan plan(parsed({{"simulated.memory_rows_max", "4"}}));
  EXPECT_EQ(plan.next(4).fault, std::nullopt);
  EXPECT_EQ(plan.next(5).fault, Fault::out_of_memory);
}

TEST(FaultPlan, LatencyIsBasePlusRowsPlusAShareOfTheJitter) {
  FaultPlan exact(parsed({{"simulated.base_us", "100"}, {"simulated.row_us", "10"}}));
  EXPECT_EQ(exact.next(3).latency, 130us);
  FaultPlan noisy(parsed({{"simulated.base_us", "100"}, {"simulated.jitter_us", "50"}}));
  Duration least = 1h;
  Duration most{};
  for (int i = 0; i < 1000; ++i) {
    const Duration latency = noisy.next(1).latency;
    least = std::min(least, latency);
    most = std::max(most, latency);
  }
  EXPECT_GE(least, 100us);
  EXPECT_LT(least, 105us);
  EXPECT_LT(most, 150us);
  EXPECT_GT(most, 145us);
}

}  // namespace
}  // namespace takt::simulated
