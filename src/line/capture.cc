// SPDX-License-Identifier: Apache-2.0
#include "line/capture.h"

#include <chrono>
#include <utility>

namespace takt::line {

std::size_t CaptureSize::plane_bytes() const noexcept {
  return static_cast<std::size_t>(width) * static_cast<std::size_t>(height) *
         static_cast<std::size_t>(channel_count(format));
}

std::span<std::uint8_t> Capture::plane(std::size_t k) const noexcept {
  const std::span<std::byte> bytes = slot_.bytes().subspan(k * size_.plane_bytes());
  return {reinterpret_cast<std::uint8_t*>(bytes.data()), size_.plane_bytes()};
}

FrameImage Capture::image(std::size_t k, std::string role) const {
  const ImageView view{plane(k).data(), size_.width, size_.height,
                       size_.width * channel_count(size_.format), size_.format};
  return {std::move(role), view, slot_};
}

Result<Capture> take_capture(SlotPool& pool, CaptureSize size, Duration wait_max,
                             StopSignal& stop) {
  // A slot is returned without a signal, so the pool is asked again; one millisecond is a fraction
  // of what a frame takes, and nothing is lost: the line has nothing free to work with anyway.
  constexpr Duration kAskAgain = std::chrono::milliseconds(1);
  for (Duration waited{};; waited += kAskAgain) {
    Result<Slot> slot = pool.acquire(size.bytes());
    if (slot) return Capture(std::move(*slot), size);
    if (slot.error().kind != ErrorKind::out_of_memory || waited >= wait_max) {
      return std::unexpected(std::move(slot).error());
    }
    if (stop.wait_for(kAskAgain)) return fail(ErrorKind::cancelled, "the source was stopped");
  }
}

}  // namespace takt::line
