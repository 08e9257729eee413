// SPDX-License-Identifier: Apache-2.0
#include "image/resample.h"

#include "image/color.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>

namespace takt {
namespace {

std::string size_text(int width, int height) {
  return std::to_string(width) + "x" + std::to_string(height);
}

// Writes `count` values at the target's pixel stride.
void write_line(const std::uint8_t* __restrict line, std::uint8_t* __restrict out,
                std::ptrdiff_t pixel_stride, int count) noexcept {
  if (pixel_stride == 1) {
    std::memcpy(out, line, static_cast<std::size_t>(count));
    return;
  }
  for (int x = 0; x < count; ++x) out[x * pixel_stride] = line[x];
}

void fill_line(std::uint8_t* out, std::ptrdiff_t pixel_stride, int count,
               std::uint8_t value) noexcept {
  if (count <= 0) return;
  if (pixel_stride == 1) {
    std::memset(out, value, static_cast<std::size_t>(count));
    return;
  }
  for (int x = 0; x < count; ++x) out[x * pixel_stride] = value;
}

void fill_padding(const Placement& placement, std::uint8_t value, const PixelTarget& target) {
  const int right = placement.content_x + placement.content_width;
  for (int c = 0; c < channel_count(target.color); ++c) {
    for (int y = 0; y < target.height; ++y) {
      std::uint8_t* row = target.pixels + y * target.row_stride + c * target.channel_stride;
      const bool inside =
          y >= placement.content_y && y < placement.content_y + placement.content_height;
      if (!inside) {
        fill_line(row, target.pixel_stride, target.width, value);
        continue;
      }
      fill_line(row, target.pixel_stride, placement.content_x, value);
      fill_line(row + right * target.pixel_stride, target.pixel_stride, target.width - right,
                value);
    }
  }
}

// Scale 1 and a whole-pixel offset: every sample is one pixel of the source.
bool copies_pixels(const Placement& placement) noexcept {
  const auto whole = [](float value) {
    return std::abs(value) < 1.0e6F && std::floor(value) == value;
  };
  return placement.scale_x == 1.0F && placement.scale_y == 1.0F && whole(placement.offset_x) &&
         whole(placement.offset_y);
}

// Copies columns [first, first + count) of one channel, repeating the border outside the image.
void copy_columns(const std::uint8_t* row, int channels, int width, int first, int count,
                  std::uint8_t* out, std::ptrdiff_t pixel_stride) noexcept {
  const int before = std::clamp(-first, 0, count);
  const int after = std::clamp(first + count - width, 0, count);
  const int inside = std::max(count - before - after, 0);
  fill_line(out, pixel_stride, before, row[0]);
  std::uint8_t* to = out + before * pixel_stride;
  if (inside > 0) {
    const std::uint8_t* from = row + static_cast<std::ptrdiff_t>(first + before) * channels;
    if (channels == 1) write_line(from, to, pixel_stride, inside);
    for (std::ptrdiff_t x = 0; channels > 1 && x < inside; ++x) {
      to[x * pixel_stride] = from[x * channels];
    }
  }
  fill_line(to + inside * pixel_stride, pixel_stride, after,
            row[static_cast<std::ptrdiff_t>(width - 1) * channels]);
}

void copy_pixels(const ImageView& source, const Placement& placement, const PixelTarget& target,
                 std::vector<std::uint8_t>& converted) {
  const int channels = channel_count(target.color);
  const int first_x = placement.content_x - static_cast<int>(placement.offset_x);
  const int first_y = placement.content_y - static_cast<int>(placement.offset_y);
  for (int y = 0; y < placement.content_height; ++y) {
    const std::uint8_t* row = source.row(std::clamp(first_y + y, 0, source.height - 1));
    if (source.format != target.color) {
      convert_row(row, source.format, converted.data(), target.color, source.width);
      row = converted.data();
    }
    std::uint8_t* out = target.pixels + (placement.content_y + y) * target.row_stride +
                        placement.content_x * target.pixel_stride;
    for (int c = 0; c < channels; ++c) {
      copy_columns(row + c, channels, source.width, first_x, placement.content_width,
                   out + c * target.channel_stride, target.pixel_stride);
    }
  }
}

// Blends two sampled rows and rounds half up. Not by lround, a call a pixel, where this vectorises:
// values are never negative, and just below a half either neighbour will do.
void blend(const float* __restrict upper, const float* __restrict lower, float weight,
           std::uint8_t* __restrict out, int count) noexcept {
  for (int x = 0; x < count; ++x) {
    const float value = upper[x] + (lower[x] - upper[x]) * weight;
    // NOLINTNEXTLINE(bugprone-incorrect-roundings)
    out[x] = static_cast<std::uint8_t>(static_cast<int>(value + 0.5F));
  }
}

Result<void> check(const ImageView& source, const Placement& placement, const PixelTarget& target) {
  if (source.pixels == nullptr || source.width <= 0 || source.height <= 0) {
    return fail(ErrorKind::invalid_input, "the image has no pixels");
  }
  if (source.width != placement.image_width || source.height != placement.image_height) {
    return fail(ErrorKind::invalid_input,
                "the image is " + size_text(source.width, source.height) +
                    ", but its placement was made for " +
                    size_text(placement.image_width, placement.image_height));
  }
  const bool sampled = placement.scale_x > 0 && placement.scale_y > 0 &&
                       std::isfinite(placement.offset_x) && std::isfinite(placement.offset_y);
  if (!sampled) {
    return fail(ErrorKind::invalid_input, "the region that the model looks at isn't finite");
  }
  const bool inside = placement.content_x >= 0 && placement.content_y >= 0 &&
                      placement.content_width >= 0 && placement.content_height >= 0 &&
                      placement.content_x + placement.content_width <= target.width &&
                      placement.content_y + placement.content_height <= target.height;
  if (!inside || target.pixels == nullptr) {
    return fail(ErrorKind::invalid_input, "the placed image doesn't lie in the model's input of " +
                                              size_text(target.width, target.height));
  }
  return {};
}

}  // namespace

Result<PixelTarget> input_target(std::span<std::uint8_t> bytes, const InputGeometry& geometry,
                                 int channel_first, PixelFormat color) {
  const int channels = channel_count(color);
  if (geometry.width <= 0 || geometry.height <= 0 || channel_first < 0 ||
      channel_first + channels > geometry.channels) {
    return fail(ErrorKind::invalid_input,
                "an image of " + std::to_string(channels) + " channels at channel " +
                    std::to_string(channel_first) + " doesn't fit a model input of " +
                    std::to_string(geometry.channels) + " channels, " +
                    size_text(geometry.width, geometry.height) +
                    "; check the task's images and preprocess.color");
  }
  const auto pixels = static_cast<std::ptrdiff_t>(geometry.width) * geometry.height;
  if (static_cast<std::ptrdiff_t>(bytes.size()) != pixels * geometry.channels) {
    return fail(ErrorKind::invalid_input,
                "a model input of " + std::to_string(pixels * geometry.channels) +
                    " bytes was given room for " + std::to_string(bytes.size()));
  }
  PixelTarget target{bytes.data(), geometry.width, geometry.height, color, 0, 1, 0};
  if (geometry.channels_last) {
    target.pixels += channel_first;
    target.row_stride = static_cast<std::ptrdiff_t>(geometry.width) * geometry.channels;
    target.pixel_stride = geometry.channels;
    target.channel_stride = 1;
  } else {
    target.pixels += channel_first * pixels;
    target.row_stride = geometry.width;
    target.channel_stride = pixels;
  }
  return target;
}

void Resampler::make_taps(std::vector<Tap>& taps, int content_first, int count, float scale,
                          float offset, int limit) {
  taps.resize(static_cast<std::size_t>(count));
  const double last = limit - 1;
  for (int i = 0; i < count; ++i) {
    const double at =
        (content_first + i + 0.5 - static_cast<double>(offset)) / static_cast<double>(scale) - 0.5;
    // fmin and fmax let no NaN through, so that the cast is defined whatever the region was.
    const double clamped = std::fmax(0.0, std::fmin(at, last));
    const int first = static_cast<int>(clamped);
    taps[static_cast<std::size_t>(i)] = {first, std::min(first + 1, limit - 1),
                                         static_cast<float>(clamped - first)};
  }
}

void Resampler::sample_row(const ImageView& source, int y, PixelFormat color,
                           std::span<float> sampled) {
  const int channels = channel_count(color);
  const int first = columns_.front().first;
  const int last = columns_.back().second;
  // `row` is moved so that row[x * channels] is column x, though only the needed part is converted.
  const std::uint8_t* row = source.row(y);
  int origin = 0;
  if (source.format != color) {
    convert_row(row + static_cast<std::ptrdiff_t>(first) * channel_count(source.format),
                source.format, converted_.data(), color, last - first + 1);
    row = converted_.data();
    origin = first;
  }
  float* out = sampled.data();
  for (int c = 0; c < channels; ++c) {
    for (const Tap& tap : columns_) {
      const float a = row[(tap.first - origin) * channels + c];
      const float b = row[(tap.second - origin) * channels + c];
      *out++ = a + (b - a) * tap.weight;
    }
  }
}

void Resampler::sample(const ImageView& source, const Placement& placement,
                       const PixelTarget& target) {
  make_taps(columns_, placement.content_x, placement.content_width, placement.scale_x,
            placement.offset_x, source.width);
  make_taps(rows_, placement.content_y, placement.content_height, placement.scale_y,
            placement.offset_y, source.height);
  const auto width = static_cast<std::size_t>(placement.content_width);
  const auto row_floats = width * static_cast<std::size_t>(channel_count(target.color));
  upper_.resize(row_floats);
  lower_.resize(row_floats);
  line_.resize(width);
  int upper_y = -1;
  int lower_y = -1;
  for (int y = 0; y < placement.content_height; ++y) {
    const Tap& tap = rows_[static_cast<std::size_t>(y)];
    if (tap.first == lower_y && tap.first != upper_y) {
      std::swap(upper_, lower_);
      std::swap(upper_y, lower_y);
    }
    if (tap.first != upper_y) {
      sample_row(source, tap.first, target.color, upper_);
      upper_y = tap.first;
    }
    if (tap.second != lower_y) {
      sample_row(source, tap.second, target.color, lower_);
      lower_y = tap.second;
    }
    std::uint8_t* out = target.pixels + (placement.content_y + y) * target.row_stride +
                        placement.content_x * target.pixel_stride;
    for (int c = 0; c < channel_count(target.color); ++c) {
      const std::size_t plane = static_cast<std::size_t>(c) * width;
      std::uint8_t* channel = out + c * target.channel_stride;
      const bool direct = target.pixel_stride == 1;
      blend(upper_.data() + plane, lower_.data() + plane, tap.weight,
            direct ? channel : line_.data(), placement.content_width);
      if (!direct) {
        write_line(line_.data(), channel, target.pixel_stride, placement.content_width);
      }
    }
  }
}

Result<void> Resampler::run(const ImageView& source, const Placement& placement,
                            std::uint8_t pad_value, const PixelTarget& target) {
  if (auto checked = check(source, placement, target); !checked) return checked;
  fill_padding(placement, pad_value, target);
  if (placement.content_width == 0 || placement.content_height == 0) return {};
  if (source.format != target.color) {
    converted_.resize(static_cast<std::size_t>(source.width) *
                      static_cast<std::size_t>(channel_count(target.color)));
  }
  if (copies_pixels(placement)) {
    copy_pixels(source, placement, target, converted_);
  } else {
    sample(source, placement, target);
  }
  return {};
}

}  // namespace takt
