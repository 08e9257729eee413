// SPDX-License-Identifier: Apache-2.0
// For tests: the runtime compiler of the project's environment.
// Thread-safe: yes. Owns: nothing.
#pragma once

#include "backend/cuda/libraries.h"
#include "backend/cuda/nvrtc.h"
#include "core/result.h"

#include <gtest/gtest.h>

namespace takt::cuda {

[[nodiscard]] inline Result<Nvrtc> project_compiler() {
  return Nvrtc::open(library_search({}, TAKT_VENV "/../build/takt"), 13);
}

}  // namespace takt::cuda

// At the beginning of a test that only compiles kernels: sanitizers see nothing of what NVRTC does, and without
// them the same test runs.
#ifdef TAKT_SANITIZED
#define TAKT_SKIP_COMPILING_WHERE_SANITIZED() \
  GTEST_SKIP() << "NVRTC isn't instrumented; builds without sanitizers compile the kernels"
#else
#define TAKT_SKIP_COMPILING_WHERE_SANITIZED() static_cast<void>(0)
#endif
