// SPDX-License-Identifier: Apache-2.0
#include "line/board_renderer.h"

#include "line/board_layout.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace takt::line {
namespace {

// The noise repeats after this many pixels in x and y; each picture begins somewhere else in it.
constexpr int kNoisePeriod = 256;
constexpr int kNoiseStride = kNoisePeriod + kBoardSide;  // so that a row never wraps
constexpr int kFine = 256;                               // units of a pixel in what is thresholded

constexpr std::uint64_t kNoiseStream = 1;
constexpr std::uint64_t kLayoutStream = 2;
constexpr std::uint64_t kBoardStream = std::uint64_t{1} << 32;

std::size_t noise_index(int x, int y, int stride) {
  return static_cast<std::size_t>(y) * static_cast<std::size_t>(stride) +
         static_cast<std::size_t>(x);
}

// Values at the corners of squares of `cell` pixels, linear between them, around zero.
void add_smooth_noise(std::vector<int>& field, int cell, int amplitude, BoardRandom& random) {
  const int cells = kNoisePeriod / cell;
  const auto stride = static_cast<std::size_t>(cells);
  std::vector<int> corners(stride * stride);
  for (int& corner : corners) corner = random.between(-amplitude, amplitude);
  const auto corner = [&](int x, int y) {
    return corners[static_cast<std::size_t>(y % cells) * stride +
                   static_cast<std::size_t>(x % cells)];
  };
  for (int y = 0; y < kNoisePeriod; ++y) {
    for (int x = 0; x < kNoisePeriod; ++x) {
      const int fx = x % cell;
      const int fy = y % cell;
      const int top =
          corner(x / cell, y / cell) * (cell - fx) + corner(x / cell + 1, y / cell) * fx;
      const int low =
          corner(x / cell, y / cell + 1) * (cell - fx) + corner(x / cell + 1, y / cell + 1) * fx;
      field[noise_index(x, y, kNoisePeriod)] += (top * (cell - fy) + low * fy) / (cell * cell);
    }
  }
}

std::vector<std::int16_t> make_noise(std::uint64_t seed, int amplitude) {
  BoardRandom random(seed, kNoiseStream);
  std::vector<int> field(static_cast<std::size_t>(kNoisePeriod) * kNoisePeriod, 0);
  add_smooth_noise(field, 16, amplitude, random);
  add_smooth_noise(field, 4, amplitude, random);
  for (int& value : field) value += random.between(-amplitude / 2, amplitude / 2);
  std::vector<std::int16_t> noise(static_cast<std::size_t>(kNoisePeriod) * kNoiseStride);
  for (int y = 0; y < kNoisePeriod; ++y) {
    for (int x = 0; x < kNoiseStride; ++x) {
      noise[noise_index(x, y, kNoiseStride)] =
          static_cast<std::int16_t>(field[noise_index(x % kNoisePeriod, y, kNoisePeriod)]);
    }
  }
  return noise;
}

int to_units(float pixels, int units) {
  return static_cast<int>(std::lround(pixels * static_cast<float>(units)));
}

}  // namespace

// How one picture was taken.
struct BoardRenderer::Exposure {
  Point shift;   // of the copper, in 1/16 pixel
  int bias = 0;  // how much the threshold widens copper, in 1/256 pixel
  int noise_x = 0;
  int noise_y = 0;
};

BoardRenderer::BoardRenderer(BoardOptions options)
    : options_(options),
      layouts_(static_cast<std::size_t>(options.layouts)),
      noise_(make_noise(options.seed, to_units(options.edge_noise_px, kFine))) {}

const BoardLayout& BoardRenderer::layout(std::uint64_t index) {
  BoardRandom choice(options_.seed, kBoardStream + index);
  const auto number = static_cast<std::size_t>(choice.below(options_.layouts));
  std::unique_ptr<BoardLayout>& made = layouts_[number];
  if (made == nullptr) {
    made = std::make_unique<BoardLayout>(
        make_layout(BoardRandom(options_.seed, kLayoutStream + number)));
  }
  return *made;
}

BoardRenderer::Exposure BoardRenderer::random_exposure(BoardRandom& random, int shift_max) const {
  Exposure exposure;
  exposure.shift = {random.between(-shift_max, shift_max), random.between(-shift_max, shift_max)};
  exposure.bias = random.between(-kFine / 3, kFine / 3);
  exposure.noise_x = random.below(kNoisePeriod);
  exposure.noise_y = random.below(kNoisePeriod);
  return exposure;
}

// Interpolates the depths between pixels, lets the edges wander, and thresholds. In 16 bits
// throughout (28 pixels in 1/256 fit), so that eight pixels are done at once.
void BoardRenderer::expose(const CopperMap& map, const Exposure& exposure,
                           std::span<std::uint8_t> pixels) const {
  // Arithmetic shift: floor, so that the remainder is 0..15.
  const int whole_x = exposure.shift.x >> 4;
  const int whole_y = exposure.shift.y >> 4;
  const auto fx = static_cast<std::int16_t>(exposure.shift.x & 15);
  const auto fy = static_cast<std::int16_t>(exposure.shift.y & 15);
  const auto gx = static_cast<std::int16_t>(16 - fx);
  const auto gy = static_cast<std::int16_t>(16 - fy);
  const auto bias = static_cast<std::int16_t>(exposure.bias);
  for (int y = 0; y < kBoardSide; ++y) {
    const std::int16_t* upper = map.row(y + whole_y) + whole_x;
    const std::int16_t* lower = map.row(y + whole_y + 1) + whole_x;
    const std::int16_t* noise =
        noise_.data() +
        static_cast<std::ptrdiff_t>((y + exposure.noise_y) % kNoisePeriod) * kNoiseStride +
        exposure.noise_x;
    std::uint8_t* target = pixels.data() + static_cast<std::ptrdiff_t>(y) * kBoardSide;
    for (int x = 0; x < kBoardSide; ++x) {
      const auto top = static_cast<std::int16_t>((upper[x] * gx + upper[x + 1] * fx) >> 4);
      const auto low = static_cast<std::int16_t>((lower[x] * gx + lower[x + 1] * fx) >> 4);
      const auto depth = static_cast<std::int16_t>(top * gy + low * fy + noise[x] + bias);
      target[x] = depth > 0 ? kCopperPixel : kBasePixel;
    }
  }
}

Point BoardRenderer::render_pair(std::uint64_t index, BoardRandom& random,
                                 std::span<std::uint8_t> golden, std::span<std::uint8_t> board) {
  const CopperMap& map = layout(index).copper;
  expose(map, random_exposure(random, 0), golden);
  const Exposure exposure =
      random_exposure(random, to_units(options_.registration_px_max, kSubpixels));
  expose(map, exposure, board);
  return {exposure.shift.x >> 4, exposure.shift.y >> 4};
}

void BoardRenderer::render_clean(std::uint64_t index, std::span<std::uint8_t> golden,
                                 std::span<std::uint8_t> board) {
  BoardRandom random(options_.seed, ~(kBoardStream + index));
  render_pair(index, random, golden, board);
}

std::vector<KnownDefect> BoardRenderer::render(std::uint64_t index, std::span<std::uint8_t> golden,
                                               std::span<std::uint8_t> board) {
  BoardRandom random(options_.seed, ~(kBoardStream + index));
  const Point shift = render_pair(index, random, golden, board);
  std::vector<KnownDefect> defects;
  if (random.percent(options_.defect_free_percent)) return defects;
  const int count = random.between(options_.defects_min, options_.defects_max);
  const BoardLayout& drawn = layout(index);
  std::vector<Box> taken;
  std::array<int, kDefectTypeCount> missed{};
  // Most attempts fail on purpose (see DefectPainter); a type that finds no place on this board
  // leaves its turn to the others.
  constexpr int kAttemptsMax = 600;
  constexpr int kMissesMax = 40;
  int turn = random.below(kDefectTypeCount);
  for (int attempt = 0; attempt < kAttemptsMax && std::ssize(defects) < count; ++attempt) {
    const int type = turn % kDefectTypeCount;
    if (missed[static_cast<std::size_t>(type)] >= kMissesMax) {
      ++turn;
      continue;
    }
    const auto wanted = static_cast<DefectType>(type);
    if (const std::optional<Box> box = painter_.draw(board, drawn, shift, wanted, taken, random)) {
      taken.push_back(*box);
      defects.push_back({std::string(to_string(wanted)), *box});
      turn += random.between(1, kDefectTypeCount);
    } else {
      ++missed[static_cast<std::size_t>(type)];
    }
  }
  return defects;
}

}  // namespace takt::line
