// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/kernels/preprocess.h"

#include "backend/cuda/kernels/pointwise_expressions.h"
#include "image/placement.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <limits>
#include <ranges>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace takt::cuda {
namespace {

constexpr int kWarp = 32;
constexpr int kTileWidthMax = 4 * kWarp;
constexpr int kTileHeight = 8;        // a warp for each row of pixels
constexpr int kElementsTogether = 8;  // channels that one block computes
constexpr std::int64_t kStrideMax = std::int64_t{1} << 40U;

// ImageDescriptor, from which the kernel's struct is written.
struct Field {
  std::string_view type;
  std::string_view name;
  std::size_t offset;
  std::size_t bytes;
};

#define TAKT_FIELD(type, name)                                                  \
  Field {                                                                       \
    type, #name, offsetof(ImageDescriptor, name), sizeof(ImageDescriptor::name) \
  }

constexpr std::array kFields{
    TAKT_FIELD("unsigned long long", address),
    TAKT_FIELD("int", stride_bytes),
    TAKT_FIELD("int", width),
    TAKT_FIELD("int", height),
    TAKT_FIELD("int", format),
    TAKT_FIELD("float", scale_x),
    TAKT_FIELD("float", scale_y),
    TAKT_FIELD("float", offset_x),
    TAKT_FIELD("float", offset_y),
    TAKT_FIELD("int", content_x),
    TAKT_FIELD("int", content_y),
    TAKT_FIELD("int", content_width),
    TAKT_FIELD("int", content_height),
};
#undef TAKT_FIELD

// Each begins where the one before it ends, so that both compilers place them alike.
consteval bool are_adjacent() {
  std::size_t end = 0;
  for (const Field& field : kFields) {
    if (field.offset != end) return false;
    end += field.bytes;
  }
  return end == 56;
}
static_assert(are_adjacent() && std::is_standard_layout_v<ImageDescriptor>);
static_assert(sizeof(ImageDescriptor) == 64 && alignof(ImageDescriptor) == 64);
static_assert(static_cast<int>(PixelFormat::gray8) == 0 &&
              static_cast<int>(PixelFormat::rgb8) == 1 && static_cast<int>(PixelFormat::bgr8) == 2);

std::unexpected<Error> refuse(const std::string& message) {
  return fail(ErrorKind::invalid_input, message);
}

// The destination's strides by name, and how it is cut into blocks.
struct Layout {
  std::int64_t batch = 1;
  std::int64_t sample_stride = 0;
  std::int64_t channel_stride = 0;
  std::int64_t line_stride = 0;  // of a pair of lines where `odd_line` isn't 0
  std::int64_t odd_line = 0;     // from the first line of a pair to the second
  std::int64_t pixel_stride = 0;
  std::int64_t elements = 0;  // of a pixel: channels and their padding
  int vector = 1;             // elements that are stored together
  int slabs = 1;              // parts of the channels, each a block's: all of them, or an image's
  int slab_images = 1;
  int tile_width = 0;
  int tiles_x = 0;
  int tiles_y = 0;
};

// Lines in pairs, [N,C,H/2,2,W].
Result<Layout> strides_of_pairs(const ImageInput& input, const View& destination) {
  const Shape wanted{destination.shape[0], input.staged.channels, input.staged.height / 2, 2,
                     input.staged.width};
  const std::vector<std::int64_t>& strides = destination.strides;
  const auto is_valid = [](std::int64_t stride) { return stride >= 1 && stride <= kStrideMax; };
  if (input.preprocess.channels_last || input.staged.height % 2 != 0 ||
      destination.shape != wanted || strides.size() != 5 ||
      !std::ranges::all_of(strides, is_valid)) {
    return refuse("an input of " + takt::to_string(destination.shape) +
                  " can't take images in pairs of lines for " + takt::to_string(wanted));
  }
  Layout layout;
  layout.batch = destination.shape.front();
  layout.sample_stride = strides[0];
  layout.channel_stride = strides[1];
  layout.line_stride = strides[2];
  layout.odd_line = strides[3];
  layout.pixel_stride = strides[4];
  return layout;
}

Result<Layout> strides_of(const ImageInput& input, const View& destination) {
  if (destination.shape.size() == 5) return strides_of_pairs(input, destination);
  Shape wanted{input.staged.channels, input.staged.height, input.staged.width};
  if (input.preprocess.channels_last) std::ranges::rotate(wanted, wanted.begin() + 1);
  const std::size_t rank = destination.shape.size();
  const bool fits = (rank == 3 || rank == 4) && destination.strides.size() == rank &&
                    std::ranges::equal(wanted, destination.shape | std::views::drop(rank - 3));
  if (!fits || (rank == 4 && destination.shape.front() < 1)) {
    return refuse("an input of " + takt::to_string(destination.shape) + " with " +
                  std::to_string(destination.strides.size()) + " strides can't take images for " +
                  takt::to_string(wanted) +
                  "; expected that shape behind the batch, with a stride for each dimension");
  }
  const auto is_valid = [](std::int64_t stride) { return stride >= 0 && stride <= kStrideMax; };
  if (!std::ranges::all_of(destination.strides, is_valid)) {
    return refuse("an input that takes images has a stride outside of 0..2^40");
  }
  Layout layout;
  layout.batch = rank == 4 ? destination.shape.front() : 1;
  layout.sample_stride = rank == 4 ? destination.strides.front() : 0;
  const auto* const strides = destination.strides.data() + (rank - 3);
  const bool last = input.preprocess.channels_last;
  layout.channel_stride = input.staged.channels == 1 ? 1 : strides[last ? 2 : 0];
  layout.line_stride = strides[last ? 0 : 1];
  layout.pixel_stride = strides[last ? 1 : 2];
  return layout;
}

// Elements from a pixel's first to the last that is its own.
std::int64_t elements_of_pixel(const ImageInput& input, const Layout& layout) {
  const std::int64_t channels = input.staged.channels;
  const bool apart =
      input.staged.height == 1 || layout.line_stride >= layout.pixel_stride * input.staged.width;
  return layout.channel_stride == 1 && apart ? std::max(channels, layout.pixel_stride) : channels;
}

int widest_store(const Layout& layout, const View& destination) {
  if (layout.slabs > 1 || layout.channel_stride != 1) return 1;
  const std::size_t bytes = element_bytes(destination.type);
  for (int width = 8; width > 1; width /= 2) {
    const auto divides = [width](std::int64_t value) { return value % width == 0; };
    if (static_cast<std::size_t>(width) * bytes <= kAccessBytesMax && divides(layout.elements) &&
        divides(destination.offset) && divides(layout.sample_stride) &&
        divides(layout.line_stride) && divides(layout.odd_line) && divides(layout.pixel_stride)) {
      return width;
    }
  }
  return 1;
}

Result<Layout> plan(const ImageInput& input, const View& destination) {
  Result<Layout> planned = strides_of(input, destination);
  if (!planned) return planned;
  Layout& layout = *planned;
  layout.elements = layout.odd_line > 0 ? layout.odd_line : elements_of_pixel(input, layout);
  const bool together = layout.elements <= kElementsTogether || input.image_count == 1;
  layout.slabs = together ? 1 : input.image_count;
  layout.slab_images = together ? input.image_count : 1;
  layout.vector = widest_store(layout, destination);
  const auto parts = [](int whole, int part) { return (whole + part - 1) / part; };
  layout.tiles_x = parts(input.staged.width, kTileWidthMax);
  layout.tile_width = kWarp * parts(parts(input.staged.width, layout.tiles_x), kWarp);
  layout.tiles_x = parts(input.staged.width, layout.tile_width);
  layout.tiles_y = parts(input.staged.height, kTileHeight);
  return planned;
}

// value * gain + shift for each channel of the input.
struct Normalisation {
  std::vector<float> gain;
  std::vector<float> shift;
};

Result<Normalisation> normalisation_of(const ImageInput& input) {
  const ImagePreprocess& wanted = input.preprocess;
  const auto channels = static_cast<std::size_t>(input.staged.channels);
  if ((!wanted.mean.empty() && wanted.mean.size() != channels) ||
      (!wanted.stddev.empty() && wanted.stddev.size() != channels)) {
    return refuse("mean and stddev need one value for each of the " + std::to_string(channels) +
                  " channels, or none");
  }
  Normalisation made;
  for (std::size_t c = 0; c < channels; ++c) {
    const double divisor = wanted.stddev.empty() ? 1.0 : static_cast<double>(wanted.stddev[c]);
    const double mean = wanted.mean.empty() ? 0.0 : static_cast<double>(wanted.mean[c]);
    made.gain.push_back(static_cast<float>(static_cast<double>(wanted.scale) / divisor));
    made.shift.push_back(static_cast<float>(-mean / divisor));
    if (std::isfinite(made.gain.back()) && std::isfinite(made.shift.back())) continue;
    return refuse("scale / stddev or mean / stddev of channel " + std::to_string(c) +
                  " is too large for FP32; check preprocess in config.pbtxt");
  }
  return made;
}

// A number that all channels have, or a table.
std::string factor_text(std::string_view name, const std::vector<float>& factors) {
  const auto text = [](float value) { return literal(DataType::fp32, static_cast<double>(value)); };
  if (std::ranges::all_of(factors, [&](float value) { return value == factors.front(); })) {
    return fmt::format("__device__ __forceinline__ float {}(int) {{ return {}; }}\n", name,
                       text(factors.front()));
  }
  std::string values;
  for (const float factor : factors) values += (values.empty() ? "" : ", ") + text(factor);
  return fmt::format(
      "static __device__ const float {0}_table[] = {{{1}}};\n"
      "__device__ __forceinline__ float {0}(int channel) {{ return {0}_table[channel]; }}\n",
      name, values);
}

std::string descriptor_text() {
  std::string text = "struct alignas(64) ImageDescriptor {\n";
  for (const Field& field : kFields) text += fmt::format("  {} {};\n", field.type, field.name);
  return text + "};\n";
}

std::string constants_text(const ImageInput& input, const Layout& layout) {
  std::string text;
  const auto define = [&text](std::string_view name, std::int64_t value) {
    const bool wide = name.ends_with("Stride");
    text += fmt::format("constexpr {} {} = {};\n", wide ? "long long" : "int", name, value);
  };
  define("kColor", static_cast<int>(input.preprocess.color));
  define("kPad", input.preprocess.pad_value);
  define("kWidth", input.staged.width);
  define("kHeight", input.staged.height);
  define("kChannels", input.staged.channels);
  define("kElements", layout.elements);
  define("kVector", layout.vector);
  define("kImages", input.image_count);
  define("kImageChannels", channel_count(input.preprocess.color));
  define("kSlabs", layout.slabs);
  define("kSlabImages", layout.slab_images);
  define("kTileWidth", layout.tile_width);
  define("kTileHeight", kTileHeight);
  define("kTilesX", layout.tiles_x);
  define("kTilesY", layout.tiles_y);
  define("kSampleStride", layout.sample_stride);
  define("kLineStride", layout.line_stride);
  define("kOddLine", layout.odd_line);
  define("kPixelStride", layout.pixel_stride);
  define("kChannelStride", layout.channel_stride);
  return text;
}

// A block makes a tile of pixels: the source pixels that it needs go into shared memory, from there
// they are sampled to 8 bits, and these normalised and stored. A warp has a row of the tile.
constexpr std::string_view kStaging = R"cuda(
enum Format { kGray8, kRgb8, kBgr8 };

constexpr int kSlabChannels = kSlabImages * kImageChannels;
constexpr unsigned kThreads = 32 * kTileHeight;
constexpr int kSlotsMax = 2 * kTileHeight;
// 20 KiB for a tile of 128 columns: a multiprocessor holds two blocks at least, and colour can be
// shrunk to a third.
constexpr unsigned kChunksMax = 10 * kTileWidth * kSlotsMax / 16 / kSlabImages;

// A sample lies between the source pixels `first` and, where its weight isn't 0, the next.
struct Tap {
  int first;
  float weight;
};

struct Shared {
  uint4 chunks[kSlabImages][kChunksMax];  // source rows in slots of equal length
  unsigned char values[kSlabChannels][kTileHeight][kTileWidth];
  Tap columns[kTileWidth];
  Tap rows[kTileHeight];
};

struct Tile {
  int sample;
  int slab;
  int x;
  int y;
};

// The pixels of a tile that show the image, and the part of the source that they need.
struct Window {
  int x_begin, x_end, y_begin, y_end;  // in the tile
  int column, columns;                 // of the source
  int row;                             // of the source, in slot 0
  int slots;                           // 0: the tile shows no image
  bool pairs;  // each row of the tile has two slots, because the rows between aren't needed
};

__device__ Tile tile_of_block() {
  const unsigned block = blockIdx.x;
  const unsigned line = block / kTilesX;
  const unsigned slab = line / kTilesY;
  return {static_cast<int>(slab / kSlabs), static_cast<int>(slab % kSlabs),
          static_cast<int>(block % kTilesX) * kTileWidth,
          static_cast<int>(line % kTilesY) * kTileHeight};
}

// In double precision and in this order, as the CPU does.
__device__ Tap tap_at(int pixel, float scale, float offset, int limit) {
  const double scaled = pixel + 0.5 - static_cast<double>(offset);
  const double at = (scale == 1 ? scaled : scaled / static_cast<double>(scale)) - 0.5;
  const double clamped = fmax(0.0, fmin(at, static_cast<double>(limit - 1)));
  const int first = static_cast<int>(clamped);
  return {first, static_cast<float>(clamped - first)};
}

__device__ void make_taps(const ImageDescriptor& image, const Tile& tile, Shared& shared) {
  const int i = static_cast<int>(threadIdx.y * 32 + threadIdx.x);
  const int y = i - kTileWidth;
  if (i < kTileWidth) {
    shared.columns[i] = tap_at(tile.x + i, image.scale_x, image.offset_x, image.width);
  } else if (y < kTileHeight) {
    shared.rows[y] = tap_at(tile.y + y, image.scale_y, image.offset_y, image.height);
  }
}

__device__ Window window_of(const ImageDescriptor& image, const Tile& tile, const Shared& shared) {
  Window window = {};
  window.x_begin = max(image.content_x - tile.x, 0);
  window.x_end = min(image.content_x + image.content_width, kWidth) - tile.x;
  window.x_end = min(window.x_end, kTileWidth);
  window.y_begin = max(image.content_y - tile.y, 0);
  window.y_end = min(image.content_y + image.content_height, kHeight) - tile.y;
  window.y_end = min(window.y_end, kTileHeight);
  if (window.x_begin >= window.x_end || window.y_begin >= window.y_end) return window;
  const auto beyond = [](const Tap& tap) { return tap.first + (tap.weight > 0 ? 2 : 1); };
  window.column = shared.columns[window.x_begin].first;
  window.columns = beyond(shared.columns[window.x_end - 1]) - window.column;
  window.row = shared.rows[window.y_begin].first;
  const int rows = beyond(shared.rows[window.y_end - 1]) - window.row;
  window.pairs = rows > kSlotsMax;
  window.slots = window.pairs ? 2 * (window.y_end - window.y_begin) : rows;
  return window;
}

__device__ int slot_of(const Window& window, const Tap& row, int y, int next) {
  return window.pairs ? 2 * (y - window.y_begin) + next : row.first - window.row + next;
}

__device__ int pixel_bytes(const ImageDescriptor& image) { return image.format == kGray8 ? 1 : 3; }

__device__ unsigned long long pixel_address(const ImageDescriptor& image, int row, int column) {
  return image.address + static_cast<long long>(row) * image.stride_bytes +
         static_cast<long long>(column) * pixel_bytes(image);
}

// Of a slot; one more than its bytes need where they begin inside of a chunk.
__device__ unsigned slot_chunks(const ImageDescriptor& image, const Window& window) {
  return static_cast<unsigned>(window.columns * pixel_bytes(image) + 15) / 16 + 1;
}

__device__ bool is_staged(const ImageDescriptor& image, const Window& window) {
  return slot_chunks(image, window) * window.slots <= kChunksMax;
}

// 16 aligned bytes, but none outside of the image's memory.
__device__ void copy_chunk(const ImageDescriptor& image, unsigned long long from, uint4& to) {
  const unsigned long long begin = image.address;
  const unsigned long long end = pixel_address(image, image.height - 1, image.width);
  if (from >= begin && from + 16 <= end) {
    to = __ldg(reinterpret_cast<const uint4*>(from));
    return;
  }
  for (unsigned i = 0; i < 16; ++i) {
    if (from + i < begin || from + i >= end) continue;
    const auto* const byte = reinterpret_cast<const unsigned char*>(from + i);
    reinterpret_cast<unsigned char*>(&to)[i] = __ldg(byte);
  }
}

__device__ void stage(const ImageDescriptor& image, const Window& window, const Tap* rows,
                      uint4* chunks) {
  const unsigned length = slot_chunks(image, window);
  for (unsigned i = threadIdx.y * 32 + threadIdx.x; i < length * window.slots; i += kThreads) {
    const int slot = static_cast<int>(i / length);
    int row = window.row + slot;
    if (window.pairs) {
      const Tap& tap = rows[window.y_begin + slot / 2];
      row = tap.first + slot % 2;
      if (slot % 2 == 1 && tap.weight == 0) continue;
    }
    const unsigned long long begin = pixel_address(image, row, window.column);
    const unsigned long long from = (begin & ~15ull) + 16 * (i % length);
    if (from < begin + window.columns * pixel_bytes(image)) copy_chunk(image, from, chunks[i]);
  }
}
)cuda";

constexpr std::string_view kSampling = R"cuda(
// Channel `c` of the model's colour.
__device__ __forceinline__ float component(const unsigned char* pixel, int format, int c) {
  if (format == kGray8) return pixel[0];
  if (kColor != kGray8) return pixel[format == kColor ? c : 2 - c];
  const int red = format == kRgb8 ? 0 : 2;
  return (pixel[red] * 19595u + pixel[1] * 38470u + pixel[2 - red] * 7471u + 0x8000u) >> 16;
}

// Rounded twice, as the CPU does: the compiler would make one operation of it.
__device__ __forceinline__ float blend(float a, float b, float weight) {
  return __fadd_rn(a, __fmul_rn(__fsub_rn(b, a), weight));
}

// From a pixel in each of two rows and its neighbour, `next` bytes further. A weight of 0 leaves
// the first as it is, and there may be no second.
__device__ __forceinline__ unsigned char sampled(const unsigned char* upper,
                                                 const unsigned char* lower, float weight_y,
                                                 float weight_x, int next, int format, int c) {
  const auto along = [&](const unsigned char* pixel) {
    const float first = component(pixel, format, c);
    return weight_x == 0 ? first : blend(first, component(pixel + next, format, c), weight_x);
  };
  const float first = along(upper);
  const float value = weight_y == 0 ? first : blend(first, along(lower), weight_y);
  return static_cast<unsigned char>(static_cast<int>(__fadd_rn(value, 0.5f)));
}

// Both rows begin at the window's first column.
__device__ __forceinline__ void sample_row(const ImageDescriptor& image, const Window& window,
                                           const unsigned char* upper, const unsigned char* lower,
                                           int image_of_slab, Shared& shared) {
  const int y = static_cast<int>(threadIdx.y);
  const int next = pixel_bytes(image);
  const float weight_y = shared.rows[y].weight;
#pragma unroll
  for (int x = static_cast<int>(threadIdx.x); x < kTileWidth; x += 32) {
    if (x < window.x_begin || x >= window.x_end) continue;
    const Tap tap = shared.columns[x];
    const int offset = (tap.first - window.column) * next;
#pragma unroll
    for (int c = 0; c < kImageChannels; ++c) {
      shared.values[image_of_slab * kImageChannels + c][y][x] = sampled(
          upper + offset, lower + offset, weight_y, tap.weight, next, image.format, c);
    }
  }
}

__device__ void sample(const ImageDescriptor& image, const Window& window, int image_of_slab,
                       Shared& shared) {
  const int y = static_cast<int>(threadIdx.y);
  if (window.slots == 0 || y < window.y_begin || y >= window.y_end) return;
  const Tap row = shared.rows[y];
  const int next = row.weight > 0 ? 1 : 0;
  const unsigned long long upper = pixel_address(image, row.first, window.column);
  const unsigned long long lower = pixel_address(image, row.first + next, window.column);
  if (is_staged(image, window)) {
    const unsigned length = slot_chunks(image, window);
    const uint4* const chunks = shared.chunks[image_of_slab];
    const auto in_slot = [&](unsigned long long address, int slot) {
      return reinterpret_cast<const unsigned char*>(chunks + slot * length) + (address & 15);
    };
    sample_row(image, window, in_slot(upper, slot_of(window, row, y, 0)),
               in_slot(lower, slot_of(window, row, y, next)), image_of_slab, shared);
  } else {
    sample_row(image, window, reinterpret_cast<const unsigned char*>(upper),
               reinterpret_cast<const unsigned char*>(lower), image_of_slab, shared);
  }
}

__device__ void fill_padding(const Window& window, Shared& shared) {
  const int y = static_cast<int>(threadIdx.y);
  const bool inside = window.slots > 0 && y >= window.y_begin && y < window.y_end;
  for (int x = static_cast<int>(threadIdx.x); x < kTileWidth; x += 32) {
    if (inside && x >= window.x_begin && x < window.x_end) continue;
    for (int c = 0; c < kSlabChannels; ++c) shared.values[c][y][x] = kPad;
  }
}

// Each thread stores the values that it sampled.
__device__ void store(const Tile& tile, bool is_blank, const Shared& shared, Element* destination) {
  using Stored = takt::Elements<Element, kVector>;
  const int y = static_cast<int>(threadIdx.y);
  if (tile.y + y >= kHeight) return;
  const int begin = tile.slab * kSlabChannels;
  const int end = tile.slab + 1 == kSlabs ? kElements : begin + kSlabChannels;
  const int row = tile.y + y;
  Element* const line = destination + tile.sample * kSampleStride +
                        (kOddLine > 0 ? row / 2 * kLineStride + row % 2 * kOddLine : row * kLineStride);
#pragma unroll
  for (int x = static_cast<int>(threadIdx.x); x < kTileWidth; x += 32) {
    if (tile.x + x >= kWidth) continue;
    Element* const pixel = line + (tile.x + x) * kPixelStride;
    for (int first = begin; first < end; first += kVector) {
      Stored elements;
#pragma unroll
      for (int i = 0; i < kVector; ++i) {
        const int c = first + i;
        const bool has_value = !is_blank && c < begin + kSlabChannels;
        const float value =
            has_value ? fmaf(shared.values[c - begin][y][x], gain(c), shift(c)) : 0.0f;
        elements.at[i] = stored(value);
      }
      *reinterpret_cast<Stored*>(pixel + first * kChannelStride) = elements;
    }
  }
}

__device__ __forceinline__ void run(const ImageDescriptor* table, Element* destination) {
  __shared__ Shared shared;
  const Tile tile = tile_of_block();
  const ImageDescriptor* const row = table + static_cast<long long>(tile.sample) * kImages;
  const ImageDescriptor placed = row[0];
  const bool is_blank = placed.width <= 0;
  if (!is_blank) {
    make_taps(placed, tile, shared);
    __syncthreads();
    const Window window = window_of(placed, tile, shared);
    const ImageDescriptor* const images = row + tile.slab * kSlabImages;
    for (int i = 0; i < kSlabImages; ++i) {
      if (is_staged(images[i], window)) stage(images[i], window, shared.rows, shared.chunks[i]);
    }
    __syncthreads();
    fill_padding(window, shared);
    for (int i = 0; i < kSlabImages; ++i) sample(images[i], window, i, shared);
  }
  store(tile, is_blank, shared, destination);
}
)cuda";

bool can_store(DataType type) {
  return type == DataType::fp32 || type == DataType::fp16 || type == DataType::bf16 ||
         type == DataType::uint8;
}

}  // namespace

Result<void> describe(const ImageStack& stack, const ImageInput& input,
                      std::span<const std::uint64_t> addresses, std::span<ImageDescriptor> row) {
  if (Result<void> checked = check_stack(stack, input); !checked) return checked;
  const std::size_t count = stack.images.size();
  if (addresses.size() != count || row.size() != count) {
    return refuse(std::to_string(count) + " images came with " + std::to_string(addresses.size()) +
                  " addresses and room for " + std::to_string(row.size()) +
                  " descriptors; expected one for each");
  }
  if (std::ranges::find(addresses, std::uint64_t{0}) != addresses.end()) {
    return refuse("an image has the device address 0; pin its memory or copy it to the device");
  }
  const ImageView& first = stack.images.front();
  const Placement placement = place(stack.region, first.width, first.height, input.staged.width,
                                    input.staged.height, input.preprocess.fit);
  const auto positive = [](float scale) { return scale > 0 && std::isfinite(scale); };
  if (!positive(placement.scale_x) || !positive(placement.scale_y) ||
      !std::isfinite(placement.offset_x) || !std::isfinite(placement.offset_y)) {
    return refuse("the region that the model looks at is too small or too far away to be scaled");
  }
  for (std::size_t i = 0; i < count; ++i) {
    const ImageView& image = stack.images[i];
    row[i] = {addresses[i],
              image.stride_bytes,
              image.width,
              image.height,
              static_cast<std::int32_t>(image.format),
              placement.scale_x,
              placement.scale_y,
              placement.offset_x,
              placement.offset_y,
              placement.content_x,
              placement.content_y,
              placement.content_width,
              placement.content_height};
  }
  return {};
}

Result<KernelSource> preprocess_kernel(const ImageInput& input, const View& destination,
                                       const std::string& name) {
  if (!can_store(destination.type)) {
    return refuse("images can't feed " + std::string(takt::to_string(destination.type)) +
                  "; expected FP32, FP16, BF16 or UINT8");
  }
  const Result<Layout> layout = plan(input, destination);
  if (!layout) return std::unexpected(layout.error());
  const Result<Normalisation> factors = normalisation_of(input);
  if (!factors) return std::unexpected(factors.error());
  const std::int64_t tiles = std::int64_t{layout->tiles_x} * layout->tiles_y * layout->slabs;
  if (layout->batch > std::numeric_limits<std::int32_t>::max() / tiles ||
      layout->elements > std::numeric_limits<std::int32_t>::max()) {
    return refuse("an input of " + takt::to_string(destination.shape) +
                  " is too large for one launch; use a smaller batch");
  }
  KernelSource kernel{
      kernel_name(name), {}, static_cast<unsigned>(layout->batch * tiles), kWarp, kTileHeight};
  const std::string space = kernel.name + "_code";
  const std::string_view element = stored_type(destination.type);
  kernel.text = fmt::format("namespace {} {{\nusing Element = {};\n", space, element);
  kernel.text += constants_text(input, *layout);
  kernel.text += factor_text("gain", factors->gain) + factor_text("shift", factors->shift);
  kernel.text +=
      fmt::format("__device__ __forceinline__ Element stored(float value) {{ return {}; }}\n",
                  stored(destination.type, "value"));
  kernel.text += descriptor_text();
  kernel.text += kStaging;
  kernel.text += kSampling;
  kernel.text += fmt::format(
      "}}  // namespace {0}\n"
      "extern \"C\" __global__ void __launch_bounds__({1}) {2}(const {0}::ImageDescriptor* table, "
      "{3}* destination) {{\n  {0}::run(table, destination);\n}}\n",
      space, kWarp * kTileHeight, kernel.name, element);
  return kernel;
}

}  // namespace takt::cuda
