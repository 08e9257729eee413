// SPDX-License-Identifier: Apache-2.0
// Room for the images of one frame: one slot, one dense plane after another.
// Thread-safe: free functions; a Capture belongs to one thread.
// Owns: Capture shares the slot that its planes lie in.
#pragma once

#include "core/image.h"
#include "core/result.h"
#include "core/time.h"
#include "line/frame.h"
#include "line/stop_signal.h"
#include "memory/slot_pool.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace takt::line {

struct CaptureSize {
  int width = 0;
  int height = 0;
  PixelFormat format = PixelFormat::gray8;
  std::size_t images = 1;

  [[nodiscard]] std::size_t plane_bytes() const noexcept;
  [[nodiscard]] std::size_t bytes() const noexcept { return plane_bytes() * images; }
};

class Capture {
 public:
  Capture(Slot slot, CaptureSize size) noexcept : slot_(std::move(slot)), size_(size) {}
  // The pixels of image k, to be written before it is handed on.
  [[nodiscard]] std::span<std::uint8_t> plane(std::size_t k) const noexcept;
  [[nodiscard]] FrameImage image(std::size_t k, std::string role) const;

 private:
  Slot slot_;
  CaptureSize size_;
};

// Takes a slot, waiting for one to come free for at most `wait_max` of real time. Errors:
// out_of_memory (none came free; the pool's message), invalid_input (larger than every size class),
// cancelled (stopped).
[[nodiscard]] Result<Capture> take_capture(SlotPool& pool, CaptureSize size, Duration wait_max,
                                           StopSignal& stop);

}  // namespace takt::line
