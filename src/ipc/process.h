// SPDX-License-Identifier: Apache-2.0
// A child process: started, watched by a descriptor, ended and reaped.
// Thread-safe: no; start and destroy it on one thread, because the kernel ties the child's life to
// the thread that started it (PR_SET_PDEATHSIG).
// Owns: the child. The destructor kills and reaps it.
#pragma once

#include "core/result.h"
#include "core/time.h"
#include "ipc/descriptor.h"

#include <sys/types.h>

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace takt::ipc {

// The descriptor under which a child finds its control socket.
inline constexpr int kControlDescriptor = 3;

class Process {
 public:
  Process() = default;
  Process(Process&& other) noexcept { swap(other); }
  Process& operator=(Process&& other) noexcept {
    Process taken(std::move(other));
    swap(taken);
    return *this;
  }
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  // Runs `program` with `arguments` (argv[0] is the program). The child has standard streams and
  // `control` as descriptor 3, nothing else of ours, and no signal mask. Errors: unavailable.
  [[nodiscard]] static Result<Process> start(const std::filesystem::path& program,
                                             const std::vector<std::string>& arguments,
                                             const Descriptor& control);

  [[nodiscard]] explicit operator bool() const noexcept { return pid_ > 0; }
  [[nodiscard]] pid_t pid() const noexcept { return pid_; }
  // Readable when the child has ended.
  [[nodiscard]] int descriptor() const noexcept { return ended_.get(); }
  void kill() noexcept;  // SIGKILL; it is reaped by wait()
  // How it ended, in words ("exit code 1", "killed by signal 9 (Killed)"); nothing while it runs
  // after `wait_max`.
  [[nodiscard]] std::optional<std::string> wait(Duration wait_max);

 private:
  void swap(Process& other) noexcept {
    std::swap(pid_, other.pid_);
    std::swap(ended_, other.ended_);
  }

  pid_t pid_ = -1;
  Descriptor ended_;
};

// In the child, first thing: it dies with the thread that started it, and what ends the parent's
// process group (Ctrl-C) is the parent's to pass on. False when the parent is gone already.
[[nodiscard]] bool follow_parent(pid_t parent) noexcept;

}  // namespace takt::ipc
