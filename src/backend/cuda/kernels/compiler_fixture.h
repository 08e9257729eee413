// SPDX-License-Identifier: Apache-2.0
// For tests: the runtime compiler of the project's environment.
// Thread-safe: yes. Owns: nothing.
#pragma once

#include "backend/cuda/device_tests/step_cases.h"
#include "backend/cuda/kernels/step_code.h"
#include "backend/cuda/libraries.h"
#include "backend/cuda/nvrtc.h"
#include "core/result.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace takt::cuda {

[[nodiscard]] inline Result<Nvrtc> project_compiler() {
  return Nvrtc::open(library_search({}, TAKT_VENV "/../build/takt"), 13);
}

// Compiles all steps' kernels as one source. Only the compiler looks at them here; takt-cuda-emulation-tests runs
// them.
inline void expect_kernels_compile(const std::vector<StepCase>& cases,
                                   const std::vector<ComputeCapability>& capabilities) {
  const auto nvrtc = project_compiler();
  ASSERT_TRUE(nvrtc) << nvrtc.error().message;
  std::string source = "#include <takt_kernel.h>\n";
  int kernels = 0;
  for (const StepCase& one : cases) {
    const Result<StepCode> code = code_of(one, "k" + std::to_string(kernels++));
    ASSERT_TRUE(code) << one.name << ": " << code.error().message;
    for (const KernelCall& call : code->calls) source += call.source.text;
  }
  for (const ComputeCapability capability : capabilities) {
    const auto cubin = nvrtc->compile(source, "cases.cu", capability);
    ASSERT_TRUE(cubin) << cubin.error().message;
  }
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
