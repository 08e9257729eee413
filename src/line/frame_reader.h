// SPDX-License-Identifier: Apache-2.0
// Reads the files of one frame and decodes them into one slot.
// Thread-safe: one thread for each FrameReader; they may share pool and stop signal.
// Owns: the bytes of the files last read, whose room is used again.
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
#include <string>
#include <vector>

namespace takt::line {

struct ImageFile {
  std::string role;
  std::filesystem::path path;
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
  // The slot that the loaded images need; nullopt when none of them can be decoded.
  [[nodiscard]] std::optional<CaptureSize> size() const;
  // Decodes what was loaded; without a capture only says what is wrong.
  [[nodiscard]] FrameImages decode(const Capture* capture);

 private:
  struct Loaded {
    ImageFile file;
    std::vector<std::byte> bytes;
    Result<ImageInfo> info;
  };

  const PixelFormat format_;
  const ImageLimits limits_;
  std::vector<Loaded> loaded_;
  std::size_t count_ = 0;  // of loaded_ in use
};

}  // namespace takt::line
