// SPDX-License-Identifier: Apache-2.0
// Layouts of made-up printed circuit boards: tracks, pads, vias, pin rows, ground areas.
// Thread-safe: one thread writes a BoardLayout, then any number read.
// Owns: the map.
#pragma once

#include "core/image.h"
#include "line/board_random.h"
#include "line/copper_map.h"

#include <vector>

namespace takt::line {

struct BoardLayout {
  CopperMap copper;
  std::vector<Box> holes;  // drilled, in pixels
};

// The board is cut into cells; each holds one motif, clear of its neighbours.
[[nodiscard]] BoardLayout make_layout(BoardRandom random);

}  // namespace takt::line
