// SPDX-License-Identifier: Apache-2.0
#include "line_infer_clock.h"

#include <dlfcn.h>
#include <pthread.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cctype>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <set>

namespace takt::bench {
namespace {

constexpr const char* kInstanceThread = "takt-infer";

std::atomic<std::uint64_t> infer_calls{0};
std::atomic<std::int64_t> infer_ns{0};

// Threads that have called infer().
class Callers {
 public:
  bool add() {
    const std::scoped_lock lock(mutex_);
    return ids_.insert(::gettid()).second;
  }
  bool contains(pid_t id) {
    const std::scoped_lock lock(mutex_);
    return ids_.contains(id);
  }

 private:
  std::mutex mutex_;
  std::set<pid_t> ids_;  // guarded by mutex_
};

Callers& callers() {
  static Callers all;
  return all;
}

std::int64_t clock_ns(clockid_t clock) {
  timespec time{};
  ::clock_gettime(clock, &time);
  return static_cast<std::int64_t>(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
}

// infer() may throw.
class Stopwatch {
 public:
  Stopwatch() : start_ns_(clock_ns(CLOCK_THREAD_CPUTIME_ID)) {
    thread_local const bool added = callers().add();
    (void)added;
  }
  ~Stopwatch() {
    infer_ns += clock_ns(CLOCK_THREAD_CPUTIME_ID) - start_ns_;
    ++infer_calls;
  }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

 private:
  const std::int64_t start_ns_;
};

std::string without_number(std::string name) {
  const auto numbered = [](char c) {
    return std::isdigit(static_cast<unsigned char>(c)) != 0 || c == '-';
  };
  while (!name.empty() && numbered(name.back())) name.pop_back();
  return name;
}

bool is_openvino(const std::string& name, pid_t id) {
  return name == kOpenVinoThread || (name == kInstanceThread && !callers().contains(id));
}

}  // namespace

ThreadNameScope::ThreadNameScope() {
  std::array<char, 16> name{};
  ::pthread_getname_np(::pthread_self(), name.data(), name.size());
  before_ = name.data();
  ::pthread_setname_np(::pthread_self(), kOpenVinoThread);
}

ThreadNameScope::~ThreadNameScope() {
  ::pthread_setname_np(::pthread_self(), before_.c_str());
}

CpuUse cpu_use() {
  CpuUse use;
  use.process_s = static_cast<double>(clock_ns(CLOCK_PROCESS_CPUTIME_ID)) * 1e-9;
  use.inference_s = static_cast<double>(infer_ns.load()) * 1e-9;
  use.infer_calls = infer_calls.load();
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    std::ifstream comm(task.path() / "comm");
    std::ifstream schedstat(task.path() / "schedstat");
    std::string name;
    double cpu_ns = 0;
    if (!std::getline(comm, name) || !(schedstat >> cpu_ns)) continue;  // it has just ended
    name = without_number(name);
    if (is_openvino(name, std::stoi(task.path().filename().string()))) {
      name = kOpenVinoThread;
      use.inference_s += cpu_ns * 1e-9;
    }
    use.live_threads_s[name] += cpu_ns * 1e-9;
  }
  return use;
}

}  // namespace takt::bench

// Every call of void ov::InferRequest::infer() comes here: the program's symbols are looked up before
// those of any library, also by takt-openvino.so.
extern "C" void infer_of_openvino(void* self) asm("_ZN2ov12InferRequest5inferEv");

extern "C" void infer_of_openvino(void* self) {
  static auto* const real =
      reinterpret_cast<void (*)(void*)>(::dlsym(RTLD_NEXT, "_ZN2ov12InferRequest5inferEv"));
  const takt::bench::Stopwatch stopwatch;
  real(self);
}
