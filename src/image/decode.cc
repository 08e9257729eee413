// SPDX-License-Identifier: Apache-2.0
#include "image/decode.h"

#include "image/codec.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <new>
#include <optional>
#include <string>

namespace takt {
namespace {

using namespace std::string_view_literals;

bool begins_with(std::span<const std::byte> bytes, std::string_view magic) noexcept {
  return bytes.size() >= magic.size() && std::memcmp(bytes.data(), magic.data(), magic.size()) == 0;
}

// The first bytes are enough to know the format, so that a file cut inside its signature is
// reported as truncated and not as unknown.
std::optional<ImageFormat> format_of(std::span<const std::byte> bytes) noexcept {
  if (begins_with(bytes, "\x89PNG"sv)) return ImageFormat::png;
  if (begins_with(bytes, "\xFF\xD8"sv)) return ImageFormat::jpeg;
  if (begins_with(bytes, "BM"sv)) return ImageFormat::bmp;
  return std::nullopt;
}

std::string_view other_format(std::span<const std::byte> bytes) noexcept {
  if (begins_with(bytes, "GIF8"sv)) return " (a GIF)";
  if (begins_with(bytes, "II*\0"sv) || begins_with(bytes, "MM\0*"sv)) return " (a TIFF)";
  if (begins_with(bytes, "RIFF"sv)) return " (a WebP or another RIFF file)";
  if (begins_with(bytes, "P5"sv) || begins_with(bytes, "P6"sv)) return " (a PGM or PPM)";
  if (begins_with(bytes, "\x93NUMPY"sv)) return " (a NumPy array)";
  return "";
}

std::unexpected<Error> unknown_format(std::span<const std::byte> bytes) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string begins;
  for (const std::byte b : bytes.first(std::min<std::size_t>(bytes.size(), 4))) {
    const auto value = std::to_integer<std::size_t>(b);
    begins += {' ', digits[value >> 4U], digits[value & 15U]};
  }
  return fail(ErrorKind::invalid_input, "not a PNG, JPEG or BMP image: the data begins with" +
                                            begins + std::string(other_format(bytes)) +
                                            "; convert it to one of these formats");
}

}  // namespace

std::string_view to_string(ImageFormat format) noexcept {
  switch (format) {
    case ImageFormat::png:
      return "PNG";
    case ImageFormat::jpeg:
      return "JPEG";
    case ImageFormat::bmp:
      return "BMP";
  }
  return "PNG";
}

namespace codec {

Result<void> check_size(std::int64_t width, std::int64_t height, const ImageLimits& limits) {
  const std::string size = std::to_string(width) + "x" + std::to_string(height);
  if (width <= 0 || height <= 0) {
    return fail(ErrorKind::invalid_input, "the image has no pixels (" + size + ")");
  }
  const std::string over = "the image is " + size + " pixels, over the limit of ";
  const std::string remedy = "; scale it down or raise the limit";
  if (width > limits.width_max || height > limits.height_max) {
    return fail(ErrorKind::invalid_input, over + std::to_string(limits.width_max) + "x" +
                                              std::to_string(limits.height_max) + remedy);
  }
  if (width * height > limits.pixels_max) {
    return fail(ErrorKind::invalid_input,
                over + std::to_string(limits.pixels_max) + " pixels in all" + remedy);
  }
  return {};
}

Result<Rows> rows_of(const ImageInfo& info, PixelFormat wanted, std::span<std::uint8_t> target,
                     std::size_t stride_bytes) {
  const auto row_bytes =
      static_cast<std::size_t>(info.width) * static_cast<std::size_t>(channel_count(wanted));
  // A stride beyond the target can only be meant for one row; the bound keeps the product small.
  const bool fits =
      stride_bytes >= row_bytes && stride_bytes <= target.size() &&
      stride_bytes * static_cast<std::size_t>(info.height - 1) + row_bytes <= target.size();
  if (!fits) {
    return fail(ErrorKind::invalid_input,
                "the image needs " + std::to_string(info.height) + " rows of " +
                    std::to_string(row_bytes) + " bytes, but the room is " +
                    std::to_string(target.size()) + " bytes with a stride of " +
                    std::to_string(stride_bytes));
  }
  return Rows{target.data(), stride_bytes, wanted};
}

}  // namespace codec

Result<ImageInfo> probe(std::span<const std::byte> bytes, const ImageLimits& limits) {
  if (bytes.empty()) return fail(ErrorKind::invalid_input, "the image file is empty");
  if (bytes.size() > limits.file_bytes_max) {
    return fail(ErrorKind::invalid_input, "the image file has " + std::to_string(bytes.size()) +
                                              " bytes, over the limit of " +
                                              std::to_string(limits.file_bytes_max) +
                                              "; make it smaller or raise the limit");
  }
  const auto format = format_of(bytes);
  if (!format) return unknown_format(bytes);
  switch (*format) {
    case ImageFormat::png:
      return codec::probe_png(bytes, limits);
    case ImageFormat::jpeg:
      return codec::probe_jpeg(bytes, limits);
    case ImageFormat::bmp:
      return codec::probe_bmp(bytes, limits);
  }
  return unknown_format(bytes);
}

Result<void> decode(std::span<const std::byte> bytes, PixelFormat wanted,
                    std::span<std::uint8_t> target, std::size_t stride_bytes,
                    const ImageLimits& limits) {
  const auto info = probe(bytes, limits);
  if (!info) return std::unexpected(info.error());
  const auto rows = codec::rows_of(*info, wanted, target, stride_bytes);
  if (!rows) return std::unexpected(rows.error());
  try {
    switch (info->format) {
      case ImageFormat::png:
        return codec::decode_png(bytes, *info, *rows);
      case ImageFormat::jpeg:
        return codec::decode_jpeg(bytes, *info, *rows);
      case ImageFormat::bmp:
        return codec::decode_bmp(bytes, *info, *rows);
    }
  } catch (const std::bad_alloc&) {
    return fail(ErrorKind::out_of_memory, "no memory to decode an image of " +
                                              std::to_string(info->width) + "x" +
                                              std::to_string(info->height));
  }
  return {};
}

}  // namespace takt
