// SPDX-License-Identifier: Apache-2.0
#include "worker/backends.h"

#include <gtest/gtest.h>

namespace takt::worker {
namespace {

TEST(Backends, EachNameGivesThatBackend) {
  for (const std::string& name : backend_names()) {
    const auto backend = make_backend(name);
    if (!backend && name == "cuda") {
      EXPECT_EQ(backend.error().kind, ErrorKind::unavailable) << "no GPU here";
      continue;
    }
    ASSERT_TRUE(backend) << name << ": " << backend.error().message;
    EXPECT_EQ((*backend)->name(), name);
    EXPECT_FALSE((*backend)->version().empty());
  }
}

TEST(Backends, RunOnTheDevicesThatTheyAreFor) {
  EXPECT_TRUE(runs_on("openvino", "cpu"));
  EXPECT_FALSE(runs_on("openvino", "cuda:0"));
  EXPECT_TRUE(runs_on("cuda", "cuda:3"));
  EXPECT_FALSE(runs_on("cuda", "cpu"));
  EXPECT_TRUE(runs_on("simulated", "cpu"));
  EXPECT_TRUE(runs_on("simulated", "cuda:0"));
}

TEST(Backends, AMistypedNameIsToldTheNearestOne) {
  const auto backend = make_backend("openvno");
  ASSERT_FALSE(backend);
  EXPECT_NE(backend.error().message.find("did you mean 'openvino'?"), std::string::npos);
}

}  // namespace
}  // namespace takt::worker
