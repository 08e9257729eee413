// SPDX-License-Identifier: Apache-2.0
#include "ipc/process.h"

#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <system_error>
#include <utility>

extern char** environ;

namespace takt::ipc {
namespace {

std::string ending(int status) {
  if (WIFSIGNALED(status)) {
    const int signal = WTERMSIG(status);
    return "killed by signal " + std::to_string(signal) + " (" + ::strsignal(signal) + ")";
  }
  return "exit code " + std::to_string(WEXITSTATUS(status));
}

// What posix_spawn needs beside the program.
class SpawnSetup {
 public:
  SpawnSetup() {
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawnattr_init(&attributes);
  }
  ~SpawnSetup() {
    ::posix_spawn_file_actions_destroy(&actions);
    ::posix_spawnattr_destroy(&attributes);
  }
  SpawnSetup(const SpawnSetup&) = delete;
  SpawnSetup& operator=(const SpawnSetup&) = delete;

  [[nodiscard]] int prepare(int control) {
    sigset_t none;
    sigset_t all;
    ::sigemptyset(&none);
    ::sigfillset(&all);
    int error = ::posix_spawn_file_actions_adddup2(&actions, control, kControlDescriptor);
    if (error == 0) {
      error = ::posix_spawn_file_actions_addclosefrom_np(&actions, kControlDescriptor + 1);
    }
    if (error == 0) error = ::posix_spawnattr_setsigmask(&attributes, &none);
    if (error == 0) error = ::posix_spawnattr_setsigdefault(&attributes, &all);
    if (error == 0) {
      error =
          ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    }
    return error;
  }

  posix_spawn_file_actions_t actions{};
  posix_spawnattr_t attributes{};
};

}  // namespace

Result<Process> Process::start(const std::filesystem::path& program,
                               const std::vector<std::string>& arguments,
                               const Descriptor& control) {
  const auto failed = [&program](int error) {
    return fail(ErrorKind::unavailable, "can't start " + program.string() + ": " +
                                            std::generic_category().message(error) +
                                            "; look at the limit on processes (ulimit -u)");
  };
  std::vector<std::string> words{program.string()};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  argv.reserve(words.size() + 1);
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);

  SpawnSetup setup;
  // dup2 onto itself would leave close-on-exec set.
  Descriptor moved;
  int number = control.get();
  if (number == kControlDescriptor) {
    moved.reset(::dup(number));
    number = moved.get();
  }
  if (const int error = setup.prepare(number); error != 0) return failed(error);
  Process child;
  if (const int error = ::posix_spawn(&child.pid_, program.c_str(), &setup.actions,
                                      &setup.attributes, argv.data(), environ);
      error != 0) {
    child.pid_ = -1;
    return failed(error);
  }
  // Nobody else reaps it, so the number can't be another process's.
  child.ended_.reset(static_cast<int>(::syscall(SYS_pidfd_open, child.pid_, 0)));
  if (!child.ended_) return failed(errno);
  return child;
}

Process::~Process() {
  if (pid_ <= 0) return;
  kill();
  static_cast<void>(wait(std::chrono::hours(1)));
}

void Process::kill() noexcept {
  if (pid_ > 0) ::kill(pid_, SIGKILL);
}

std::optional<std::string> Process::wait(Duration wait_max) {
  if (pid_ <= 0) return "ended before";
  const auto end = std::chrono::steady_clock::now() + wait_max;
  while (true) {
    int status = 0;
    const pid_t reaped = ::waitpid(pid_, &status, WNOHANG);
    if (reaped == pid_ || (reaped < 0 && errno == ECHILD)) {
      pid_ = -1;
      ended_.reset();
      return reaped < 0 ? "reaped by somebody else" : ending(status);
    }
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
    if (left.count() <= 0) return std::nullopt;
    pollfd watched{.fd = ended_.get(), .events = POLLIN, .revents = 0};
    ::poll(&watched, 1, static_cast<int>(std::min<std::int64_t>(left.count(), 60'000)));
  }
}

bool follow_parent(pid_t parent) noexcept {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::signal(SIGINT, SIG_IGN);
  ::signal(SIGTERM, SIG_IGN);
  ::signal(SIGHUP, SIG_IGN);
  ::signal(SIGPIPE, SIG_IGN);
  return ::getppid() == parent;
}

}  // namespace takt::ipc
