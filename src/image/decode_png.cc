// SPDX-License-Identifier: Apache-2.0
// PNG through libspng. The rows are read unconverted (SPNG_FMT_RAW) and expanded here: for 1-bit
// images of 640x640 libspng's own conversion to 8 bits took 2.6 ms, reading raw rows 0.15 ms.
#include "image/codec.h"
#include "image/color.h"

#include <spng.h>

#include <array>
#include <cstring>
#include <memory>
#include <vector>

namespace takt::codec {
namespace {

struct FreeContext {
  void operator()(spng_ctx* context) const noexcept { spng_ctx_free(context); }
};
using Context = std::unique_ptr<spng_ctx, FreeContext>;

// Text and colour profiles may be compressed: their unpacked size is bounded, too.
constexpr std::size_t kChunkBytesMax = 4UL * 1024 * 1024;
constexpr std::size_t kChunkCacheBytesMax = 16UL * 1024 * 1024;

std::unexpected<Error> png_error(int code, const std::string& where) {
  if (code == SPNG_EMEM) {
    return fail(ErrorKind::out_of_memory, "no memory to decode the PNG image");
  }
  if (code == SPNG_IO_EOF || code == SPNG_EOF || code == SPNG_EIDAT_TOO_SHORT) {
    return fail(ErrorKind::invalid_input, "the PNG image is truncated " + where);
  }
  return fail(ErrorKind::invalid_input,
              "the PNG image is damaged " + where + ": " + spng_strerror(code));
}

Result<Context> open(std::span<const std::byte> bytes) {
  Context context(spng_ctx_new(0));
  if (!context) return png_error(SPNG_EMEM, "");
  spng_set_chunk_limits(context.get(), kChunkBytesMax, kChunkCacheBytesMax);
  if (const int code = spng_set_png_buffer(context.get(), bytes.data(), bytes.size())) {
    return png_error(code, "in its header");
  }
  return context;
}

std::uint32_t big_endian(std::span<const std::byte> bytes, std::size_t at) noexcept {
  std::uint32_t value = 0;
  for (std::size_t i = at; i < at + 4; ++i) {
    value = value << 8U | std::to_integer<std::uint32_t>(bytes[i]);
  }
  return value;
}

bool is_gray(const spng_ihdr& header) noexcept {
  return header.color_type == SPNG_COLOR_TYPE_GRAYSCALE ||
         header.color_type == SPNG_COLOR_TYPE_GRAYSCALE_ALPHA;
}

// Samples of one raw pixel in the file.
int samples_of(const spng_ihdr& header) noexcept {
  switch (header.color_type) {
    case SPNG_COLOR_TYPE_TRUECOLOR:
      return 3;
    case SPNG_COLOR_TYPE_GRAYSCALE_ALPHA:
      return 2;
    case SPNG_COLOR_TYPE_TRUECOLOR_ALPHA:
      return 4;
    default:
      return 1;
  }
}

// Every byte of eight 1-bit pixels as eight bytes of 0 or 255.
constexpr auto kBits = [] {
  std::array<std::array<std::uint8_t, 8>, 256> table{};
  for (std::size_t byte = 0; byte < 256; ++byte) {
    for (std::size_t bit = 0; bit < 8; ++bit) {
      table[byte][bit] = ((byte >> (7 - bit)) & 1U) != 0 ? 255 : 0;
    }
  }
  return table;
}();

void expand_bits(const std::uint8_t* raw, std::uint8_t* gray, int width) noexcept {
  int x = 0;
  for (; x + 8 <= width; x += 8) std::memcpy(gray + x, kBits[raw[x / 8]].data(), 8);
  if (x < width)
    std::memcpy(gray + x, kBits[raw[x / 8]].data(), static_cast<std::size_t>(width - x));
}

// Sample x of a row of 1, 2, 4 or 8 bits a sample.
unsigned packed_sample(const std::uint8_t* raw, int x, int depth) noexcept {
  const auto bit = static_cast<unsigned>(x) * static_cast<unsigned>(depth);
  const unsigned shift = 8U - static_cast<unsigned>(depth) - bit % 8U;
  return (static_cast<unsigned>(raw[bit / 8U]) >> shift) &
         ((1U << static_cast<unsigned>(depth)) - 1U);
}

void expand_gray(const std::uint8_t* raw, std::uint8_t* gray, int width, const spng_ihdr& header) {
  const int depth = header.bit_depth;
  if (depth == 1) return expand_bits(raw, gray, width);
  if (depth < 8) {
    const unsigned scale = 255U / ((1U << static_cast<unsigned>(depth)) - 1U);
    for (int x = 0; x < width; ++x) {
      gray[x] = static_cast<std::uint8_t>(packed_sample(raw, x, depth) * scale);
    }
    return;
  }
  // Of 16-bit samples the high byte comes first.
  const std::ptrdiff_t step = samples_of(header) * depth / 8;
  for (int x = 0; x < width; ++x) gray[x] = raw[x * step];
}

void expand_color(const std::uint8_t* raw, std::uint8_t* rgb, int width, const spng_ihdr& header) {
  const int bytes = header.bit_depth / 8;
  const int step = samples_of(header) * bytes;
  for (int x = 0; x < width; ++x) {
    for (int c = 0; c < 3; ++c) rgb[3 * x + c] = raw[x * step + c * bytes];
  }
}

void expand_palette(const std::uint8_t* raw, std::uint8_t* rgb, int width, int depth,
                    const spng_plte& palette) {
  for (int x = 0; x < width; ++x) {
    const spng_plte_entry& entry = palette.entries[packed_sample(raw, x, depth)];
    std::uint8_t* pixel = rgb + std::ptrdiff_t{3} * x;
    pixel[0] = entry.red;
    pixel[1] = entry.green;
    pixel[2] = entry.blue;
  }
}

// Turns raw rows of the file into rows of the target.
class RowWriter {
 public:
  RowWriter(const spng_ihdr& header, const spng_plte& palette, const Rows& rows)
      : header_(header),
        palette_(palette),
        rows_(rows),
        width_(static_cast<int>(header.width)),
        native_(is_gray(header) ? PixelFormat::gray8 : PixelFormat::rgb8) {
    if (native_ != rows.format) {
      line_.resize(static_cast<std::size_t>(width_) *
                   static_cast<std::size_t>(channel_count(native_)));
    }
  }

  void write(int y, const std::uint8_t* raw) {
    std::uint8_t* native = native_ == rows_.format ? rows_.row(y) : line_.data();
    if (is_gray(header_)) {
      expand_gray(raw, native, width_, header_);
    } else if (header_.color_type == SPNG_COLOR_TYPE_INDEXED) {
      expand_palette(raw, native, width_, header_.bit_depth, palette_);
    } else {
      expand_color(raw, native, width_, header_);
    }
    if (native_ != rows_.format) convert_row(native, native_, rows_.row(y), rows_.format, width_);
  }

 private:
  const spng_ihdr& header_;
  const spng_plte& palette_;
  const Rows& rows_;
  int width_;
  PixelFormat native_;
  std::vector<std::uint8_t> line_;
};

Result<void> decode_rows(spng_ctx* context, std::size_t raw_bytes, int height, RowWriter& writer) {
  if (const int code =
          spng_decode_image(context, nullptr, 0, SPNG_FMT_RAW, SPNG_DECODE_PROGRESSIVE)) {
    return png_error(code, "before its pixels");
  }
  std::vector<std::uint8_t> raw(raw_bytes);
  for (int y = 0; y < height; ++y) {
    const int code = spng_decode_row(context, raw.data(), raw.size());
    const bool last = y == height - 1;
    if (code != (last ? SPNG_EOI : SPNG_OK)) {
      return png_error(code, "in row " + std::to_string(y) + " of " + std::to_string(height));
    }
    writer.write(y, raw.data());
  }
  return {};
}

Result<void> decode_interlaced(spng_ctx* context, std::size_t raw_bytes, int height,
                               RowWriter& writer) {
  std::vector<std::uint8_t> raw(raw_bytes * static_cast<std::size_t>(height));
  if (const int code = spng_decode_image(context, raw.data(), raw.size(), SPNG_FMT_RAW, 0)) {
    return png_error(code, "in its interlaced pixels");
  }
  for (int y = 0; y < height; ++y) {
    writer.write(y, raw.data() + raw_bytes * static_cast<std::size_t>(y));
  }
  return {};
}

}  // namespace

Result<ImageInfo> probe_png(std::span<const std::byte> bytes, const ImageLimits& limits) {
  const auto context = open(bytes);
  if (!context) return std::unexpected(context.error());
  spng_ihdr header{};
  const int code = spng_get_ihdr(context->get(), &header);
  if (code == SPNG_EWIDTH || code == SPNG_EHEIGHT) {  // zero or above 2^31: say so in our words
    if (auto checked = check_size(big_endian(bytes, 16), big_endian(bytes, 20), limits); !checked) {
      return std::unexpected(checked.error());
    }
  }
  if (code != SPNG_OK) return png_error(code, "in its header");
  if (auto checked = check_size(header.width, header.height, limits); !checked) {
    return std::unexpected(checked.error());
  }
  return ImageInfo{ImageFormat::png, static_cast<int>(header.width),
                   static_cast<int>(header.height), is_gray(header) ? 1 : 3};
}

Result<void> decode_png(std::span<const std::byte> bytes, const ImageInfo& info, const Rows& rows) {
  const auto context = open(bytes);
  if (!context) return std::unexpected(context.error());
  spng_ihdr header{};
  if (const int code = spng_get_ihdr(context->get(), &header)) {
    return png_error(code, "in its header");
  }
  spng_plte palette{};
  if (header.color_type == SPNG_COLOR_TYPE_INDEXED) {
    if (const int code = spng_get_plte(context->get(), &palette)) {
      return png_error(code, "in its palette");
    }
  }
  const auto raw_bytes = (static_cast<std::size_t>(info.width) *
                              static_cast<std::size_t>(samples_of(header)) * header.bit_depth +
                          7U) /
                         8U;
  RowWriter writer(header, palette, rows);
  auto decoded = header.interlace_method == SPNG_INTERLACE_NONE
                     ? decode_rows(context->get(), raw_bytes, info.height, writer)
                     : decode_interlaced(context->get(), raw_bytes, info.height, writer);
  if (!decoded) return decoded;
  // Reads to the end marker, so that a file whose tail is missing is noticed.
  if (const int code = spng_decode_chunks(context->get())) {
    return png_error(code, "behind its pixels");
  }
  return {};
}

}  // namespace takt::codec
