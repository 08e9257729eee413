// SPDX-License-Identifier: Apache-2.0
// Decodes the images of one frame, files or bytes, into one slot.
// Thread-safe: one thread for each FrameReader; they may share pool and stop signal.
// Owns: the bytes of the files last read, whose room is used again; bytes of others it only names.
#pragma once

#include "core/result.h"
#include "image/decode.h"
#include "line/capture.h"
#include "line/frame.h"
#include "line/stop_signal.h"

#include <cstddef>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace takt::line {

struct ImageFile {
  std::string role;
  std::filesystem::path path;
};

// A picture as it came, such as the body of a request.
struct EncodedImage {
  std::string role;
  std::span<const std::byte> bytes;
};

struct FrameImages {
  std::vector<FrameImage> images;  // those that could be read
  std::optional<Error> damage;     // the first that went wrong: "golden x.png: no such file"
};

class FrameReader {
 public:
  FrameReader(PixelFormat format, ImageLimits limits) : format_(format), limits_(limits) {}

  // Reads the files; what is wrong with them is kept for decode().
  void load(const std::vector<ImageFile>& files);
  // The same for bytes in memory, which must stay until decode().
  void load(std::span<const EncodedImage> images);
  // The slot that the loaded images need; nullopt when none of them can be decoded.
  [[nodiscard]] std::optional<CaptureSize> size() const;
  // Decodes what was loaded; without a capture only says what is wrong.
  [[nodiscard]] FrameImages decode(const Capture* capture);

 private:
  struct Loaded {
    std::string role;
    std::string label;  // "board a_test.png", or the role alone
    std::vector<std::byte> file;
    std::span<const std::byte> bytes;  // in `file`, or somebody else's
    Result<ImageInfo> info;
  };

  void start(std::size_t count);
  // The images of a frame have one size, the first's.
  void agree();

  const PixelFormat format_;
  const ImageLimits limits_;
  std::vector<Loaded> loaded_;
  std::size_t count_ = 0;  // of loaded_ in use
};

}  // namespace takt::line
