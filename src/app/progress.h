// SPDX-License-Identifier: Apache-2.0
// Progress of anything that takes longer than two seconds, on standard error.
// Thread-safe: no; one thread reports.
// Owns: the current line of the terminal.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace takt::app {

// On a terminal one line is redrawn, at most ten times a second; elsewhere (a log, CI) a line is
// printed every five seconds and at the end.
class Progress {
 public:
  // `total` 0: unknown, only the count is shown.
  Progress(std::string what, std::uint64_t total);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void update(std::uint64_t done, const std::string& detail = {});
  void finish(const std::string& detail = {});

 private:
  [[nodiscard]] std::string line(std::uint64_t done, const std::string& detail) const;

  const std::string what_;
  const std::uint64_t total_;
  const bool terminal_;
  const std::chrono::steady_clock::time_point start_;
  std::chrono::steady_clock::time_point drawn_;
  std::uint64_t done_ = 0;
  bool finished_ = false;
};

[[nodiscard]] bool stderr_is_terminal();
[[nodiscard]] bool stdout_is_terminal();

}  // namespace takt::app
