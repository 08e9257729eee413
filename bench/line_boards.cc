// SPDX-License-Identifier: Apache-2.0
#include "line_boards.h"

#include "image/encode.h"

#include <fmt/format.h>

#include <array>
#include <cstring>
#include <fstream>
#include <span>
#include <utility>

namespace takt::bench {
namespace {

using line::kBoardPixels;
using line::kBoardSide;

struct Pictures {
  std::vector<std::uint8_t> golden = std::vector<std::uint8_t>(kBoardPixels);
  std::vector<std::uint8_t> board = std::vector<std::uint8_t>(kBoardPixels);
};

void cut_middle(std::span<const std::uint8_t> picture, int side, std::uint8_t* to) {
  const int begin = (kBoardSide - side) / 2;
  for (int y = 0; y < side; ++y) {
    std::memcpy(to + static_cast<std::ptrdiff_t>(y) * side,
                picture.data() + static_cast<std::ptrdiff_t>(begin + y) * kBoardSide + begin,
                static_cast<std::size_t>(side));
  }
}

Result<void> write_png(std::span<const std::uint8_t> pixels, const std::filesystem::path& file) {
  std::vector<std::byte> png;
  const ImageView view{pixels.data(), kBoardSide, kBoardSide, kBoardSide, PixelFormat::gray8};
  if (Result<void> encoded = encode_png(view, png); !encoded) return encoded;
  std::ofstream stream(file, std::ios::binary);
  stream.write(reinterpret_cast<const char*>(png.data()), static_cast<std::streamsize>(png.size()));
  stream.flush();
  if (!stream) return fail(ErrorKind::unavailable, file.string() + ": can't be written");
  return {};
}

}  // namespace

Result<std::vector<Board>> make_boards(int count, int side) {
  const std::size_t plane = static_cast<std::size_t>(side) * static_cast<std::size_t>(side);
  const std::array classes{SizeClass{2 * plane, static_cast<std::uint32_t>(count)}};
  Result<std::shared_ptr<SlotPool>> pool = SlotPool::create("bench-boards", classes);
  if (!pool) return std::unexpected(pool.error());
  line::BoardRenderer renderer({});
  Pictures pictures;
  std::vector<Board> boards;
  for (int i = 0; i < count; ++i) {
    Result<Slot> slot = (*pool)->acquire(2 * plane);
    if (!slot) return std::unexpected(slot.error());
    line::Frame frame;
    frame.name = frame.part_id = fmt::format("board-{:08}", i);
    frame.known_defects =
        renderer.render(static_cast<std::uint64_t>(i), pictures.golden, pictures.board);
    frame.truth_known = true;
    auto* pixels = reinterpret_cast<std::uint8_t*>(slot->bytes().data());
    cut_middle(pictures.board, side, pixels);
    cut_middle(pictures.golden, side, pixels + plane);
    for (const auto& [role, at] : {std::pair{"board", pixels}, {"golden", pixels + plane}}) {
      frame.images.push_back({role, {at, side, side, side, PixelFormat::gray8}, *slot});
    }
    boards.push_back({std::move(frame)});
  }
  return boards;
}

Result<void> write_boards(int count, const std::filesystem::path& directory) {
  std::filesystem::create_directories(directory);
  line::BoardRenderer renderer({});
  Pictures pictures;
  for (int i = 0; i < count; ++i) {
    (void)renderer.render(static_cast<std::uint64_t>(i), pictures.golden, pictures.board);
    const std::string id = fmt::format("{:08}", i);
    Result<void> written = write_png(pictures.board, directory / (id + "_test.png"));
    if (written) written = write_png(pictures.golden, directory / (id + "_temp.png"));
    if (!written) return written;
  }
  return {};
}

std::optional<line::Frame> MemorySource::next() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return stopped_ || given_ < allowed_; });
  if (stopped_) return std::nullopt;
  const std::uint64_t number = given_++;
  lock.unlock();
  line::Frame frame = boards_[number % boards_.size()].frame;
  frame.trigger_seq = number + 1;
  frame.captured = SystemClock().now();
  frame.captured_wall_us = SystemClock().wall_time_us();
  return frame;
}

void MemorySource::stop() noexcept {
  {
    const std::scoped_lock lock(mutex_);
    stopped_ = true;
  }
  changed_.notify_all();
}

void MemorySource::allow(std::uint64_t frames) {
  {
    const std::scoped_lock lock(mutex_);
    allowed_ = frames;
  }
  changed_.notify_all();
}

}  // namespace takt::bench
