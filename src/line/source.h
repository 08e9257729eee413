// SPDX-License-Identifier: Apache-2.0
// Where the frames of a line come from: files, a simulator, later cameras.
// Thread-safe: next() from one thread; stop(), describe() and total() from any.
// Owns: its threads, until it is destroyed. It must not outlive the clock it was given.
#pragma once

#include "core/time.h"
#include "line/frame.h"

#include <cstdint>
#include <optional>
#include <string>

namespace takt::line {

class Source {
 public:
  virtual ~Source() = default;  // stops and joins its threads

  // Blocks until the next frame, in order; nullopt at the end, or after stop(), and from then on.
  // A frame that can't be read comes all the same, with `damage` (invalid_input: its files;
  // out_of_memory: no slot came free within the source's slot_wait_max) and the images that could
  // be read: nothing is thrown and no trigger is lost. Every image of one frame lies in one slot,
  // one dense plane after another in the order of `images`, so that a backend can take them as one
  // tensor of several channels.
  [[nodiscard]] virtual std::optional<Frame> next() = 0;

  // Wakes a next() that blocks. Frames that were not handed out yet are dropped: they have not
  // been accepted.
  virtual void stop() noexcept = 0;

  // For a person: "folder boards/ ({id}_test.png, {id}_temp.png), 1000 frames".
  [[nodiscard]] virtual std::string describe() const = 0;

  // The time between frames that the source keeps; zero when it gives them as fast as they are taken.
  [[nodiscard]] virtual Duration interval() const = 0;

  // Frames that next() gives in all; nullopt when there is no end.
  [[nodiscard]] virtual std::optional<std::uint64_t> total() const = 0;
};

}  // namespace takt::line
