// SPDX-License-Identifier: Apache-2.0
// JPEG through TurboJPEG. Its warnings count as damage: they mean that pixels were invented.
#include "image/codec.h"

#include <turbojpeg.h>

#include <memory>
#include <string_view>

namespace takt::codec {
namespace {

struct Destroy {
  void operator()(void* handle) const noexcept { tjDestroy(handle); }
};
using Decoder = std::unique_ptr<void, Destroy>;

// A whole file ends with the marker FF D9.
bool has_end_marker(std::span<const std::byte> bytes) noexcept {
  return bytes.size() >= 2 && bytes[bytes.size() - 2] == std::byte{0xFF} &&
         bytes.back() == std::byte{0xD9};
}

std::unexpected<Error> jpeg_error(tjhandle decoder, std::span<const std::byte> bytes,
                                  std::string_view where) {
  const std::string_view reason = tjGetErrorStr2(decoder);
  if (reason.find("nsufficient memory") != std::string_view::npos) {
    return fail(ErrorKind::out_of_memory, "no memory to decode the JPEG image");
  }
  const std::string what = has_end_marker(bytes) ? "damaged " : "truncated ";
  return fail(ErrorKind::invalid_input,
              "the JPEG image is " + what + std::string(where) + ": " + std::string(reason));
}

struct Header {
  int width = 0;
  int height = 0;
  int colorspace = 0;
};

Result<Header> read_header(tjhandle decoder, std::span<const std::byte> bytes) {
  Header header;
  int subsampling = 0;
  if (tjDecompressHeader3(decoder, reinterpret_cast<const unsigned char*>(bytes.data()),
                          bytes.size(), &header.width, &header.height, &subsampling,
                          &header.colorspace) != 0) {
    return jpeg_error(decoder, bytes, "in its header");
  }
  return header;
}

}  // namespace

Result<ImageInfo> probe_jpeg(std::span<const std::byte> bytes, const ImageLimits& limits) {
  const Decoder decoder(tjInitDecompress());
  if (!decoder) return fail(ErrorKind::out_of_memory, "no memory to decode the JPEG image");
  const auto header = read_header(decoder.get(), bytes);
  if (!header) return std::unexpected(header.error());
  if (auto checked = check_size(header->width, header->height, limits); !checked) {
    return std::unexpected(checked.error());
  }
  if (header->colorspace == TJCS_CMYK || header->colorspace == TJCS_YCCK) {
    return fail(ErrorKind::invalid_input,
                "the JPEG image has CMYK colours; convert it to gray or RGB");
  }
  return ImageInfo{ImageFormat::jpeg, header->width, header->height,
                   header->colorspace == TJCS_GRAY ? 1 : 3};
}

Result<void> decode_jpeg(std::span<const std::byte> bytes, const ImageInfo& info,
                         const Rows& rows) {
  const Decoder decoder(tjInitDecompress());
  if (!decoder) return fail(ErrorKind::out_of_memory, "no memory to decode the JPEG image");
  const int format = rows.format == PixelFormat::gray8  ? TJPF_GRAY
                     : rows.format == PixelFormat::rgb8 ? TJPF_RGB
                                                        : TJPF_BGR;
  // The accurate DCT is what other decoders use; a small progressive file may ask for thousands of
  // scans over the whole image, LIMITSCANS stops at 500.
  constexpr int flags = TJFLAG_ACCURATEDCT | TJFLAG_STOPONWARNING | TJFLAG_LIMITSCANS;
  if (tjDecompress2(decoder.get(), reinterpret_cast<const unsigned char*>(bytes.data()),
                    bytes.size(), rows.pixels, info.width, static_cast<int>(rows.stride_bytes),
                    info.height, format, flags) != 0) {
    return jpeg_error(decoder.get(), bytes, "in its pixels");
  }
  return {};
}

}  // namespace takt::codec
