// SPDX-License-Identifier: Apache-2.0
#include "app/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>

namespace takt::app {

using namespace std::chrono_literals;

bool stderr_is_terminal() {
  return ::isatty(STDERR_FILENO) == 1;
}
bool stdout_is_terminal() {
  return ::isatty(STDOUT_FILENO) == 1;
}

Progress::Progress(std::string what, std::uint64_t total)
    : what_(std::move(what)),
      total_(total),
      terminal_(stderr_is_terminal()),
      start_(std::chrono::steady_clock::now()),
      drawn_(start_) {}

Progress::~Progress() {
  if (!finished_ && terminal_ && drawn_ != start_) std::fputs("\n", stderr);
}

std::string Progress::line(std::uint64_t done, const std::string& detail) const {
  const double elapsed_s =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  const double rate = elapsed_s > 0 ? static_cast<double>(done) / elapsed_s : 0;
  if (total_ == 0) return fmt::format("{} {} ({:.1f}/s) {}", what_, done, rate, detail);

  constexpr std::size_t kCells = 24;
  const double share = std::min(1.0, static_cast<double>(done) / static_cast<double>(total_));
  const auto filled = static_cast<std::size_t>(share * kCells);
  const double left_s = rate > 0 ? static_cast<double>(total_ - std::min(done, total_)) / rate : 0;
  return fmt::format("{} [{}{}] {}/{} ({:.1f}/s, {:.0f} s left) {}", what_,
                     std::string(filled, '#'), std::string(kCells - filled, '.'), done, total_,
                     rate, left_s, detail);
}

void Progress::update(std::uint64_t done, const std::string& detail) {
  done_ = done;
  const auto now = std::chrono::steady_clock::now();
  if (now - drawn_ < (terminal_ ? 100ms : 5000ms)) return;
  drawn_ = now;
  const std::string text = line(done, detail);
  if (terminal_) {
    fmt::print(stderr, "\r\x1b[2K{}", text);
  } else {
    fmt::print(stderr, "{}\n", text);
  }
  std::fflush(stderr);
}

void Progress::finish(const std::string& detail) {
  finished_ = true;
  const double elapsed_s =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  fmt::print(stderr, "{}{}: {} in {:.1f} s {}\n", terminal_ ? "\r\x1b[2K" : "", what_, done_,
             elapsed_s, detail);
}

}  // namespace takt::app
