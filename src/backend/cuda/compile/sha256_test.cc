// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/compile/sha256.h"

#include <gtest/gtest.h>

namespace takt::cuda {
namespace {

// The examples of FIPS 180-4, and of no bytes at all.
TEST(Sha256, IsThatOfTheStandard) {
  EXPECT_EQ(sha256_hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256_hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

TEST(Sha256, TakesItsBytesInParts) {
  Sha256 sum;
  for (const char letter : std::string_view("abc")) sum.update({&letter, 1});
  EXPECT_EQ(to_hex(sum.finish()), sha256_hex("abc"));
}

}  // namespace
}  // namespace takt::cuda
