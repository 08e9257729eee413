// SPDX-License-Identifier: Apache-2.0
#include "backend/cpus.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

namespace takt {
namespace {

// On a thread that ends, so that the tests' own stays free.
template <typename Body>
void on_a_thread(Body body) {
  std::thread(body).join();
}

TEST(Cpus, AThreadKeepsToThoseThatItIsGiven) {
  on_a_thread([] {
    const int last = usable_cpus().back();
    ASSERT_TRUE(use_cpus(::pthread_self(), std::vector<int>{last}));
    EXPECT_THAT(usable_cpus(), testing::ElementsAre(last));
  });
}

TEST(Cpus, NoneMeansAsItIs) {
  on_a_thread([] {
    const std::vector<int> before = usable_cpus();
    ASSERT_TRUE(use_cpus(::pthread_self(), {}));
    EXPECT_EQ(usable_cpus(), before);
  });
}

TEST(Cpus, OnesThatAreNotThereAreRefusedWithARemedy) {
  on_a_thread([] {
    for (const int cpu : {-1, 1023, 1 << 20}) {
      const Result<void> used = use_cpus(::pthread_self(), std::vector<int>{cpu});
      ASSERT_FALSE(used) << cpu;
      EXPECT_EQ(used.error().kind, ErrorKind::unavailable);
      EXPECT_THAT(used.error().message, testing::HasSubstr("CPU"));
    }
  });
}

}  // namespace
}  // namespace takt
