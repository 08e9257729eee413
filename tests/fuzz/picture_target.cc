// SPDX-License-Identifier: Apache-2.0
// Pictures that clients and cameras bring: PNG, JPEG and BMP, alone or as parts of a form.
#include "image/decode.h"
#include "image/encode.h"
#include "rest/picture_body.h"
#include "target.h"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <string_view>

namespace takt::fuzz {
namespace {

enum class Part : std::uint8_t { picture, mended, form, count };
constexpr ImageLimits kLimits{
    .width_max = 128, .height_max = 96, .pixels_max = 8192, .file_bytes_max = 64 << 10};

void check_error(const Error& error) {
  require(error.kind == ErrorKind::invalid_input || error.kind == ErrorKind::out_of_memory,
          "a bad picture is invalid input");
  require(!error.message.empty(), "errors have words");
}

// Into rooms that end with the last pixel, so that the sanitizer sees the first byte outside.
void decode_as(std::span<const std::byte> bytes, const ImageInfo& info, PixelFormat format) {
  constexpr std::size_t kPaddingBytes = 3;
  const std::size_t row_bytes =
      static_cast<std::size_t>(info.width) * static_cast<std::size_t>(channel_count(format));
  const std::size_t stride = row_bytes + kPaddingBytes;
  const std::size_t room = stride * static_cast<std::size_t>(info.height - 1) + row_bytes;
  const auto pixels = std::make_unique<std::uint8_t[]>(room);
  const std::span<std::uint8_t> target(pixels.get(), room);
  require(!decode(bytes, format, target.first(room - 1), stride, kLimits), "too small a room");
  if (const Result<void> decoded = decode(bytes, format, target, stride, kLimits); !decoded) {
    return check_error(decoded.error());
  }
  const ImageView view{pixels.get(), info.width, info.height, static_cast<int>(stride), format};
  std::vector<std::byte> png;
  require(encode_png(view, png).has_value(), "what was decoded is stored");
  const auto again = std::make_unique<std::uint8_t[]>(room);
  require(decode(png, format, {again.get(), room}, stride).has_value(), "what was stored is read");
  for (int y = 0; y < info.height; ++y) {
    const std::size_t at = static_cast<std::size_t>(y) * stride;
    require(std::equal(&target[at], &target[at] + row_bytes, &again[at]), "pixels survive");
  }
}

void run_picture(std::span<const std::byte> bytes) {
  const Result<ImageInfo> info = probe(bytes, kLimits);
  if (!info) return check_error(info.error());
  require(info->width >= 1 && info->width <= kLimits.width_max, "widths are bounded");
  require(info->height >= 1 && info->height <= kLimits.height_max, "heights are bounded");
  require(info->width * info->height <= kLimits.pixels_max, "pixels are bounded");
  require(info->channels == 1 || info->channels == 3, "channels are known");
  for (const PixelFormat format : {PixelFormat::gray8, PixelFormat::rgb8, PixelFormat::bgr8}) {
    decode_as(bytes, *info, format);
  }
}

std::uint32_t big_endian(const Bytes& bytes, std::size_t at) {
  std::uint32_t value = 0;
  for (std::size_t i = at; i < at + 4; ++i) {
    value = value << 8U | std::to_integer<std::uint32_t>(bytes[i]);
  }
  return value;
}

// The check sums of a PNG's chunks made right: what is behind them is out of reach for a search.
Bytes mended(std::span<const std::byte> bytes) {
  Bytes png(bytes.begin(), bytes.end());
  constexpr std::size_t kSignatureBytes = 8;
  constexpr std::size_t kAroundBytes = 12;  // length, type and check sum
  for (std::size_t at = kSignatureBytes; at + kAroundBytes <= png.size();) {
    const std::size_t length = big_endian(png, at);
    if (length > png.size() - at - kAroundBytes) break;
    const auto sum = static_cast<std::uint32_t>(
        ::crc32(0, reinterpret_cast<const Bytef*>(&png[at + 4]), static_cast<uInt>(length + 4)));
    for (std::size_t i = 0; i < 4; ++i) {
      png[at + 8 + length + i] = static_cast<std::byte>(sum >> (24U - 8U * i));
    }
    at += kAroundBytes + length;
  }
  return png;
}

// A line with the content type; the body behind it.
void run_form(std::string_view text) {
  const std::size_t line = std::min(text.find('\n'), text.size());
  const std::string body(text.substr(std::min(line + 1, text.size())));
  const auto read =
      rest::read_pictures(text.substr(0, line), body, {"board", "golden"}, {"part_id"});
  if (!read) {
    require(read.error().code == server::ApiCode::invalid_argument, "errors are the client's");
    require(!read.error().message.empty(), "errors have words");
    return;
  }
  require(!read->images.empty() && read->images.size() <= 2, "pictures have roles");
  for (const line::EncodedImage& image : read->images) {
    require(image.role == "board" || image.role == "golden", "roles are known");
    require(!image.bytes.empty(), "pictures have bytes");
    const auto* const begin = reinterpret_cast<const std::byte*>(body.data());
    require(image.bytes.data() >= begin &&
                image.bytes.data() + image.bytes.size() <= begin + body.size(),
            "pictures lie in the body");
    static_cast<void>(probe(image.bytes, kLimits));
  }
  for (const auto& [name, value] : read->fields) {
    require(name == "part_id" && value.size() <= rest::kFieldBytesMax, "fields are bounded");
  }
}

void run(std::span<const std::byte> bytes) {
  Input input(bytes);
  const std::uint8_t part = input.take<std::uint8_t>();
  switch (static_cast<Part>(part % static_cast<int>(Part::count))) {
    case Part::picture:
      return run_picture(input.rest());
    case Part::mended:
      return run_picture(mended(input.rest()));
    case Part::form:
      return run_form({reinterpret_cast<const char*>(input.rest().data()), input.rest().size()});
    case Part::count:
      break;
  }
}

Seed form(const std::string& name, std::string_view text) {
  return {name, Script().put(Part::form).put_bytes(std::as_bytes(std::span(text))).bytes()};
}

// Pictures are kept as files: libraries of another version write other bytes.
std::vector<Seed> seeds() {
  return {
      form("form",
           "multipart/form-data; boundary=\"a b\"\nhello\r\n--a b\r\ncontent-disposition: "
           "form-data; name=\"board\"; filename=\"a\\\".png\"\r\nContent-Type: image/png"
           "\r\n\r\nBM\r\n--a\r\n--a b  \r\nContent-Disposition: form-data; name=part_id"
           "\r\n\r\n7\r\n--a b--\r\n"),
      form("form-cut",
           "multipart/form-data; boundary=x\n--x\r\nContent-Disposition: form-data; "
           "name=\"golden\"\r\n\r\nabc"),
      form("alone", "image/png; q=1\n\x89PNG\r\n"),
  };
}

}  // namespace

Target picture() {
  return {"picture", &run, &seeds};
}

}  // namespace takt::fuzz
