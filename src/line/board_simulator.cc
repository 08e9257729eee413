// SPDX-License-Identifier: Apache-2.0
#include "line/board_simulator.h"

#include "line/capture.h"
#include "line/pacer.h"
#include "line/stop_signal.h"

#include <cmath>
#include <cstdio>
#include <utility>

namespace takt::line {
namespace {

class BoardSimulator final : public Source {
 public:
  BoardSimulator(BoardSimulatorOptions options, std::shared_ptr<SlotPool> pool, const Clock& clock)
      : options_(std::move(options)),
        pool_(std::move(pool)),
        clock_(clock),
        pacer_(options_.frames_per_second, clock, stop_),
        renderer_(options_.boards) {}

  std::optional<Frame> next() override {
    const bool ended = options_.frames != 0 && made_ == options_.frames;
    if (ended || !pacer_.wait()) return std::nullopt;
    Frame frame;
    Result<Capture> capture = take_capture(*pool_, {kBoardSide, kBoardSide, PixelFormat::gray8, 2},
                                           options_.slot_wait_max, stop_);
    if (capture) {
      frame.known_defects = renderer_.render(made_, capture->plane(1), capture->plane(0));
      frame.images = {capture->image(0, options_.board_role),
                      capture->image(1, options_.golden_role)};
      frame.truth_known = true;
    } else if (capture.error().kind == ErrorKind::cancelled) {
      return std::nullopt;
    } else {
      frame.damage = std::move(capture).error();
    }
    frame.trigger_seq = ++made_;
    frame.name = name_of(frame.trigger_seq);
    frame.part_id = frame.name;
    frame.recipe = options_.recipe;
    frame.captured = clock_.now();
    frame.captured_wall_us = clock_.wall_time_us();
    return frame;
  }

  void stop() noexcept override { stop_.raise(); }

  std::string describe() const override {
    std::string text = "board-simulator, seed " + std::to_string(options_.boards.seed);
    if (options_.frames != 0) text += ", " + std::to_string(options_.frames) + " frames";
    return text;
  }

  Duration interval() const override { return pacer_.interval(); }

  std::optional<std::uint64_t> total() const override {
    if (options_.frames == 0) return std::nullopt;
    return options_.frames;
  }

 private:
  [[nodiscard]] std::string name_of(std::uint64_t number) const {
    std::string digits = std::to_string(number);
    if (digits.size() < 8) digits.insert(0, 8 - digits.size(), '0');
    return options_.name_prefix + "-" + digits;
  }

  const BoardSimulatorOptions options_;
  const std::shared_ptr<SlotPool> pool_;
  const Clock& clock_;
  StopSignal stop_;

  // Of the thread that calls next():
  Pacer pacer_;
  BoardRenderer renderer_;
  std::uint64_t made_ = 0;
};

Result<void> check_options(const BoardSimulatorOptions& options) {
  const auto refuse = [](const std::string& message) {
    return fail(ErrorKind::invalid_input, "board-simulator: " + message);
  };
  const BoardOptions& boards = options.boards;
  if (!std::isfinite(options.frames_per_second) || options.frames_per_second < 0) {
    return refuse("frames_per_second must be 0 (no limit) or more");
  }
  if (boards.layouts < 1 || boards.layouts > 256) {
    return refuse("layouts is " + std::to_string(boards.layouts) + "; expected 1 to 256");
  }
  if (boards.defect_free_percent < 0 || boards.defect_free_percent > 100) {
    return refuse("defect_free_percent is " + std::to_string(boards.defect_free_percent) +
                  "; expected 0 to 100");
  }
  if (boards.defects_min < 1 || boards.defects_max > 32 ||
      boards.defects_min > boards.defects_max) {
    return refuse("defects_min and defects_max are " + std::to_string(boards.defects_min) +
                  " and " + std::to_string(boards.defects_max) +
                  "; expected 1 <= defects_min <= defects_max <= 32");
  }
  for (const float pixels : {boards.registration_px_max, boards.edge_noise_px}) {
    if (!(pixels >= 0 && pixels <= 2)) {
      return refuse("registration_px_max and edge_noise_px must be 0 to 2");
    }
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<Source>> make_board_simulator(BoardSimulatorOptions options,
                                                     std::shared_ptr<SlotPool> pool,
                                                     const Clock& clock) {
  if (Result<void> checked = check_options(options); !checked) {
    return std::unexpected(std::move(checked).error());
  }
  return std::make_unique<BoardSimulator>(std::move(options), std::move(pool), clock);
}

}  // namespace takt::line
