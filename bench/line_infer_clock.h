// SPDX-License-Identifier: Apache-2.0
// How much of the process's CPU time was inference: OpenVINO's threads, and calls of infer().
// Thread-safe: every function from any thread; ThreadNameScope names the calling thread.
// Owns: counters. The program has OpenVINO's symbol, so that every call of infer() passes here.
#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace takt::bench {

// While it lives, threads that the calling thread starts are called kOpenVinoThread, unless they
// name themselves. A model's threads are started while it is loaded, or later by those threads.
inline constexpr const char* kOpenVinoThread = "openvino";
class ThreadNameScope {
 public:
  ThreadNameScope();
  ~ThreadNameScope();
  ThreadNameScope(const ThreadNameScope&) = delete;
  ThreadNameScope& operator=(const ThreadNameScope&) = delete;

 private:
  std::string before_;
};

struct CpuUse {
  double process_s = 0;
  // Inside infer() on the threads that call it, and all of OpenVINO's own threads: those called
  // kOpenVinoThread, and those that inherited the name of an instance's thread.
  double inference_s = 0;
  std::uint64_t infer_calls = 0;
  std::map<std::string, double> live_threads_s;  // by name, without its number
};

[[nodiscard]] CpuUse cpu_use();

}  // namespace takt::bench
