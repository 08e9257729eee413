// SPDX-License-Identifier: Apache-2.0
#include "server/client_text.h"

#include <gtest/gtest.h>

#include <array>

namespace takt::server {
namespace {

std::string shown(std::string text) {
  const std::array<std::filesystem::path, 2> roots{"/data/my models", "/tmp/takt-a1/"};
  return without_paths(std::move(text), roots);
}

TEST(ClientText, WhatLiesBelowARootIsNamedFromThere) {
  EXPECT_EQ(shown("/data/my models/m/config.pbtxt:3:1: no field"), "m/config.pbtxt:3:1: no field");
  EXPECT_EQ(shown("at /tmp/takt-a1/m/1/model.onnx and /tmp/takt-a1/n"), "at m/1/model.onnx and n");
}

TEST(ClientText, OfOtherPathsTheNameRemains) {
  EXPECT_EQ(shown("can't open '/usr/lib/x/libov.so': no such file"),
            "can't open 'libov.so': no such file");
  EXPECT_EQ(shown("/proc/self/exe can't be read"), "exe can't be read");
  EXPECT_EQ(shown("(/etc/passwd)"), "(passwd)");
  EXPECT_EQ(shown("in /var/tmp/"), "in var/tmp/");
  EXPECT_EQ(shown("=/a"), "=a");
}

TEST(ClientText, WhatOnlyLooksLikeAPathStays) {
  EXPECT_EQ(shown("1/2, and/or, a / b, m/1/model.onnx, http://x/y, /"),
            "1/2, and/or, a / b, m/1/model.onnx, http://x/y, /");
  EXPECT_EQ(shown(""), "");
}

}  // namespace
}  // namespace takt::server
