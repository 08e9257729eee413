// SPDX-License-Identifier: Apache-2.0
// The source board-simulator: made-up printed circuit boards with known defects, so that a line can
// score itself without any data. Its pictures are drawn, not taken from a data set.
// Thread-safe: as Source.
// Owns: the renderer and its layouts.
#pragma once

#include "core/result.h"
#include "core/time.h"
#include "line/board_renderer.h"
#include "line/source.h"
#include "memory/slot_pool.h"

#include <cstdint>
#include <memory>
#include <string>

namespace takt::line {

struct BoardSimulatorOptions {
  BoardOptions boards;
  std::uint64_t frames = 0;      // 0: without end
  double frames_per_second = 0;  // 0: as fast as the line takes them
  std::string board_role = "board";
  std::string golden_role = "golden";
  std::string name_prefix = "board";  // frames and parts are "board-00000001", ...
  std::string recipe;
  Duration slot_wait_max = std::chrono::seconds(60);  // as FolderOptions
};

// Gray images of 640 x 640, board first, then golden, with known_defects set and truth_known true.
// `clock` must outlive the source. Errors: invalid_input (a number out of range).
[[nodiscard]] Result<std::unique_ptr<Source>> make_board_simulator(BoardSimulatorOptions options,
                                                                   std::shared_ptr<SlotPool> pool,
                                                                   const Clock& clock);

}  // namespace takt::line
