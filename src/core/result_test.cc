// SPDX-License-Identifier: Apache-2.0
#include "core/result.h"

#include <gtest/gtest.h>

#include <set>

namespace takt {
namespace {

TEST(Error, WithinPutsTheContextInFront) {
  const Error error{ErrorKind::invalid_input, "no such file"};
  EXPECT_EQ(error.within("models/a").message, "models/a: no such file");
  EXPECT_EQ(error.within("models/a").kind, ErrorKind::invalid_input);
}

TEST(ErrorKind, EachHasItsOwnStableName) {
  std::set<std::string_view> names;
  for (int i = 0; i < kErrorKindCount; ++i) names.insert(to_string(static_cast<ErrorKind>(i)));
  EXPECT_EQ(names.size(), static_cast<std::size_t>(kErrorKindCount));
  EXPECT_TRUE(names.contains("device_poisoned"));
}

TEST(Result, CarriesAnErrorByValue) {
  const Result<int> result = fail(ErrorKind::unavailable, "busy");
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error().kind, ErrorKind::unavailable);
}

}  // namespace
}  // namespace takt
