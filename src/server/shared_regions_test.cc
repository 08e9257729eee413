// SPDX-License-Identifier: Apache-2.0
// What may be registered, and what happens to clients that take their memory away.
#include "server/shared_regions.h"

#include "server/server_fixture.h"
#include "server/shared_object_fixture.h"

#include <limits>

namespace takt::server {
namespace {

using server_test::bytes_of;
using server_test::SharedObject;
using server_test::values_of;
using ::testing::HasSubstr;

constexpr std::size_t kLargest = std::numeric_limits<std::size_t>::max();

class SharedRegionsTest : public ::testing::Test {
 protected:
  [[nodiscard]] RegionInfo whole(const std::string& name = "region") const {
    return {name, object_.key(), 0, object_.size()};
  }
  void expect_refused(const RegionInfo& region, const std::string& message,
                      ApiCode code = ApiCode::invalid_argument) {
    const auto added = regions_.add(region);
    ASSERT_FALSE(added) << region.key;
    EXPECT_EQ(added.error().code, code);
    EXPECT_THAT(added.error().message, HasSubstr(message));
    EXPECT_THAT(added.error().message, Not(HasSubstr("/dev/shm")));
  }
  std::string read_error(const SharedPlace& place) {
    std::vector<std::byte> into(std::min(place.bytes, std::size_t{8192}));
    const auto read = regions_.read(place, into);
    if (read) return "read";
    EXPECT_EQ(read.error().code, ApiCode::invalid_argument);
    return read.error().message;
  }
  std::string write_error(const SharedPlace& place, std::size_t bytes) {
    const auto written = regions_.write(place, std::vector<std::byte>(bytes));
    if (written) return "written";
    EXPECT_EQ(written.error().code, ApiCode::invalid_argument);
    return written.error().message;
  }

  SharedObject object_{"takt-test-regions", 8192};
  SharedRegions regions_;
};

TEST_F(SharedRegionsTest, WhatIsRegisteredIsListed) {
  ASSERT_TRUE(regions_.add(whole("b")));
  ASSERT_TRUE(regions_.add({"a", object_.key(), 100, 50}));
  const auto all = regions_.list();
  ASSERT_TRUE(all);
  ASSERT_EQ(all->size(), 2);
  EXPECT_EQ((*all)[0].name, "a");
  EXPECT_EQ((*all)[0].key, object_.key());
  EXPECT_EQ((*all)[0].offset, 100);
  EXPECT_EQ((*all)[0].bytes, 50);
  EXPECT_EQ((*all)[1].name, "b");
  const auto one = regions_.list("b");
  ASSERT_TRUE(one);
  EXPECT_EQ(one->size(), 1);
  const auto none = regions_.list("c");
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, ApiCode::not_found);
}

TEST_F(SharedRegionsTest, AKeyMayLeaveItsSlashOut) {
  ASSERT_TRUE(regions_.add({"region", object_.key().substr(1), 0, 8192}));
  EXPECT_EQ(read_error({"region", 0, 8192}), "read");
}

TEST_F(SharedRegionsTest, AKeyIsTheNameOfAnObject) {
  for (const std::string key :
       {"", "/", "/..", "..", ".", "//x", "/../etc/passwd", "/a/b", "a/b"}) {
    expect_refused({"region", key, 0, 1}, "a key such as /input_data");
  }
  expect_refused({"region", std::string("/a\0b", 4), 0, 1}, "a key such as /input_data");
  expect_refused({"region", "/" + std::string(256, 'a'), 0, 1}, "a key such as /input_data");
}

TEST_F(SharedRegionsTest, ARegionHasANameOfBoundedLength) {
  expect_refused(whole(""), "expected a name");
  expect_refused(whole(std::string(256, 'n')), "expected a name");
  EXPECT_TRUE(regions_.add(whole(std::string(255, 'n'))));
}

TEST_F(SharedRegionsTest, TheObjectMustBeThere) {
  expect_refused({"region", "/takt-test-no-such-object", 0, 1},
                 "unable to open shared memory region 'region'");
}

TEST_F(SharedRegionsTest, ARegionLiesInItsObject) {
  for (const auto& [offset, bytes] : {std::pair<std::size_t, std::size_t>{0, 8193},
                                      {8192, 1},
                                      {8191, 2},
                                      {8193, 0},
                                      {kLargest, 2},
                                      {2, kLargest},
                                      {kLargest, kLargest},
                                      {0, 0}}) {
    expect_refused({"region", object_.key(), offset, bytes}, "the object has 8192 bytes");
  }
  EXPECT_TRUE(regions_.add({"region", object_.key(), 8191, 1}));
}

TEST_F(SharedRegionsTest, ANameIsGivenOnce) {
  ASSERT_TRUE(regions_.add(whole()));
  expect_refused(whole(), "shared memory region 'region' already in manager",
                 ApiCode::already_exists);
  regions_.remove("region");
  regions_.remove("region");
  EXPECT_TRUE(regions_.add(whole()));
}

TEST_F(SharedRegionsTest, AllCanBeRemovedAtOnce) {
  ASSERT_TRUE(regions_.add(whole("a")));
  ASSERT_TRUE(regions_.add(whole("b")));
  regions_.remove_all();
  EXPECT_TRUE(regions_.list()->empty());
  EXPECT_THAT(read_error({"a", 0, 1}), HasSubstr("Unable to find shared memory region: 'a'"));
}

TEST_F(SharedRegionsTest, WhatIsWrittenIsReadAtItsOffset) {
  ASSERT_TRUE(regions_.add({"region", object_.key(), 4096, 64}));
  ASSERT_TRUE(regions_.write({"region", 8, 8}, bytes_of<std::int32_t>({7, -9})));
  EXPECT_EQ(values_of<std::int32_t>(object_.read(4096 + 8, 8)), (std::vector{7, -9}));
  std::vector<std::byte> got(4);
  ASSERT_TRUE(regions_.read({"region", 12, 4}, got));
  EXPECT_EQ(values_of<std::int32_t>(got), std::vector{-9});
}

TEST_F(SharedRegionsTest, NothingOutsideOfARegionIsTouched) {
  ASSERT_TRUE(regions_.add({"region", object_.key(), 4096, 64}));
  for (const SharedPlace& place :
       {SharedPlace{"region", 0, 65}, SharedPlace{"region", 64, 1}, SharedPlace{"region", 65, 0},
        SharedPlace{"region", kLargest, 1}, SharedPlace{"region", 1, kLargest}}) {
    EXPECT_THAT(read_error(place), HasSubstr("don't lie in its 64 bytes"));
  }
  EXPECT_THAT(write_error({"region", 0, 0}, 65), HasSubstr("don't lie in its 64 bytes"));
  EXPECT_THAT(write_error({"region", kLargest, 0}, 2), HasSubstr("don't lie in its 64 bytes"));
  EXPECT_EQ(read_error({"region", 64, 0}), "read");
}

TEST_F(SharedRegionsTest, AnObjectThatWasShrunkIsAnErrorOfItsClient) {
  ASSERT_TRUE(regions_.add(whole()));
  object_.resize(4096);
  EXPECT_THAT(read_error({"region", 4000, 200}), HasSubstr("has become smaller"));
  EXPECT_THAT(write_error({"region", 4000, 200}, 200), HasSubstr("has become smaller"));
  EXPECT_EQ(object_.size(), 4096) << "a write made it larger again";
  EXPECT_EQ(read_error({"region", 0, 4096}), "read");
  EXPECT_EQ(write_error({"region", 0, 4096}, 4096), "written");
}

TEST_F(SharedRegionsTest, AnObjectThatWasUnlinkedStaysUsable) {
  ASSERT_TRUE(regions_.add(whole()));
  ASSERT_EQ(::shm_unlink(object_.key().c_str()), 0);
  EXPECT_EQ(read_error({"region", 0, 8192}), "read");
}

TEST_F(SharedRegionsTest, ThereAreNoMoreRegionsThanAllowed) {
  SharedRegions two({.regions_max = 2});
  ASSERT_TRUE(two.add(whole("a")));
  ASSERT_TRUE(two.add(whole("b")));
  const auto third = two.add(whole("c"));
  ASSERT_FALSE(third);
  EXPECT_EQ(third.error().code, ApiCode::resource_exhausted);
  two.remove("a");
  EXPECT_TRUE(two.add(whole("c")));
}

TEST_F(SharedRegionsTest, ItCanBeSwitchedOff) {
  SharedRegions none({.allowed = false});
  const auto added = none.add(whole());
  ASSERT_FALSE(added);
  EXPECT_EQ(added.error().code, ApiCode::permission_denied);
}

}  // namespace
}  // namespace takt::server
