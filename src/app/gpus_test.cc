// SPDX-License-Identifier: Apache-2.0
#include "app/gpus.h"

#include "app/plan_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace takt::app {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

TEST(CheckGpus, WithoutAConfiguredOneNothingIsNeeded) {
  config::Config config;
  config.devices = {{.name = "cpu"}};
  EXPECT_TRUE(check_gpus(config));
}

// No machine has that many; most that run this test have none.
TEST(CheckGpus, OneThatIsNotThereIsNamedWithWhatToDo) {
  config::Config config;
  config.devices = {{.name = "cpu"},
                    {.name = "gpu", .kind = config::DeviceKind::cuda, .index = 1000}};
  const Result<void> checked = check_gpus(config);
  ASSERT_FALSE(checked);
  EXPECT_EQ(checked.error().kind, ErrorKind::unavailable);
  EXPECT_THAT(checked.error().message, StartsWith("devices.gpu: "));
  EXPECT_THAT(checked.error().message, HasSubstr("takt doctor shows"));
}

TEST(PlanFolder, LiesInTheCacheIfThereIsOne) {
  EXPECT_EQ(plan_folder("/cache"), "/cache/plans");
  EXPECT_EQ(plan_folder(""), "");
  EXPECT_EQ(cache_of("cuda", "/cache"), "/cache/plans");
  EXPECT_EQ(cache_of("openvino", "/cache"), "/cache");
}

}  // namespace
}  // namespace takt::app
