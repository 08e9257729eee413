// SPDX-License-Identifier: Apache-2.0
#include "backend/image_input.h"

#include <gtest/gtest.h>

#include <numeric>

namespace takt {
namespace {

TensorSpec spec(Shape shape, DataType type = DataType::fp32) {
  return {"images", type, std::move(shape)};
}

void expect_refused(const Result<ImageInput>& input, std::string_view text) {
  ASSERT_FALSE(input.has_value());
  EXPECT_EQ(input.error().kind, ErrorKind::invalid_input);
  EXPECT_NE(input.error().message.find(text), std::string::npos) << input.error().message;
  EXPECT_TRUE(input.error().message.starts_with("input 'images'")) << input.error().message;
}

TEST(ImageInput, StagesGrayImagesPlaneByPlane) {
  const auto input = resolve_image_input({}, spec({2, 6, 8}));
  ASSERT_TRUE(input.has_value());
  EXPECT_EQ(input->image_count, 2);
  EXPECT_EQ(input->staged.width, 8);
  EXPECT_EQ(input->staged.height, 6);
  EXPECT_FALSE(input->staged.channels_last);
  EXPECT_EQ(input->row_bytes, 96U);
}

TEST(ImageInput, StagesColourInterleavedWhateverTheModelsLayout) {
  ImagePreprocess preprocess;
  preprocess.color = PixelFormat::rgb8;
  const auto planes = resolve_image_input(preprocess, spec({3, 6, 8}));
  ASSERT_TRUE(planes.has_value());
  EXPECT_TRUE(planes->staged.channels_last);
  preprocess.channels_last = true;
  const auto interleaved = resolve_image_input(preprocess, spec({6, 8, 3}));
  ASSERT_TRUE(interleaved.has_value());
  EXPECT_EQ(interleaved->staged.width, 8);
}

TEST(ImageInput, AcceptsALeadingOneOfAModelWithoutBatchDimension) {
  EXPECT_TRUE(resolve_image_input({}, spec({1, 2, 6, 8})).has_value());
}

TEST(ImageInput, RefusesWhatImagesCannotFill) {
  ImagePreprocess color;
  color.color = PixelFormat::bgr8;
  expect_refused(resolve_image_input({}, spec({10})), "it must be [C,H,W]");
  expect_refused(resolve_image_input({}, spec({2, -1, -1})), "state dims in config.pbtxt");
  expect_refused(resolve_image_input(color, spec({2, 6, 8})), "set preprocess.color");
  expect_refused(resolve_image_input({}, spec({2, 6, 8}, DataType::int64)), "can't feed INT64");
  expect_refused(resolve_image_input({}, spec({1, 6, 8}, DataType::uint8)), "set scale: 1");
}

TEST(ImageInput, RefusesNormalisationThatDoesNotFitTheChannels) {
  ImagePreprocess preprocess;
  preprocess.mean = {0.5F};
  expect_refused(resolve_image_input(preprocess, spec({2, 6, 8})), "one value for each of the 2");
  preprocess.mean.clear();
  preprocess.stddev = {1, 0};
  expect_refused(resolve_image_input(preprocess, spec({2, 6, 8})), "greater than 0");
  preprocess.stddev.clear();
  preprocess.scale = 0;
  expect_refused(resolve_image_input(preprocess, spec({2, 6, 8})), "scale");
}

class InPlace : public testing::Test {
 protected:
  InPlace() { std::iota(block_.begin(), block_.end(), std::uint8_t{0}); }
  [[nodiscard]] ImageView plane(std::size_t offset) const {
    return {block_.data() + offset, 8, 6, 8, PixelFormat::gray8};
  }
  std::vector<std::uint8_t> block_ = std::vector<std::uint8_t>(200);
  ImageInput input_ = resolve_image_input({}, spec({2, 6, 8})).value();
};

TEST_F(InPlace, TakesPlanesThatLieTogether) {
  EXPECT_EQ(staged_in_place({{plane(0), plane(48)}, {}}, input_), block_.data());
  EXPECT_EQ(staged_in_place({{plane(0), plane(48)}, {0, 0, 8, 6}}, input_), block_.data());
}

TEST_F(InPlace, LeavesEverythingElseToStaging) {
  ImageView padded = plane(48);
  padded.stride_bytes = 10;
  ImageView smaller = plane(48);
  smaller.height = 5;
  EXPECT_EQ(staged_in_place({{plane(0), plane(49)}, {}}, input_), nullptr);
  EXPECT_EQ(staged_in_place({{plane(48), plane(0)}, {}}, input_), nullptr);
  EXPECT_EQ(staged_in_place({{plane(0), padded}, {}}, input_), nullptr);
  EXPECT_EQ(staged_in_place({{plane(0), smaller}, {}}, input_), nullptr);
  EXPECT_EQ(staged_in_place({{plane(0), plane(48)}, {1, 0, 7, 6}}, input_), nullptr);
}

TEST_F(InPlace, StagingGivesTheSameBytes) {
  const ImageStack stack{{plane(0), plane(48)}, {}};
  std::vector<std::uint8_t> row(input_.row_bytes);
  Resampler resampler;
  ASSERT_TRUE(stage_stack(stack, input_, resampler, row).has_value());
  EXPECT_TRUE(std::equal(row.begin(), row.end(), staged_in_place(stack, input_)));
}

}  // namespace
}  // namespace takt
