// SPDX-License-Identifier: Apache-2.0
// The live terminal view of a running line.
// Thread-safe: on_verdict on the line's thread; draw, on_event and close on the main thread.
// Owns: the lines of the terminal that it draws on.
#pragma once

#include "app/demo_score.h"
#include "app/runtime.h"
#include "line/sink.h"

#include <deque>
#include <mutex>
#include <string>

namespace takt::app {

class LiveView final : public line::VerdictObserver {
 public:
  explicit LiveView(std::string title);
  ~LiveView() override;

  void on_verdict(const line::VerdictRecord& record) override;
  // Draws over what it drew before.
  void draw(const line::LineStats& stats, const EngineStats& engine, const Score& score,
            double elapsed_s, double total_s);
  // Shown until the next one.
  void on_event(const std::string& line) { last_event_ = line; }
  // Leaves the last picture standing.
  void close();

 private:
  [[nodiscard]] std::string picture(const line::LineStats& stats, const EngineStats& engine,
                                    const Score& score, double elapsed_s, double total_s);

  const std::string title_;
  int drawn_lines_ = 0;
  std::string last_event_;
  std::mutex mutex_;
  std::deque<std::string> recent_;  // guarded by mutex_: the last verdicts, newest first
};

}  // namespace takt::app
