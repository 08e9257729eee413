// SPDX-License-Identifier: Apache-2.0
// Options of the sanitizers, linked into every program of the presets asan and tsan, so that a
// program behaves the same under ctest, in a debugger and from the shell.
#include <cstdlib>

#define NOT_INSTRUMENTED __attribute__((no_sanitize("address", "undefined", "thread")))

// OpenVINO's TBB opens a library with RTLD_DEEPBIND, at which the sanitizers stop the program,
// unless it is told that they are there.
[[gnu::constructor]] NOT_INSTRUMENTED static void tell_tbb() {
  setenv("TBB_ENABLE_SANITIZERS", "1", 0);
}

extern "C" {
NOT_INSTRUMENTED const char* __asan_default_options() {
  return "detect_stack_use_after_return=1:strict_string_checks=1:allow_addr2line=1";
}

NOT_INSTRUMENTED const char* __ubsan_default_options() {
  return "print_stacktrace=1:allow_addr2line=1";
}

NOT_INSTRUMENTED const char* __tsan_default_options() {
  return "second_deadlock_stack=1";
}

// Races reported inside libraries that are not instrumented: the sanitizer sees their memory accesses
// through free() and memcpy(), but not the atomics that order them. None of them calls back into
// takt, so no access of takt's own code is below one of their frames.
NOT_INSTRUMENTED const char* __tsan_default_suppressions() {
  return R"(
# OpenVINO's CPU plugin and its core: reference counts and worker threads of their own.
race:libopenvino
# TBB and its tbbbind: queues, arenas and the start of threads synchronise by atomics of their own.
race:libtbb
# The library of CPU topology below tbbbind, whose bitmaps an arena hands from thread to thread.
race:libhwloc
)";
}
}
