// SPDX-License-Identifier: Apache-2.0
// How a step is computed by takt's own kernels: which, in which order, on which of the step's tensors.
// Thread-safe: plain values.
// Owns: plain values.
#pragma once

#include "backend/cuda/compile/program.h"
#include "backend/cuda/device.h"
#include "backend/cuda/kernels/kernel_source.h"
#include "backend/cuda/kernels/product_tiling.h"
#include "core/result.h"

#include <cstddef>
#include <string>
#include <vector>

namespace takt::cuda {

enum class OperandKind : std::uint8_t { input, output, scratch };

// A pointer that a kernel gets.
struct Operand {
  OperandKind kind{};
  int index = 0;           // of Step::inputs or Step::outputs
  std::size_t offset = 0;  // of scratch memory, in bytes
};

struct KernelCall {
  KernelSource source;
  std::vector<Operand> operands;  // the kernel's arguments in their order
};

struct StepCode {
  std::vector<KernelCall> calls;  // one after the other
  std::size_t scratch_bytes = 0;  // undefined at the begin; aligned to kArenaAlignment
};

// `name` begins the kernels' names: letters, digits and underscores. Errors: invalid_input (takt has no
// kernel for it; the message says what was asked for and what to do), without the step's name.
[[nodiscard]] Result<StepCode> step_code(const Step& step, const std::string& name);

// Other ways than step_code()'s to compute a contraction, on tensor cores; at most `most`, the most promising first.
// None for other steps, and where such a device has none.
[[nodiscard]] std::vector<ProductTiling> product_tilings(const Step& step,
                                                         const ProductDevice& device, int most);
// By one of them. Errors: invalid_input (the step has no such way).
[[nodiscard]] Result<StepCode> product_code(const Step& step, const ProductTiling& tiling,
                                            ComputeCapability capability, const std::string& name);

// Its families; each takes the operators that its file names.
[[nodiscard]] Result<StepCode> pointwise_code(const Step& step, const std::string& name);
[[nodiscard]] Result<StepCode> rows_code(const Step& step, const std::string& name);
[[nodiscard]] Result<StepCode> windows_code(const Step& step, const std::string& name);
[[nodiscard]] Result<StepCode> resize_code(const Step& step, const std::string& name);
[[nodiscard]] Result<StepCode> movement_code(const Step& step, const std::string& name);
[[nodiscard]] Result<StepCode> selection_code(const Step& step, const std::string& name);
[[nodiscard]] Result<StepCode> group_norm_code(const Step& step, const std::string& name);
[[nodiscard]] Result<StepCode> attention_code(const Step& step, const std::string& name);
[[nodiscard]] Result<StepCode> contraction_code(const Step& step, const std::string& name);

}  // namespace takt::cuda
