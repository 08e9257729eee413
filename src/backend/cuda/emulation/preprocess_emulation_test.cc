// SPDX-License-Identifier: Apache-2.0
// Images preprocessed by the kernel on the CPU beside what the CPU's own way stages, byte for byte. Images begin at
// odd addresses and end at inaccessible pages.
#include "backend/cuda/emulation/guarded_memory.h"
#include "backend/cuda/emulation/kernel_library.h"
#include "backend/cuda/kernels/preprocess.h"
#include "core/half.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace takt::cuda::emulation {
namespace {

// Values are the staged bytes themselves, which every type has (BF16 keeps 8 bits of a number).
struct Target {
  PixelFormat color = PixelFormat::rgb8;
  Fit fit = Fit::letterbox;
  DataType type = DataType::fp16;
  Shape chw;
  std::int64_t pixel_elements = 0;  // 0: plane after plane
  bool channels_last = false;       // of the model's shape
};

std::vector<Target> targets() {
  using enum PixelFormat;
  using enum Fit;
  using enum DataType;
  return {{rgb8, letterbox, fp16, {3, 24, 160}, 8, false},
          {bgr8, letterbox, uint8, {3, 19, 33}, 5, true},
          {gray8, stretch, fp32, {1, 40, 64}, 0, false},
          {gray8, letterbox, fp16, {8, 17, 64}, 8, false},
          {rgb8, stretch, bf16, {9, 17, 70}, 16, false}};
}

ImageInput input_of(const Target& target) {
  Shape shape = target.chw;
  if (target.channels_last) std::ranges::rotate(shape, shape.begin() + 1);
  ImagePreprocess preprocess;
  preprocess.color = target.color;
  preprocess.fit = target.fit;
  preprocess.scale = 1;
  preprocess.channels_last = target.channels_last;
  return resolve_image_input(preprocess, {"images", target.type, shape}).value();
}

constexpr std::int64_t kBatch = 2;

// Strides of [N, C, H, W].
std::vector<std::int64_t> strides_of(const Target& target) {
  const std::int64_t width = target.chw[2];
  const std::int64_t pixels = target.chw[1] * width;
  const std::int64_t pixel = target.pixel_elements;
  if (pixel == 0) return {target.chw[0] * pixels, pixels, width, 1};
  return {pixels * pixel, 1, width * pixel, pixel};
}

View view_of(const Target& target) {
  Shape shape{kBatch, target.chw[0], target.chw[1], target.chw[2]};
  std::vector<std::int64_t> strides = strides_of(target);
  if (target.channels_last) {
    std::ranges::rotate(shape.begin() + 1, shape.begin() + 2, shape.end());
    std::ranges::rotate(strides.begin() + 1, strides.begin() + 2, strides.end());
  }
  return {0, 0, target.type, std::move(shape), std::move(strides)};
}

// The element's number in the destination, from the first.
float number_at(const std::byte* at, DataType type, std::int64_t element) {
  std::uint16_t half = 0;
  float number = 0;
  const std::byte* const begin = at + static_cast<std::size_t>(element) * element_bytes(type);
  switch (type) {
    case DataType::uint8:
      return static_cast<float>(std::to_integer<int>(*begin));
    case DataType::fp32:
      std::memcpy(&number, begin, sizeof(number));
      return number;
    default:
      std::memcpy(&half, begin, sizeof(half));
      return type == DataType::fp16 ? from_fp16(half) : from_bf16(half);
  }
}

struct Images {
  std::vector<GuardedMemory> memory;
  ImageStack stack;
};

Images images_of(const ImageInput& input, int width, int height, const Region& region,
                 std::mt19937& random) {
  Images images{{}, {{}, region}};
  for (int i = 0; i < input.image_count; ++i) {
    const auto format = static_cast<PixelFormat>(random() % 3);
    const int stride = width * channel_count(format) + static_cast<int>(random() % 2 * 7);
    const auto bytes = static_cast<std::size_t>(stride * height);
    const std::size_t room = (bytes + 15) / 16 * 16;
    images.memory.push_back(GuardedMemory::allocate(room, Guard::behind).value());
    const std::span<std::byte> all = images.memory.back().bytes();
    std::ranges::generate(all, [&] { return static_cast<std::byte>(random() >> 8U); });
    images.memory.back().make_read_only();
    const auto* const pixels = reinterpret_cast<const std::uint8_t*>(all.data() + (room - bytes));
    images.stack.images.push_back({pixels, width, height, stride, format});
  }
  return images;
}

// The first row of the batch has the images, the others none.
void expect_staged(const Target& target, const ImageInput& input, const ImageStack& stack,
                   const std::byte* got) {
  Resampler resampler;
  std::vector<std::uint8_t> staged(input.row_bytes);
  ASSERT_TRUE(stage_stack(stack, input, resampler, staged));
  const std::vector<std::int64_t> strides = strides_of(target);
  const InputGeometry& model = input.staged;
  const std::int64_t channels = std::max<std::int64_t>(model.channels, target.pixel_elements);
  for (std::int64_t i = 0; i < kBatch * channels * model.height * model.width; ++i) {
    const std::int64_t x = i % model.width;
    const std::int64_t y = i / model.width % model.height;
    const std::int64_t c = i / model.width / model.height % channels;
    const std::int64_t n = i / model.width / model.height / channels;
    const std::int64_t place = model.channels_last ? (y * model.width + x) * model.channels + c
                                                   : (c * model.height + y) * model.width + x;
    const bool has_value = n == 0 && c < model.channels;
    const float expected =
        has_value ? static_cast<float>(staged[static_cast<std::size_t>(place)]) : 0;
    const std::int64_t element = n * strides[0] + c * strides[1] + y * strides[2] + x * strides[3];
    ASSERT_EQ(number_at(got, target.type, element), expected)
        << "row " << n << ", pixel " << x << ", " << y << ", channel " << c;
  }
}

void expect_as_staged(const Target& target, const ImageInput& input, const Images& images,
                      const KernelLibrary& library, const KernelSource& source) {
  Block block;
  const auto count = static_cast<std::size_t>(input.image_count);
  for (const Guard guard : {Guard::behind, Guard::before}) {
    std::vector<ImageDescriptor> table(count * kBatch);
    std::vector<std::uint64_t> addresses;
    for (const ImageView& image : images.stack.images) {
      addresses.push_back(reinterpret_cast<std::uint64_t>(image.pixels));
    }
    ASSERT_TRUE(describe(images.stack, input, addresses, std::span(table).first(count)));
    const auto bytes =
        static_cast<std::size_t>(kBatch * strides_of(target)[0]) * element_bytes(target.type);
    const GuardedMemory destination = GuardedMemory::allocate(bytes, guard).value();
    const std::vector<void*> arguments{table.data(), destination.bytes().data()};
    const Order order = guard == Guard::behind ? Order::forwards : Order::backwards;
    const auto where = [&](std::uintptr_t at) {
      std::string text = destination.describe(at, "the destination");
      for (const GuardedMemory& memory : images.memory) text += memory.describe(at, "an image");
      return text;
    };
    const auto done = library.run(
        block, source.name, arguments,
        {source.blocks, source.threads_x, source.threads_y, source.cluster, {}, order, where});
    ASSERT_TRUE(done) << done.error().message;
    EXPECT_TRUE(destination.is_untouched_beside());
    expect_staged(target, input, images.stack, destination.bytes().data());
    if (testing::Test::HasFatalFailure()) return;
  }
}

TEST(EmulatedPreprocess, ImagesOfAnySizeFormatAndRegionAreWhatTheCpuStages) {
  if (!has_compiler()) GTEST_SKIP() << "no compiler " TAKT_HOST_COMPILER;
  std::string text = "#include <takt_kernel.h>\n";
  std::vector<KernelSource> sources;
  for (const Target& target : targets()) {
    const auto source = preprocess_kernel(input_of(target), view_of(target),
                                          "images" + std::to_string(sources.size()));
    ASSERT_TRUE(source) << source.error().message;
    text += source->text;
    sources.push_back(*source);
  }
  const auto library = KernelLibrary::compile(text, 800);
  ASSERT_TRUE(library) << library.error().message;
  std::mt19937 random(1);
  for (std::size_t i = 0; i < sources.size(); ++i) {
    const Target target = targets()[i];
    const ImageInput input = input_of(target);
    const int width = input.staged.width;
    const int height = input.staged.height;
    // Of the model's size; shrunk so that rows lie together, are pairs, or don't fit into shared memory; enlarged.
    for (const auto& [w, h] : std::vector<std::pair<int, int>>{{width, height},
                                                               {width * 2, height * 2},
                                                               {width * 3, height * 3},
                                                               {width * 8 + 3, height * 9},
                                                               {width / 2 + 1, height / 3 + 1},
                                                               {1, 1}}) {
      const Region part{-0.2F * static_cast<float>(w), 0.5F * static_cast<float>(h),
                        1.1F * static_cast<float>(w), 0.9F * static_cast<float>(h)};
      for (const Region& region : {Region{}, part}) {
        const Images images = images_of(input, w, h, region, random);
        expect_as_staged(target, input, images, *library, sources[i]);
        ASSERT_FALSE(HasFatalFailure()) << "target " << i << ", images of " << w << "x" << h;
      }
    }
  }
}

}  // namespace
}  // namespace takt::cuda::emulation
