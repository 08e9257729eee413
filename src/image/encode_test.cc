// SPDX-License-Identifier: Apache-2.0
#include "image/encode.h"

#include "image/decode.h"
#include "image/image_fixture.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <vector>

namespace takt {
namespace {

Image read(const std::vector<std::byte>& png, PixelFormat format) {
  const auto info = probe(png);
  if (!info) return {};
  Image image(info->width, info->height, format);
  const auto stride = static_cast<std::size_t>(image.view().stride_bytes);
  EXPECT_TRUE(decode(png, format, image.pixels, stride));
  return image;
}

RC_GTEST_PROP(EncodePng, EveryImageComesBackUnchanged, ()) {
  const auto format = *rc::gen::element(PixelFormat::gray8, PixelFormat::rgb8, PixelFormat::bgr8);
  const Image image = fixtures::noise(*rc::gen::inRange(1, 70), *rc::gen::inRange(1, 70), format,
                                      *rc::gen::arbitrary<unsigned>());
  std::vector<std::byte> png;
  RC_ASSERT(encode_png(image.view(), png).has_value());
  RC_ASSERT(read(png, format).pixels == image.pixels);
}

RC_GTEST_PROP(EncodePng, BlackAndWhiteComesBackUnchanged, ()) {
  Image image = fixtures::noise(*rc::gen::inRange(1, 70), *rc::gen::inRange(1, 70),
                                PixelFormat::gray8, *rc::gen::arbitrary<unsigned>());
  for (auto& pixel : image.pixels) pixel = pixel < 128 ? 0 : 255;
  std::vector<std::byte> png;
  RC_ASSERT(encode_png(image.view(), png).has_value());
  RC_ASSERT(read(png, PixelFormat::gray8).pixels == image.pixels);
}

TEST(EncodePng, ABinarisedBoardTakesOneBitAPixel) {
  Image image = fixtures::board(640, 640);
  std::vector<std::byte> png;
  ASSERT_TRUE(encode_png(image.view(), png));
  EXPECT_EQ(std::to_integer<int>(png[24]), 1);  // the header's bit depth
  for (const int gray : {1, 128, 254}) {
    image.pixels[640UL * 639 + 5] = static_cast<std::uint8_t>(gray);
    ASSERT_TRUE(encode_png(image.view(), png));
    EXPECT_EQ(std::to_integer<int>(png[24]), 8) << "a pixel of " << gray;
  }
}

TEST(EncodePng, ReadsRowsThroughTheStride) {
  const Image wide = fixtures::noise(16, 4, PixelFormat::rgb8, 2);
  ImageView left = wide.view();
  left.width = 5;
  std::vector<std::byte> png;
  ASSERT_TRUE(encode_png(left, png));
  const Image found = read(png, PixelFormat::rgb8);
  ASSERT_EQ(found.width, 5);
  for (int y = 0; y < 4; ++y) {
    EXPECT_TRUE(std::equal(left.row(y), left.row(y) + 15, found.view().row(y)));
  }
}

TEST(EncodePng, ReplacesWhatTheVectorHeld) {
  const Image image = fixtures::board(8, 8);
  std::vector<std::byte> fresh;
  std::vector<std::byte> used(100000, std::byte{7});
  ASSERT_TRUE(encode_png(image.view(), fresh));
  ASSERT_TRUE(encode_png(image.view(), used));
  EXPECT_EQ(used, fresh);
}

TEST(EncodePng, RefusesAnImageWithoutPixels) {
  std::vector<std::byte> png;
  const auto done = encode_png(ImageView{}, png);
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().kind, ErrorKind::invalid_input);
}

}  // namespace
}  // namespace takt
