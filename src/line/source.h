// SPDX-License-Identifier: Apache-2.0
// Where frames come from: a folder, a simulator, a camera.
// Thread-safe: next() from one thread; stop() from any thread.
// Owns: nothing; implementations own what they read from.
#pragma once

#include "line/frame.h"

#include <optional>
#include <string_view>

namespace takt::line {

class Source {
 public:
  virtual ~Source() = default;

  [[nodiscard]] virtual std::string_view name() const noexcept = 0;

  // Waits until a frame is due and returns it; nullopt at the end, and after stop(). A frame that
  // is there but can't be read is returned with `damage`: every product gets its verdict.
  // `captured` is the moment of the trigger; the frame's deadline counts from it.
  [[nodiscard]] virtual std::optional<Frame> next() = 0;

  // A waiting next() returns soon, without a frame; later ones at once.
  virtual void stop() = 0;
};

}  // namespace takt::line
