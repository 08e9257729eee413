// SPDX-License-Identifier: Apache-2.0
#include "core/image.h"

#include <gtest/gtest.h>

namespace takt {
namespace {

TEST(Iou, OfKnownBoxes) {
  EXPECT_FLOAT_EQ(iou({0, 0, 2, 2}, {0, 0, 2, 2}), 1.0F);
  EXPECT_FLOAT_EQ(iou({0, 0, 2, 2}, {1, 0, 3, 2}), 1.0F / 3.0F);
  EXPECT_FLOAT_EQ(iou({0, 0, 2, 2}, {2, 0, 4, 2}), 0.0F) << "touching boxes do not overlap";
  EXPECT_FLOAT_EQ(iou({0, 0, 0, 0}, {0, 0, 0, 0}), 0.0F);
}

TEST(Image, RowsOfAViewFollowTheStride) {
  Image image(4, 3, PixelFormat::rgb8, 7);
  image.row(2)[11] = 9;
  const ImageView view = image.view();
  EXPECT_TRUE(view.dense());
  EXPECT_EQ(view.byte_size(), 36U);
  EXPECT_EQ(view.row(2)[11], 9);
  EXPECT_EQ(view.row(0)[0], 7);
}

TEST(PixelFormat, ShortAndLongNamesAreRead) {
  EXPECT_EQ(parse_pixel_format("gray").value(), PixelFormat::gray8);
  EXPECT_EQ(parse_pixel_format("bgr8").value(), PixelFormat::bgr8);
  EXPECT_FALSE(parse_pixel_format("cmyk").has_value());
}

}  // namespace
}  // namespace takt
