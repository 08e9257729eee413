// SPDX-License-Identifier: Apache-2.0
// A test on a GPU: it gets a context of its own on device 0, and is skipped with the reason where
// there is none. TAKT_CUDA_FOLDERS names more folders with NVIDIA's libraries, with colons between.
#pragma once

#include "backend/cuda/context.h"
#include "backend/cuda/module.h"
#include "backend/cuda/nvrtc.h"

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>

// Ends the test with the error's message; for functions that return void.
#define TAKT_ASSERT_OK(expression)                                             \
  do {                                                                         \
    const auto& outcome = (expression);                                        \
    ASSERT_TRUE(outcome.has_value())                                           \
        << to_string(outcome.error().kind) << ": " << outcome.error().message; \
  } while (false)

namespace takt::cuda {

struct Gpu {
  std::shared_ptr<const Driver> driver;
  Device device;
  Nvrtc nvrtc;
};

// The first GPU and a compiler for it, or why there is none.
[[nodiscard]] Result<Gpu> find_gpu();

class GpuTest : public testing::Test {
 protected:
  void SetUp() override;
  // Leaves the present context, if any, for a new one whose allocations `gate` decides about.
  void open_context(AllocationGate* gate);
  // Compiles a source with one kernel of this name for the device and loads it.
  [[nodiscard]] Result<Kernel> build(const std::string& source, const std::string& kernel) const;

  std::optional<Gpu> gpu_;
  std::shared_ptr<const Context> context_;
  std::optional<Context::Scope> scope_;  // destroyed before the context
};

// A line among the test's own.
void print_measurement(const std::string& text);

}  // namespace takt::cuda
