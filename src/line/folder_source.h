// SPDX-License-Identifier: Apache-2.0
// Frames from the files of a folder: single images, or pairs by pattern (board and golden).
// Thread-safe: as Source.
// Owns: its decode threads and the slots of frames that wait to be handed out.
#pragma once

#include "core/image.h"
#include "core/result.h"
#include "core/time.h"
#include "image/decode.h"
#include "line/source.h"
#include "memory/slot_pool.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace takt::line {

struct RolePattern {
  std::string role;     // "board", "golden"
  std::string pattern;  // "{id}_test.png"; the first role's files make the frames
};

struct FolderOptions {
  std::filesystem::path directory;
  // Empty: every PNG, JPEG and BMP file is a frame with one image of role "board".
  std::vector<RolePattern> roles;
  PixelFormat format = PixelFormat::gray8;  // what every image is decoded to
  double frames_per_second = 0;             // 0: as fast as the line takes them
  std::uint64_t repeat = 1;                 // times through the folder; 0: without end
  int decode_threads = 1;                   // 1..64
  int prefetch = 4;                         // frames decoded ahead, 1..256; each holds a slot
  std::string recipe;
  ImageLimits limits;
  std::size_t files_max = 1'000'000;
  // How long a frame may wait for a slot before it comes with damage out_of_memory. A folder can
  // wait for a slow line; a camera could not.
  Duration slot_wait_max = std::chrono::seconds(60);
};

// Lists the folder once; files that come later are not seen. A frame's name is the stem of its
// first image's file, its part_id the id, trigger_seq counts from 1, captured is when next() gives
// it. An image that is missing, damaged, too large, empty, or not of the first image's size becomes
// the frame's damage. `clock` must outlive the source. Errors: invalid_input (no such folder, no
// file matches, a bad pattern, a role twice, a number out of range), out_of_memory (no thread).
[[nodiscard]] Result<std::unique_ptr<Source>> make_folder_source(FolderOptions options,
                                                                 std::shared_ptr<SlotPool> pool,
                                                                 const Clock& clock);

}  // namespace takt::line
