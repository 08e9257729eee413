// SPDX-License-Identifier: Apache-2.0
// Simulated boards for the benchmark: decoded in slots, or as PNG pairs in a folder.
// Thread-safe: next() from one thread, stop() from any; make and write from one.
// Owns: the slots of its boards, filled once and shared by every frame that shows them.
#pragma once

#include "core/result.h"
#include "line/board_renderer.h"
#include "line/source.h"
#include "memory/slot_pool.h"

#include <condition_variable>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace takt::bench {

// A frame whose pixels lie decoded in one slot, board first, then golden.
struct Board {
  line::Frame frame;
  [[nodiscard]] const std::vector<line::KnownDefect>& defects() const {
    return frame.known_defects;
  }
};

// Boards 0 .. count - 1 of the simulator's first series; `side` below the boards' own cuts out
// their middle. Errors: out_of_memory.
[[nodiscard]] Result<std::vector<Board>> make_boards(int count, int side = line::kBoardSide);

// The same boards as DIR/00000000_test.png and DIR/00000000_temp.png, one bit a pixel. Errors:
// unavailable.
[[nodiscard]] Result<void> write_boards(int count, const std::filesystem::path& directory);

// Shows the boards in turn, as fast as the line takes them, and stops before each mark until it is
// told to go on. No pixel is copied.
class MemorySource final : public line::Source {
 public:
  explicit MemorySource(std::vector<Board> boards) : boards_(std::move(boards)) {}

  std::optional<line::Frame> next() override;
  void stop() noexcept override;
  [[nodiscard]] std::string describe() const override { return "decoded boards in memory"; }
  [[nodiscard]] Duration interval() const override { return {}; }
  [[nodiscard]] std::optional<std::uint64_t> total() const override { return std::nullopt; }

  // Lets `frames` go out in all, from the start; without a call there is no limit.
  void allow(std::uint64_t frames);

 private:
  const std::vector<Board> boards_;
  std::mutex mutex_;
  std::condition_variable changed_;
  // Guarded by mutex_:
  std::uint64_t allowed_ = UINT64_MAX;
  std::uint64_t given_ = 0;
  bool stopped_ = false;
};

}  // namespace takt::bench
