// SPDX-License-Identifier: Apache-2.0
#include "image/resample.h"

#include "image/color.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <utility>
#include <vector>

namespace takt {
namespace {

Image noise(int width, int height, PixelFormat format, unsigned seed) {
  Image image(width, height, format);
  std::minstd_rand random(seed);
  std::generate(image.pixels.begin(), image.pixels.end(),
                [&] { return static_cast<std::uint8_t>(random() >> 8U); });
  return image;
}

Image converted(const Image& image, PixelFormat format) {
  Image out(image.width, image.height, format);
  for (int y = 0; y < image.height; ++y) {
    convert_row(image.view().row(y), image.format, out.row(y), format, image.width);
  }
  return out;
}

// PyTorch's grid_sample(mode='bilinear', padding_mode='border', align_corners=False) in double
// precision: the coordinate is clamped, then both neighbours are blended.
double reference(const Image& image, double x, double y, int channel) {
  x = std::clamp(x, 0.0, image.width - 1.0);
  y = std::clamp(y, 0.0, image.height - 1.0);
  const int x0 = static_cast<int>(std::floor(x));
  const int y0 = static_cast<int>(std::floor(y));
  const auto pixel = [&](int column, int row) -> double {
    const int xx = std::min(column, image.width - 1);
    const int yy = std::min(row, image.height - 1);
    return image.view().row(yy)[xx * channel_count(image.format) + channel];
  };
  const double fx = x - x0;
  const double fy = y - y0;
  return (pixel(x0, y0) * (1 - fx) + pixel(x0 + 1, y0) * fx) * (1 - fy) +
         (pixel(x0, y0 + 1) * (1 - fx) + pixel(x0 + 1, y0 + 1) * fx) * fy;
}

struct Difference {
  double largest = 0;
  int padding_wrong = 0;
};

// Compares every byte of the model's input with the reference at the half-pixel centres of
// `region`.
Difference compare(const Image& image, const Region& region, const Placement& p,
                   const PixelTarget& target, std::uint8_t pad) {
  const Image source = converted(image, target.color);
  Difference difference;
  for (int y = 0; y < target.height; ++y) {
    for (int x = 0; x < target.width; ++x) {
      const bool content = x >= p.content_x && x < p.content_x + p.content_width &&
                           y >= p.content_y && y < p.content_y + p.content_height;
      for (int c = 0; c < channel_count(target.color); ++c) {
        const std::uint8_t found = target.pixels[y * target.row_stride + x * target.pixel_stride +
                                                 c * target.channel_stride];
        if (!content) {
          difference.padding_wrong += found != pad ? 1 : 0;
          continue;
        }
        const double source_x =
            region.x + (x - p.content_x + 0.5) / static_cast<double>(p.scale_x) - 0.5;
        const double source_y =
            region.y + (y - p.content_y + 0.5) / static_cast<double>(p.scale_y) - 0.5;
        difference.largest = std::max(difference.largest,
                                      std::abs(reference(source, source_x, source_y, c) - found));
      }
    }
  }
  return difference;
}

RC_GTEST_PROP(Resample, EqualsTheDoublePrecisionReference, ()) {
  const auto format = *rc::gen::element(PixelFormat::gray8, PixelFormat::rgb8, PixelFormat::bgr8);
  const auto color = *rc::gen::element(PixelFormat::gray8, PixelFormat::rgb8, PixelFormat::bgr8);
  const Image image = noise(*rc::gen::inRange(1, 60), *rc::gen::inRange(1, 60), format,
                            *rc::gen::arbitrary<unsigned>());
  const InputGeometry geometry{*rc::gen::inRange(1, 80), *rc::gen::inRange(1, 80),
                               channel_count(color) + *rc::gen::inRange(0, 3),
                               *rc::gen::arbitrary<bool>()};
  const auto real = [](int low, int high) {
    return static_cast<float>(*rc::gen::inRange(low * 100, high * 100)) / 100.0F;
  };
  const bool whole = *rc::gen::arbitrary<bool>();
  const Region region =
      whole ? Region{0, 0, static_cast<float>(image.width), static_cast<float>(image.height)}
            : Region{real(-80, 80), real(-80, 80), real(1, 90), real(1, 90)};
  const Placement p = place(region, image.width, image.height, geometry.width, geometry.height,
                            *rc::gen::element(Fit::stretch, Fit::letterbox));
  std::vector<std::uint8_t> bytes(
      static_cast<std::size_t>(geometry.width * geometry.height * geometry.channels));
  const int first = *rc::gen::inRange(0, geometry.channels - channel_count(color) + 1);
  const auto target = input_target(bytes, geometry, first, color);
  RC_ASSERT(target.has_value());
  Resampler resampler;
  RC_ASSERT(resampler.run(image.view(), p, 114, *target).has_value());
  const Difference difference = compare(image, region, p, *target, 114);
  RC_ASSERT(difference.padding_wrong == 0);
  // Half a level is the rounding; the rest is single precision of the placement.
  RC_ASSERT(difference.largest < 0.56);
}

TEST(Resample, LeavesTheOtherChannelsAlone) {
  const Image image(4, 4, PixelFormat::gray8, 200);
  const InputGeometry geometry{6, 6, 3, false};
  for (const bool channels_last : {false, true}) {
    std::vector<std::uint8_t> bytes(6UL * 6 * 3, 7);
    auto layout = geometry;
    layout.channels_last = channels_last;
    const auto target = input_target(bytes, layout, 1, PixelFormat::gray8).value();
    ASSERT_TRUE(Resampler().run(image.view(), place({}, 4, 4, 6, 6, Fit::stretch), 0, target));
    EXPECT_EQ(std::count(bytes.begin(), bytes.end(), 7), 72);
    EXPECT_EQ(std::count(bytes.begin(), bytes.end(), 200), 36);
  }
}

TEST(Resample, CopiesExactlyWhenNothingIsScaled) {
  const Image image = noise(32, 24, PixelFormat::gray8, 1);
  std::vector<std::uint8_t> bytes(32UL * 24);
  const auto target = input_target(bytes, {32, 24, 1, false}, 0, PixelFormat::gray8).value();
  ASSERT_TRUE(Resampler().run(image.view(), place({}, 32, 24, 32, 24, Fit::letterbox), 0, target));
  EXPECT_EQ(bytes, image.pixels);
}

TEST(Resample, RepeatsTheBorderOutsideTheImage) {
  Image image(2, 1, PixelFormat::gray8);
  image.pixels = {10, 20};
  for (const float shift : {0.0F, 0.25F}) {  // copied and sampled
    std::vector<std::uint8_t> bytes(6);
    const auto target = input_target(bytes, {6, 1, 1, false}, 0, PixelFormat::gray8).value();
    const Placement p = place({-2 - shift, 0, 6, 1}, 2, 1, 6, 1, Fit::stretch);
    ASSERT_TRUE(Resampler().run(image.view(), p, 0, target));
    EXPECT_EQ(bytes.front(), 10);
    EXPECT_EQ(bytes.back(), 20);
  }
}

TEST(Resample, RegionFarOutsideShowsTheNearestBorder) {
  const Image image = noise(8, 8, PixelFormat::rgb8, 3);
  for (const Region& region :
       {Region{1000, 1000, 4, 4}, Region{-1000, -1000, 4, 4}, Region{1e9F, -1e9F, 3, 5}}) {
    std::vector<std::uint8_t> bytes(4UL * 4 * 3);
    const auto target = input_target(bytes, {4, 4, 3, true}, 0, PixelFormat::rgb8).value();
    ASSERT_TRUE(Resampler().run(image.view(), place(region, 8, 8, 4, 4, Fit::stretch), 0, target));
    const int corner_x = region.x > 0 ? 7 : 0;
    const int corner_y = region.y > 0 ? 7 : 0;
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      EXPECT_EQ(bytes[i], image.view().row(corner_y)[corner_x * 3 + static_cast<int>(i % 3)]);
    }
  }
}

TEST(Resample, HalvingAveragesFourPixelsAndRoundsHalfUp) {
  Image image(2, 2, PixelFormat::gray8);
  image.pixels = {0, 1, 0, 1};
  std::vector<std::uint8_t> bytes(1);
  const auto target = input_target(bytes, {1, 1, 1, false}, 0, PixelFormat::gray8).value();
  ASSERT_TRUE(Resampler().run(image.view(), place({}, 2, 2, 1, 1, Fit::stretch), 0, target));
  EXPECT_EQ(bytes[0], 1);
}

TEST(Resample, OneResamplerServesImagesOfManySizes) {
  Resampler resampler;
  for (const auto& [width, height] :
       {std::pair{50, 3}, std::pair{3, 50}, std::pair{1, 1}, std::pair{40, 40}}) {
    const Image image = noise(width, height, PixelFormat::bgr8, 9);
    const Region whole{0, 0, static_cast<float>(width), static_cast<float>(height)};
    std::vector<std::uint8_t> bytes(20UL * 20 * 3);
    const auto target = input_target(bytes, {20, 20, 3, false}, 0, PixelFormat::rgb8).value();
    const Placement p = place({}, width, height, 20, 20, Fit::letterbox);
    ASSERT_TRUE(resampler.run(image.view(), p, 114, target));
    EXPECT_LT(compare(image, whole, p, target, 114).largest, 0.56);
  }
}

TEST(Resample, ReadsRowsThroughTheStride) {
  const Image wide = noise(16, 4, PixelFormat::gray8, 5);
  ImageView left = wide.view();
  left.width = 8;
  std::vector<std::uint8_t> bytes(8UL * 4);
  const auto target = input_target(bytes, {8, 4, 1, false}, 0, PixelFormat::gray8).value();
  ASSERT_TRUE(Resampler().run(left, place({}, 8, 4, 8, 4, Fit::stretch), 0, target));
  for (int y = 0; y < 4; ++y) {
    EXPECT_TRUE(std::equal(left.row(y), left.row(y) + 8, bytes.begin() + std::ptrdiff_t{8} * y))
        << "row " << y;
  }
}

TEST(Resample, RefusesWhatItCannotSample) {
  const Image image(4, 4, PixelFormat::gray8);
  std::vector<std::uint8_t> bytes(16);
  const auto target = input_target(bytes, {4, 4, 1, false}, 0, PixelFormat::gray8).value();
  const Placement fitting = place({}, 4, 4, 4, 4, Fit::stretch);
  Resampler resampler;

  const auto empty = resampler.run(ImageView{}, fitting, 0, target);
  ASSERT_FALSE(empty);
  EXPECT_EQ(empty.error().kind, ErrorKind::invalid_input);
  EXPECT_EQ(empty.error().message, "the image has no pixels");

  const auto other = resampler.run(image.view(), place({}, 5, 4, 4, 4, Fit::stretch), 0, target);
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().message, "the image is 4x4, but its placement was made for 5x4");

  const auto large = resampler.run(image.view(), place({}, 4, 4, 8, 8, Fit::stretch), 0, target);
  ASSERT_FALSE(large);
  EXPECT_EQ(large.error().kind, ErrorKind::invalid_input);

  Placement endless = fitting;
  endless.offset_x = std::numeric_limits<float>::quiet_NaN();
  const auto nan = resampler.run(image.view(), endless, 0, target);
  ASSERT_FALSE(nan);
  EXPECT_EQ(nan.error().message, "the region that the model looks at isn't finite");
}

TEST(InputTarget, RefusesChannelsThatDontFit) {
  std::vector<std::uint8_t> bytes(4UL * 4 * 2);
  const auto target = input_target(bytes, {4, 4, 2, false}, 0, PixelFormat::rgb8);
  ASSERT_FALSE(target);
  EXPECT_EQ(target.error().kind, ErrorKind::invalid_input);
  EXPECT_EQ(
      target.error().message,
      "an image of 3 channels at channel 0 doesn't fit a model input of 2 channels, 4x4; check "
      "the task's images and preprocess.color");
}

TEST(InputTarget, RefusesRoomOfAnotherSize) {
  std::vector<std::uint8_t> bytes(15);
  const auto target = input_target(bytes, {4, 4, 1, false}, 0, PixelFormat::gray8);
  ASSERT_FALSE(target);
  EXPECT_EQ(target.error().message, "a model input of 16 bytes was given room for 15");
}

TEST(Color, GrayFollowsBt601) {
  EXPECT_EQ(luma(255, 255, 255), 255);
  EXPECT_EQ(luma(0, 0, 0), 0);
  EXPECT_EQ(luma(255, 0, 0), 76);
  EXPECT_EQ(luma(0, 255, 0), 150);
  EXPECT_EQ(luma(0, 0, 255), 29);
}

TEST(Color, RedStaysRedThroughEveryConversion) {
  const std::uint8_t red_in_bgr[] = {1, 2, 250};
  std::uint8_t rgb[3];
  convert_row(red_in_bgr, PixelFormat::bgr8, rgb, PixelFormat::rgb8, 1);
  EXPECT_EQ(rgb[0], 250);
  EXPECT_EQ(rgb[2], 1);
  std::uint8_t from_bgr[1];
  std::uint8_t from_rgb[1];
  convert_row(red_in_bgr, PixelFormat::bgr8, from_bgr, PixelFormat::gray8, 1);
  convert_row(rgb, PixelFormat::rgb8, from_rgb, PixelFormat::gray8, 1);
  EXPECT_EQ(from_bgr[0], luma(250, 2, 1));
  EXPECT_EQ(from_rgb[0], luma(250, 2, 1));
}

}  // namespace
}  // namespace takt
