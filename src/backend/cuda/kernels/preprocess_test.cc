// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/kernels/preprocess.h"

#include "backend/cuda/kernels/compiler_fixture.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <limits>
#include <string>
#include <vector>

namespace takt::cuda {
namespace {

using testing::HasSubstr;

ImageInput image_input(PixelFormat color, Shape shape, DataType type = DataType::fp32) {
  ImagePreprocess preprocess;
  preprocess.color = color;
  if (type == DataType::uint8) preprocess.scale = 1;
  return resolve_image_input(preprocess, {"images", type, std::move(shape)}).value();
}

// A batch of two for [C, H, W], in NHWC with `pixel` elements for each pixel.
View nhwc(const ImageInput& input, DataType type, std::int64_t pixel) {
  const std::int64_t height = input.staged.height;
  const std::int64_t width = input.staged.width;
  return {0,
          0,
          type,
          {2, input.staged.channels, height, width},
          {height * width * pixel, 1, width * pixel, pixel}};
}

View planes(const ImageInput& input, DataType type) {
  const std::int64_t pixels = std::int64_t{input.staged.height} * input.staged.width;
  View view = nhwc(input, type, 1);
  view.strides = {input.staged.channels * pixels, pixels, input.staged.width, 1};
  return view;
}

const std::array<std::uint8_t, 2048> kPixels{};

ImageView image_of(int width, int height, PixelFormat format = PixelFormat::gray8) {
  return {kPixels.data(), width, height, width * channel_count(format), format};
}

TEST(DescribeImage, SaysWhereThePixelsAreAndWhereTheyGo) {
  const ImageInput input = image_input(PixelFormat::rgb8, {3, 32, 32});
  ImageView image = image_of(16, 8, PixelFormat::bgr8);
  image.stride_bytes = 50;
  std::array<ImageDescriptor, 1> row;
  ASSERT_TRUE(describe({{image}, {}}, input, std::array{std::uint64_t{0x1003}}, row));
  EXPECT_EQ(row[0].address, 0x1003U);
  EXPECT_EQ(row[0].stride_bytes, 50);
  EXPECT_EQ(row[0].width, 16);
  EXPECT_EQ(row[0].height, 8);
  EXPECT_EQ(row[0].format, static_cast<int>(PixelFormat::bgr8));
  EXPECT_EQ(row[0].scale_x, 2);
  EXPECT_EQ(row[0].scale_y, 2);
  EXPECT_EQ(row[0].offset_x, 0);
  EXPECT_EQ(row[0].offset_y, 8);
  EXPECT_EQ(row[0].content_x, 0);
  EXPECT_EQ(row[0].content_y, 8);
  EXPECT_EQ(row[0].content_width, 32);
  EXPECT_EQ(row[0].content_height, 16);
}

TEST(DescribeImage, ImagesOfAStackHaveOnePlacement) {
  const ImageInput input = image_input(PixelFormat::gray8, {2, 32, 32});
  std::array<ImageDescriptor, 2> row;
  const ImageStack stack{{image_of(16, 16), image_of(16, 16, PixelFormat::rgb8)}, {4, 0, 8, 8}};
  ASSERT_TRUE(describe(stack, input, std::array<std::uint64_t, 2>{16, 4096}, row));
  EXPECT_EQ(row[1].address, 4096U);
  EXPECT_EQ(row[1].format, static_cast<int>(PixelFormat::rgb8));
  for (const ImageDescriptor& image : row) {
    EXPECT_EQ(image.scale_x, 4);
    EXPECT_EQ(image.offset_x, -16);
  }
}

TEST(DescribeImage, WhatCannotBePlacedIsRefusedAndLeavesTheRow) {
  const ImageInput input = image_input(PixelFormat::gray8, {1, 32, 32});
  const ImageView image = image_of(16, 16);
  std::array<ImageDescriptor, 1> row;
  const auto refused = [&](const ImageStack& stack, const std::vector<std::uint64_t>& addresses) {
    const Result<void> described = describe(stack, input, addresses, row);
    EXPECT_EQ(row[0].width, 0);
    if (described) return std::string("nothing");
    EXPECT_EQ(described.error().kind, ErrorKind::invalid_input);
    return described.error().message;
  };
  EXPECT_THAT(refused({{image, image}, {}}, {16, 16}), HasSubstr("got 2 images"));
  EXPECT_THAT(refused({{ImageView{}}, {}}, {16}), HasSubstr("no pixels"));
  EXPECT_THAT(refused({{image}, {}}, {}), HasSubstr("0 addresses"));
  EXPECT_THAT(refused({{image}, {}}, {0}), HasSubstr("device address 0"));
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  EXPECT_THAT(refused({{image}, {kInfinity, 0, 4, 4}}, {16}), HasSubstr("finite"));
  EXPECT_THAT(refused({{image}, {0, 0, 1e-44F, 1e-44F}}, {16}), HasSubstr("too small"));
  EXPECT_THAT(refused({{image}, {3e38F, 0, 4, 4}}, {16}), HasSubstr("too far away"));
}

std::string constant_of(const KernelSource& source, const std::string& name) {
  const std::size_t begin = source.text.find(name + " = ") + name.size() + 3;
  return source.text.substr(begin, source.text.find(';', begin) - begin);
}

TEST(PreprocessKernel, ABlockMakesATileOfAllChannels) {
  const ImageInput input = image_input(PixelFormat::rgb8, {3, 640, 640});
  const Result<KernelSource> kernel =
      preprocess_kernel(input, nhwc(input, DataType::fp16, 8), "images");
  ASSERT_TRUE(kernel) << kernel.error().message;
  EXPECT_EQ(kernel->name, "takt_images");
  EXPECT_EQ(kernel->blocks, 2U * 5 * 80);
  EXPECT_EQ(kernel->threads_x, 32U);
  EXPECT_EQ(kernel->threads_y, 8U);
}

TEST(PreprocessKernel, TilesFollowTheWidth) {
  for (const auto& [width, tile, tiles] :
       {std::array{20, 32, 1}, {96, 96, 1}, {129, 96, 2}, {224, 128, 2}, {640, 128, 5}}) {
    const ImageInput input = image_input(PixelFormat::gray8, {1, 8, width});
    const Result<KernelSource> kernel =
        preprocess_kernel(input, planes(input, DataType::fp32), "k");
    ASSERT_TRUE(kernel) << kernel.error().message;
    EXPECT_EQ(constant_of(*kernel, "kTileWidth"), std::to_string(tile)) << width;
    EXPECT_EQ(constant_of(*kernel, "kTilesX"), std::to_string(tiles)) << width;
    EXPECT_EQ(kernel->blocks, 2U * static_cast<unsigned>(tiles));
  }
}

TEST(PreprocessKernel, APixelsChannelsAreStoredTogetherWhereTheyAreAligned) {
  const ImageInput rgb = image_input(PixelFormat::rgb8, {3, 8, 8});
  const auto width = [](const ImageInput& input, const View& view) {
    const Result<KernelSource> kernel = preprocess_kernel(input, view, "k");
    return kernel ? constant_of(*kernel, "kVector") : kernel.error().message;
  };
  EXPECT_EQ(width(rgb, nhwc(rgb, DataType::fp16, 8)), "8");
  EXPECT_EQ(width(rgb, nhwc(rgb, DataType::fp32, 8)), "4");
  EXPECT_EQ(width(rgb, nhwc(rgb, DataType::fp16, 4)), "4");
  EXPECT_EQ(width(rgb, nhwc(rgb, DataType::fp16, 3)), "1");
  EXPECT_EQ(width(rgb, planes(rgb, DataType::fp16)), "1");
  View moved = nhwc(rgb, DataType::fp16, 8);
  moved.offset = 2;
  EXPECT_EQ(width(rgb, moved), "2");
  const ImageInput stack = image_input(PixelFormat::rgb8, {9, 8, 8});
  EXPECT_EQ(width(stack, nhwc(stack, DataType::fp16, 16)), "1")
      << "each image has blocks of its own";
}

TEST(PreprocessKernel, OnlyWhatLiesBetweenPixelsIsPadding) {
  const ImageInput gray = image_input(PixelFormat::gray8, {2, 8, 8});
  const auto elements = [&](const View& view) {
    return constant_of(preprocess_kernel(gray, view, "k").value(), "kElements");
  };
  EXPECT_EQ(elements(nhwc(gray, DataType::fp16, 8)), "8");
  EXPECT_EQ(elements(planes(gray, DataType::fp16)), "2");
  View columns = nhwc(gray, DataType::fp16, 2);
  columns.strides = {128, 1, 2, 16};
  EXPECT_EQ(elements(columns), "2") << "rows lie between the pixels";
}

TEST(PreprocessKernel, WhatDoesNotFitIsRefused) {
  ImageInput input = image_input(PixelFormat::rgb8, {3, 8, 16});
  const auto refused = [&](const View& view) {
    const Result<KernelSource> kernel = preprocess_kernel(input, view, "k");
    return kernel ? "nothing" : kernel.error().message;
  };
  const View fitting = nhwc(input, DataType::fp16, 8);
  View view = fitting;
  view.shape = {2, 8, 16, 3};
  EXPECT_THAT(refused(view), HasSubstr("can't take images for [3,8,16]"));
  view = fitting;
  view.strides.pop_back();
  EXPECT_THAT(refused(view), HasSubstr("with 3 strides"));
  view = fitting;
  view.strides[2] = -8;
  EXPECT_THAT(refused(view), HasSubstr("stride outside"));
  view = fitting;
  view.type = DataType::int32;
  EXPECT_THAT(refused(view), HasSubstr("can't feed INT32"));
  view = fitting;
  view.shape[0] = std::int64_t{1} << 40U;
  EXPECT_THAT(refused(view), HasSubstr("too large for one launch"));
  input.preprocess.stddev = {1, 1, 1e-45F};
  EXPECT_THAT(refused(fitting), HasSubstr("channel 2 is too large for FP32"));
  input.preprocess.stddev = {1};
  EXPECT_THAT(refused(fitting), HasSubstr("one value for each"));
}

class PreprocessCompilesFor : public testing::TestWithParam<ComputeCapability> {};

// One text with a kernel for each type, layout and way to cut the channels.
TEST_P(PreprocessCompilesFor, EveryKindOfInput) {
  TAKT_SKIP_COMPILING_WHERE_SANITIZED();
  const auto nvrtc = project_compiler();
  ASSERT_TRUE(nvrtc) << nvrtc.error().message;
  std::string source = "#include <takt_kernel.h>\n";
  int kernels = 0;
  const auto add = [&](const ImageInput& input, const View& view) {
    const Result<KernelSource> kernel =
        preprocess_kernel(input, view, "k" + std::to_string(kernels++));
    ASSERT_TRUE(kernel) << kernel.error().message;
    source += kernel->text;
  };
  for (const DataType type : {DataType::fp16, DataType::bf16, DataType::fp32, DataType::uint8}) {
    const ImageInput rgb = image_input(PixelFormat::rgb8, {3, 640, 640}, type);
    add(rgb, nhwc(rgb, type, 8));
    add(rgb, planes(rgb, type));
  }
  ImageInput gray = image_input(PixelFormat::gray8, {2, 224, 224});
  gray.preprocess.mean = {0.5F, 0.25F};
  gray.preprocess.stddev = {0.25F, 0.5F};
  add(gray, nhwc(gray, DataType::fp16, 8));
  const ImageInput many = image_input(PixelFormat::bgr8, {12, 30, 30});
  add(many, nhwc(many, DataType::fp16, 16));
  const auto cubin = nvrtc->compile(source, "preprocess.cu", GetParam());
  ASSERT_TRUE(cubin) << cubin.error().message;
}

INSTANTIATE_TEST_SUITE_P(Capabilities, PreprocessCompilesFor,
                         testing::Values(ComputeCapability{7, 5}, ComputeCapability{9, 0}),
                         [](const auto& tested) {
                           return "sm_" + std::to_string(tested.param.major) +
                                  std::to_string(tested.param.minor);
                         });

}  // namespace
}  // namespace takt::cuda
