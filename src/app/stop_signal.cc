// SPDX-License-Identifier: Apache-2.0
#include "app/stop_signal.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>

namespace takt::app {
namespace {

// A signal handler may touch only this.
std::atomic<int> signal_event{-1};
std::atomic<int> signals_seen{0};

extern "C" void on_stop_signal(int /*number*/) {
  constexpr int kExitInterrupted = 130;
  if (signals_seen.fetch_add(1) > 0) ::_exit(kExitInterrupted);
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto written = ::write(signal_event.load(), &one, sizeof(one));
}

}  // namespace

StopSignal::StopSignal() : event_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  signal_event.store(event_);
  signals_seen.store(0);
  struct sigaction action{};
  action.sa_handler = &on_stop_signal;
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
}

StopSignal::~StopSignal() {
  ::signal(SIGINT, SIG_DFL);
  ::signal(SIGTERM, SIG_DFL);
  signal_event.store(-1);
  ::close(event_);
}

bool StopSignal::wait_for(Duration timeout) const {
  pollfd poll_event{.fd = event_, .events = POLLIN, .revents = 0};
  ::poll(&poll_event, 1,
         static_cast<int>(std::chrono::duration_cast<std::chrono::milliseconds>(timeout).count()));
  return requested();
}

bool StopSignal::requested() const {
  return signals_seen.load() > 0;
}

}  // namespace takt::app
