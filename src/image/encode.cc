// SPDX-License-Identifier: Apache-2.0
#include "image/encode.h"

#include "image/color.h"

#include <spng.h>
#include <zlib.h>

#include <algorithm>
#include <exception>
#include <memory>
#include <string>

namespace takt {
namespace {

struct FreeContext {
  void operator()(spng_ctx* context) const noexcept { spng_ctx_free(context); }
};

// libspng's write callback; no exception may pass through C.
int append(spng_ctx*, void* user, void* data, std::size_t length) noexcept {
  auto& png = *static_cast<std::vector<std::byte>*>(user);
  try {
    const auto* bytes = static_cast<const std::byte*>(data);
    png.insert(png.end(), bytes, bytes + length);
  } catch (const std::exception&) {
    return SPNG_IO_ERROR;
  }
  return SPNG_OK;
}

bool black_and_white(const ImageView& image) noexcept {
  if (image.format != PixelFormat::gray8) return false;
  for (int y = 0; y < image.height; ++y) {
    const std::uint8_t* row = image.row(y);
    unsigned gray = 0;
    // 0 and 255 are the values for which value + 1 is at most 1 in 8 bits.
    for (int x = 0; x < image.width; ++x) gray |= static_cast<std::uint8_t>(row[x] + 1U) > 1U;
    if (gray != 0) return false;
  }
  return true;
}

void pack_bits(const std::uint8_t* gray, std::uint8_t* packed, int width) noexcept {
  for (int x = 0; x < width; x += 8) {
    unsigned bits = 0;
    for (int i = 0; i < 8; ++i) bits = bits << 1U | (x + i < width && gray[x + i] != 0 ? 1U : 0U);
    packed[x / 8] = static_cast<std::uint8_t>(bits);
  }
}

std::unexpected<Error> encode_error(int code) {
  const bool memory = code == SPNG_EMEM || code == SPNG_IO_ERROR;
  return fail(memory ? ErrorKind::out_of_memory : ErrorKind::internal,
              std::string("the image can't be written as PNG: ") + spng_strerror(code));
}

int begin(spng_ctx* context, const ImageView& image, bool one_bit, std::vector<std::byte>& png) {
  spng_ihdr header{};
  header.width = static_cast<std::uint32_t>(image.width);
  header.height = static_cast<std::uint32_t>(image.height);
  header.bit_depth = one_bit ? 1 : 8;
  header.color_type =
      image.format == PixelFormat::gray8 ? SPNG_COLOR_TYPE_GRAYSCALE : SPNG_COLOR_TYPE_TRUECOLOR;
  // Run lengths catch most of a binarised board; "up" does for photographs at a tenth of the cost
  // of choosing a filter row by row.
  const int strategy = one_bit ? Z_DEFAULT_STRATEGY : Z_FILTERED;
  const int filter = one_bit ? SPNG_DISABLE_FILTERING : SPNG_FILTER_CHOICE_UP;
  int code = spng_set_png_stream(context, append, &png);
  if (code == SPNG_OK) code = spng_set_ihdr(context, &header);
  if (code == SPNG_OK) code = spng_set_option(context, SPNG_IMG_COMPRESSION_LEVEL, 1);
  if (code == SPNG_OK) code = spng_set_option(context, SPNG_IMG_COMPRESSION_STRATEGY, strategy);
  if (code == SPNG_OK) code = spng_set_option(context, SPNG_FILTER_CHOICE, filter);
  if (code == SPNG_OK) {
    code = spng_encode_image(context, nullptr, 0, SPNG_FMT_PNG,
                             SPNG_ENCODE_PROGRESSIVE | SPNG_ENCODE_FINALIZE);
  }
  return code;
}

int write_rows(spng_ctx* context, const ImageView& image, bool one_bit) {
  const auto width = static_cast<std::size_t>(image.width);
  const std::size_t bytes =
      one_bit ? (width + 7) / 8 : width * static_cast<std::size_t>(channel_count(image.format));
  const bool convert = one_bit || image.format == PixelFormat::bgr8;
  std::vector<std::uint8_t> line(convert ? bytes : 0);
  int code = SPNG_OK;
  for (int y = 0; y < image.height && code == SPNG_OK; ++y) {
    const std::uint8_t* row = image.row(y);
    if (one_bit) {
      pack_bits(row, line.data(), image.width);
    } else if (convert) {
      convert_row(row, image.format, line.data(), PixelFormat::rgb8, image.width);
    }
    code = spng_encode_row(context, convert ? line.data() : row, bytes);
  }
  return code;
}

}  // namespace

Result<void> encode_png(const ImageView& image, std::vector<std::byte>& png) {
  png.clear();
  if (image.pixels == nullptr || image.width <= 0 || image.height <= 0) {
    return fail(ErrorKind::invalid_input, "the image has no pixels");
  }
  const std::unique_ptr<spng_ctx, FreeContext> context(spng_ctx_new(SPNG_CTX_ENCODER));
  if (!context) return encode_error(SPNG_EMEM);
  const bool one_bit = black_and_white(image);
  if (const int code = begin(context.get(), image, one_bit, png); code != SPNG_OK) {
    return encode_error(code);
  }
  if (const int code = write_rows(context.get(), image, one_bit); code != SPNG_EOI) {
    return encode_error(code);
  }
  return {};
}

}  // namespace takt
