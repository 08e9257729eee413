// SPDX-License-Identifier: Apache-2.0
// Images preprocessed on the device beside what the CPU stages and normalises.
#include "backend/cuda/kernels/preprocess.h"

#include "backend/cuda/captured_graph.h"
#include "backend/cuda/device_tests/gpu_fixture.h"
#include "backend/cuda/memory.h"
#include "backend/cuda/stream.h"
#include "core/half.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace takt::cuda {
namespace {

constexpr std::size_t kMiB = std::size_t{1} << 20U;

struct Target {
  ImageInput input;
  View view;
};

struct Layout {
  bool channels_last = false;       // of the model's shape
  std::int64_t pixel_elements = 0;  // 0: plane after plane
  std::int64_t offset = 0;
};

Target target_of(ImagePreprocess preprocess, DataType type, std::int64_t batch, const Shape& chw,
                 const Layout& layout) {
  const std::int64_t pixels = chw[1] * chw[2];
  const std::int64_t pixel = layout.pixel_elements;
  std::vector<std::int64_t> strides{chw[0] * pixels, pixels, chw[2], 1};
  if (pixel > 0) strides = {pixels * pixel, 1, chw[2] * pixel, pixel};
  Shape shape{batch, chw[0], chw[1], chw[2]};
  if (layout.channels_last) {
    std::ranges::rotate(shape.begin() + 1, shape.begin() + 2, shape.end());
    std::ranges::rotate(strides.begin() + 1, strides.begin() + 2, strides.end());
  }
  preprocess.channels_last = layout.channels_last;
  const TensorSpec spec{"images", type, {shape.begin() + 1, shape.end()}};
  ImageInput input = resolve_image_input(preprocess, spec).value();
  return {std::move(input), {0, layout.offset, type, std::move(shape), std::move(strides)}};
}

// Blocks of 2 x 2 pixels of four channels each, [N,C,H/2,2,W].
Target in_blocks(Target target) {
  const Shape chw(target.view.shape.begin() + 1, target.view.shape.end());
  target.view.shape = {target.view.shape[0], chw[0], chw[1] / 2, 2, chw[2]};
  target.view.strides = {4 * chw[1] * chw[2], 1, 8 * chw[2], 4, 8};
  return target;
}

ImagePreprocess preprocess_of(PixelFormat color, Fit fit) {
  ImagePreprocess preprocess;
  preprocess.color = color;
  preprocess.fit = fit;
  return preprocess;
}

ImagePreprocess normalising(PixelFormat color, Fit fit, int channels) {
  ImagePreprocess preprocess = preprocess_of(color, fit);
  for (int c = 0; c < channels; ++c) {
    preprocess.mean.push_back(0.4F + 0.03F * static_cast<float>(c));
    preprocess.stddev.push_back(0.3F - 0.02F * static_cast<float>(c));
  }
  return preprocess;
}

double number(DataType type, const std::byte* at) {
  const auto as = [at]<typename Number>(Number value) {
    std::memcpy(&value, at, sizeof(value));
    return value;
  };
  switch (type) {
    case DataType::fp16:
      return static_cast<double>(from_fp16(as(std::uint16_t{})));
    case DataType::bf16:
      return static_cast<double>(from_bf16(as(std::uint16_t{})));
    case DataType::fp32:
      return static_cast<double>(as(0.0F));
    default:
      return as(std::uint8_t{});
  }
}

// Half of the last place of a number of about this size.
double rounding(DataType type, double size) {
  const double last = type == DataType::fp16 ? 0x1p-11 : type == DataType::bf16 ? 0x1p-8 : 0;
  return last * std::abs(size);
}

struct Expected {
  double value = 0;
  double tolerance = 0;
};

Expected normalised(std::uint8_t staged, std::size_t channel, const ImagePreprocess& preprocess,
                    DataType type) {
  const double mean = preprocess.mean.empty() ? 0 : static_cast<double>(preprocess.mean[channel]);
  const double stddev =
      preprocess.stddev.empty() ? 1 : static_cast<double>(preprocess.stddev[channel]);
  const double scaled = staged * static_cast<double>(preprocess.scale) / stddev;
  const double value = scaled - mean / stddev;
  const double terms = std::abs(scaled) + std::abs(mean / stddev) + std::abs(value);
  return {value, type == DataType::uint8 ? 0 : 0x1p-24 * terms + rounding(type, value)};
}

// Images in pinned memory, one behind the other at odd places, full of noise.
class Slot {
 public:
  explicit Slot(PinnedMemory memory) : memory_(std::move(memory)) {}

  ImageView add(int width, int height, PixelFormat format, int gap) {
    const int stride = width * channel_count(format) + gap;
    const auto bytes = static_cast<std::size_t>(stride) * static_cast<std::size_t>(height);
    if (used_ + bytes > memory_.bytes().size()) return {};
    auto* const pixels = reinterpret_cast<std::uint8_t*>(memory_.bytes().data()) + used_;
    std::generate_n(pixels, bytes, [this] { return static_cast<std::uint8_t>(random_() >> 8U); });
    used_ += bytes;
    return {pixels, width, height, stride, format};
  }
  void align() { used_ = (used_ + 255) / 256 * 256; }
  void clear() { used_ = 0; }

  [[nodiscard]] std::uint64_t address(const ImageView& image) const {
    const auto* const begin = reinterpret_cast<const std::uint8_t*>(memory_.bytes().data());
    return memory_.span().address + static_cast<std::uint64_t>(image.pixels - begin);
  }
  [[nodiscard]] std::uint32_t draw(std::uint32_t end) {
    return static_cast<std::uint32_t>(random_() >> 4U) % end;
  }

 private:
  PinnedMemory memory_;
  std::size_t used_ = 0;
  std::minstd_rand random_{7};
};

constexpr std::size_t kGuardBytes = 256;  // behind the destination

class GpuPreprocess : public GpuTest {
 protected:
  void SetUp() override {
    GpuTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    Result<Stream> stream = Stream::create(context_);
    TAKT_ASSERT_OK(stream);
    stream_.emplace(*std::move(stream));
    Result<PinnedMemory> memory = PinnedMemory::allocate(context_, 64 * kMiB);
    TAKT_ASSERT_OK(memory);
    slot_.emplace(*std::move(memory));
  }

  void open(Target target) {
    target_ = std::move(target);
    const Result<KernelSource> source = preprocess_kernel(target_.input, target_.view, "images");
    TAKT_ASSERT_OK(source);
    shape_ = {{source->blocks, 1, 1}, {source->threads_x, source->threads_y, 1}, 0};
    Result<Kernel> kernel = build("#include <takt_kernel.h>\n" + source->text, source->name);
    TAKT_ASSERT_OK(kernel);
    kernel_.emplace(*std::move(kernel));
    const std::int64_t sample = target_.view.strides.front();
    const auto elements = static_cast<std::size_t>(target_.view.offset + sample * batch());
    destination_bytes_ = elements * element_bytes(target_.view.type);
    table_.assign(static_cast<std::size_t>(batch() * target_.input.image_count), {});
    Result<DeviceMemory> destination =
        DeviceMemory::allocate(context_, destination_bytes_ + kGuardBytes);
    TAKT_ASSERT_OK(destination);
    destination_.emplace(*std::move(destination));
    Result<DeviceMemory> table =
        DeviceMemory::allocate(context_, std::as_bytes(std::span(table_)).size());
    TAKT_ASSERT_OK(table);
    device_table_.emplace(*std::move(table));
  }

  [[nodiscard]] std::int64_t batch() const { return target_.view.shape.front(); }

  // A stack for each row; none leaves the row without an image.
  void describe_rows(const std::vector<std::optional<ImageStack>>& rows) {
    const auto count = static_cast<std::size_t>(target_.input.image_count);
    for (std::size_t n = 0; n < rows.size(); ++n) {
      const std::span<ImageDescriptor> row = std::span(table_).subspan(n * count, count);
      std::ranges::fill(row, ImageDescriptor{});
      if (!rows[n]) continue;
      std::vector<std::uint64_t> addresses;
      for (const ImageView& image : rows[n]->images) addresses.push_back(slot_->address(image));
      TAKT_ASSERT_OK(describe(*rows[n], target_.input, addresses, row));
    }
  }

  [[nodiscard]] Result<void> launch() const {
    const std::uint64_t first =
        destination_->span().address +
        static_cast<std::uint64_t>(target_.view.offset) * element_bytes(target_.view.type);
    return kernel_->launch(*stream_, shape_, device_table_->span().address, first);
  }

  void run() {
    got_.assign(destination_bytes_ + kGuardBytes, std::byte{0x5a});
    TAKT_ASSERT_OK(copy_to_device(destination_->span(), got_, *stream_));
    TAKT_ASSERT_OK(
        copy_to_device(device_table_->span(), std::as_bytes(std::span(table_)), *stream_));
    TAKT_ASSERT_OK(launch());
    fetch();
  }

  void fetch() {
    got_.assign(destination_bytes_ + kGuardBytes, std::byte{0});
    TAKT_ASSERT_OK(copy_to_host(got_, destination_->span(), *stream_));
    TAKT_ASSERT_OK(stream_->synchronize());
  }

  void compare(const std::vector<std::optional<ImageStack>>& rows, const std::string& what) {
    const std::size_t offset =
        static_cast<std::size_t>(target_.view.offset) * element_bytes(target_.view.type);
    const auto untouched = [](std::byte byte) { return byte == std::byte{0x5a}; };
    EXPECT_TRUE(
        std::all_of(got_.begin(), got_.begin() + static_cast<std::ptrdiff_t>(offset), untouched))
        << what << ": wrote before its begin";
    EXPECT_TRUE(std::all_of(got_.end() - kGuardBytes, got_.end(), untouched))
        << what << ": wrote behind its end";
    Resampler resampler;
    for (std::size_t n = 0; n < rows.size(); ++n) {
      std::vector<std::uint8_t> staged(target_.input.row_bytes);
      if (rows[n]) TAKT_ASSERT_OK(stage_stack(*rows[n], target_.input, resampler, staged));
      compare_row(n, rows[n] ? &staged : nullptr, what + ", row " + std::to_string(n));
      if (HasFatalFailure()) return;
    }
  }

  Target target_;
  std::optional<Stream> stream_;
  std::optional<Slot> slot_;
  std::optional<Kernel> kernel_;
  LaunchShape shape_;
  std::vector<ImageDescriptor> table_;
  std::optional<DeviceMemory> device_table_;
  std::optional<DeviceMemory> destination_;
  std::size_t destination_bytes_ = 0;
  std::vector<std::byte> got_;

 private:
  void compare_row(std::size_t row, const std::vector<std::uint8_t>* staged,
                   const std::string& what) {
    const View& view = target_.view;
    const InputGeometry& geometry = target_.input.staged;
    const bool last = target_.input.preprocess.channels_last;
    const bool pairs = view.strides.size() == 5;
    const std::int64_t line = view.strides[last ? 1 : 2];
    const std::int64_t pixel = view.strides[pairs ? 4 : last ? 2 : 3];
    const std::int64_t channel = view.strides[last ? 3 : 1];
    const std::int64_t elements = pairs          ? view.strides[3]
                                  : channel == 1 ? pixel
                                                 : geometry.channels;
    for (int y = 0; y < geometry.height; ++y) {
      for (int x = 0; x < geometry.width; ++x) {
        for (int c = 0; c < elements; ++c) {
          const std::int64_t line_begin = pairs ? y / 2 * line + y % 2 * view.strides[3] : y * line;
          const std::int64_t element = view.offset +
                                       static_cast<std::int64_t>(row) * view.strides[0] +
                                       line_begin + x * pixel + c * channel;
          const std::size_t at = static_cast<std::size_t>(element) * element_bytes(view.type);
          const int place = geometry.channels_last
                                ? (y * geometry.width + x) * geometry.channels + c
                                : (c * geometry.height + y) * geometry.width + x;
          Expected expected;
          if (staged != nullptr && c < geometry.channels) {
            expected = normalised((*staged)[static_cast<std::size_t>(place)],
                                  static_cast<std::size_t>(c), target_.input.preprocess, view.type);
          }
          ASSERT_NEAR(number(view.type, got_.data() + at), expected.value, expected.tolerance)
              << what << ", pixel " << x << ", " << y << ", channel " << c;
        }
      }
    }
  }
};

std::vector<Target> targets() {
  using enum PixelFormat;
  using enum Fit;
  using enum DataType;
  ImagePreprocess whole = preprocess_of(bgr8, letterbox);
  whole.scale = 1;
  return {
      target_of(preprocess_of(rgb8, letterbox), fp16, 2, {3, 24, 160}, {false, 8, 0}),
      in_blocks(target_of(normalising(rgb8, letterbox, 3), fp16, 2, {3, 24, 160}, {})),
      in_blocks(target_of(preprocess_of(gray8, stretch), fp16, 2, {2, 26, 70}, {})),
      target_of(normalising(rgb8, stretch, 3), fp32, 2, {3, 37, 160}, {true, 4, 4}),
      target_of(whole, uint8, 2, {3, 19, 33}, {true, 3, 5}),
      target_of(normalising(gray8, letterbox, 2), bf16, 3, {2, 21, 130}, {false, 8, 8}),
      target_of(preprocess_of(gray8, stretch), fp32, 2, {1, 40, 64}, {false, 0, 1}),
      target_of(normalising(gray8, letterbox, 8), fp16, 2, {8, 17, 64}, {false, 8, 0}),
      target_of(normalising(rgb8, letterbox, 9), fp16, 2, {9, 17, 70}, {false, 16, 0}),
      target_of(normalising(gray8, stretch, 3), fp16, 2, {3, 17, 96}, {false, 0, 0}),
      target_of(preprocess_of(bgr8, stretch), fp16, 2, {6, 16, 128}, {false, 8, 0}),
  };
}

struct Size {
  int width;
  int height;
};

// Of the model's size, shrunk so that a tile's rows lie together, are pairs, or don't fit into shared
// memory; enlarged; a single pixel; anything.
std::vector<Size> sizes(const InputGeometry& model, Slot& slot) {
  return {{model.width, model.height},
          {model.width * 2, model.height * 2},
          {model.width * 3, model.height * 3},
          {model.width * 8 + 3, model.height * 9},
          {model.width / 2 + 1, model.height / 3 + 1},
          {1, 1},
          {static_cast<int>(1 + slot.draw(400)), static_cast<int>(1 + slot.draw(300))}};
}

std::vector<Region> regions(const InputGeometry& model, const Size& size) {
  const auto width = static_cast<float>(size.width);
  const auto height = static_cast<float>(size.height);
  return {{},
          {0.3F * width, 0.25F * height, 0.41F * width, 0.6F * height},
          {-0.2F * width, 0.5F * height, 1.1F * width, 0.9F * height},
          // Nothing is scaled, only moved.
          {3, -2, static_cast<float>(model.width), static_cast<float>(model.height)}};
}

TEST_F(GpuPreprocess, ImagesOfAnySizeFormatAndRegionAreWhatTheCpuStages) {
  int index = 0;
  for (Target& target : targets()) {
    open(std::move(target));
    if (HasFatalFailure()) return;
    for (const Size& size : sizes(target_.input.staged, *slot_)) {
      for (const Region& region : regions(target_.input.staged, size)) {
        slot_->clear();
        std::vector<std::optional<ImageStack>> rows;
        for (std::int64_t n = 0; n < batch(); ++n) {
          ImageStack stack{{}, region};
          for (int i = 0; i < target_.input.image_count; ++i) {
            const auto format = static_cast<PixelFormat>(slot_->draw(3));
            stack.images.push_back(slot_->add(size.width, size.height, format,
                                              static_cast<int>(slot_->draw(2) * slot_->draw(20))));
          }
          rows.emplace_back(std::move(stack));
        }
        describe_rows(rows);
        run();
        compare(rows, "target " + std::to_string(index) + ", images of " +
                          std::to_string(size.width) + "x" + std::to_string(size.height) +
                          ", region at " + std::to_string(region.x));
        if (HasFatalFailure()) return;
      }
    }
    ++index;
  }
}

TEST_F(GpuPreprocess, ARowWithoutAnImageIsZero) {
  open(target_of(normalising(PixelFormat::rgb8, Fit::letterbox, 3), DataType::fp16, 3, {3, 30, 50},
                 {false, 8, 0}));
  if (HasFatalFailure()) return;
  const ImageStack stack{{slot_->add(70, 60, PixelFormat::rgb8, 0)}, {}};
  const std::vector<std::optional<ImageStack>> rows{std::nullopt, stack, std::nullopt};
  describe_rows(rows);
  run();
  compare(rows, "two blank rows");
}

// The table is copied inside of the captured work, so that each launch sees what the host wrote last.
TEST_F(GpuPreprocess, ACapturedLaunchTakesOtherImagesEachTime) {
  open(target_of(preprocess_of(PixelFormat::gray8, Fit::letterbox), DataType::fp16, 2, {2, 48, 64},
                 {false, 8, 0}));
  if (HasFatalFailure()) return;
  const std::span<const std::byte> filled = std::as_bytes(std::span(table_));
  const Result<PinnedMemory> pinned = PinnedMemory::allocate(context_, filled.size());
  TAKT_ASSERT_OK(pinned);
  const Result<CapturedGraph> graph = CapturedGraph::capture(*stream_, [&] {
    Result<void> copied = copy_to_device(device_table_->span(), pinned->bytes(), *stream_);
    return copied ? launch() : copied;
  });
  TAKT_ASSERT_OK(graph);
  got_.assign(destination_bytes_ + kGuardBytes, std::byte{0x5a});
  TAKT_ASSERT_OK(copy_to_device(destination_->span(), got_, *stream_));
  TAKT_ASSERT_OK(stream_->synchronize());
  for (const int width : {64, 200, 31}) {
    std::vector<std::optional<ImageStack>> rows(2);
    for (std::optional<ImageStack>& row : rows) {
      row = ImageStack{{slot_->add(width, 48, PixelFormat::gray8, 0),
                        slot_->add(width, 48, PixelFormat::gray8, 3)},
                       {}};
    }
    describe_rows(rows);
    std::ranges::copy(filled, pinned->bytes().begin());
    TAKT_ASSERT_OK(graph->launch(*stream_));
    fetch();
    compare(rows, "images " + std::to_string(width) + " wide");
    if (HasFatalFailure()) return;
  }
}

struct HotCase {
  std::string what;
  Target target;
  Size size;
};

TEST_F(GpuPreprocess, TheUsualInputsAreReadFromPinnedMemory) {
  const auto input = [](PixelFormat color, std::int64_t channels) {
    return target_of(preprocess_of(color, Fit::letterbox), DataType::fp16, 1, {channels, 640, 640},
                     {false, 8, 0});
  };
  const std::vector<HotCase> cases{
      {"640x640 RGB as it is", input(PixelFormat::rgb8, 3), {640, 640}},
      {"two gray planes of 640x640 as they are", input(PixelFormat::gray8, 2), {640, 640}},
      {"1920x1080 RGB into 640x640", input(PixelFormat::rgb8, 3), {1920, 1080}}};
  const Result<Event> begin = Event::create(context_, EventUse::timing);
  const Result<Event> end = Event::create(context_, EventUse::timing);
  TAKT_ASSERT_OK(begin);
  TAKT_ASSERT_OK(end);
  for (const HotCase& one : cases) {
    open(one.target);
    if (HasFatalFailure()) return;
    slot_->clear();
    ImageStack stack;
    for (int i = 0; i < target_.input.image_count; ++i) {
      slot_->align();
      stack.images.push_back(
          slot_->add(one.size.width, one.size.height, target_.input.preprocess.color, 0));
    }
    const std::vector<std::optional<ImageStack>> rows{stack};
    describe_rows(rows);
    run();
    compare(rows, one.what);
    constexpr int kLaunches = 50;
    TAKT_ASSERT_OK(begin->record(*stream_));
    for (int i = 0; i < kLaunches; ++i) TAKT_ASSERT_OK(launch());
    TAKT_ASSERT_OK(end->record(*stream_));
    TAKT_ASSERT_OK(end->synchronize());
    const Result<Duration> took = Event::elapsed(*begin, *end);
    TAKT_ASSERT_OK(took);
    const double us = std::chrono::duration<double, std::micro>(*took).count() / kLaunches;
    print_measurement(one.what + ": " + std::to_string(us) + " us a launch");
  }
}

}  // namespace
}  // namespace takt::cuda
