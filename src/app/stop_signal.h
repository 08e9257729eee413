// SPDX-License-Identifier: Apache-2.0
// Ctrl-C and SIGTERM as something that a thread can wait for.
// Thread-safe: wait_for and requested from any thread; one object a process.
// Owns: the disposition of SIGINT and SIGTERM, and an eventfd.
#pragma once

#include "core/time.h"

namespace takt::app {

// The first signal asks for a drained stop; a second one ends the process at once (exit code 130).
class StopSignal {
 public:
  StopSignal();
  ~StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;

  // True once a signal has come; waits for it for at most `timeout`.
  [[nodiscard]] bool wait_for(Duration timeout) const;
  [[nodiscard]] bool requested() const;

 private:
  int event_;
};

}  // namespace takt::app
