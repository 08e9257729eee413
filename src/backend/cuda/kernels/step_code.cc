// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/kernels/step_code.h"

#include "backend/cuda/kernels/step_views.h"
#include "graph/operators.h"

#include <fmt/format.h>

#include <type_traits>
#include <utility>
#include <variant>

namespace takt::cuda {
namespace {

template <typename Op, typename... Others>
inline constexpr bool kIsOneOf = (std::is_same_v<Op, Others> || ...);

template <typename Op>
Result<StepCode> code_of(const Op& op, const Step& step, const std::string& name) {
  if constexpr (kIsOneOf<Op, graph::Reduce, graph::ArgReduce, graph::Softmax, graph::LayerNorm>) {
    return rows_code(step, name);
  } else if constexpr (kIsOneOf<Op, graph::GroupNorm, graph::LocalResponseNorm>) {
    return group_norm_code(step, name);
  } else if constexpr (kIsOneOf<Op, graph::Conv, graph::ConvTranspose, graph::MatMul>) {
    return contraction_code(step, name);
  } else if constexpr (kIsOneOf<Op, graph::Pool>) {
    return windows_code(step, name);
  } else if constexpr (kIsOneOf<Op, graph::Resize>) {
    return resize_code(step, name);
  } else if constexpr (kIsOneOf<Op, graph::TopK, graph::NonMaxSuppression>) {
    return selection_code(step, name);
  } else if constexpr (kIsOneOf<Op, graph::Unary, graph::Binary, graph::Cast, graph::Select>) {
    return pointwise_code(step, name);
  } else if constexpr (kIsOneOf<Op, graph::Quantize, graph::Dequantize>) {
    return refuse(
        fmt::format("takt has no kernel for {}; run the model on the openvino backend "
                    "(backends: [cuda, openvino])",
                    graph::describe(op)));
  } else {
    return movement_code(step, name);
  }
}

}  // namespace

Result<StepCode> step_code(const Step& step, const std::string& name) {
  switch (step.kind) {
    case StepKind::pointwise:
      return pointwise_code(step, name);
    case StepKind::contraction:
      return contraction_code(step, name);
    case StepKind::attention:
      return attention_code(step, name);
    case StepKind::single:
      break;
  }
  if (step.ops.size() == 2 && std::holds_alternative<graph::Softmax>(step.ops[0].op)) {
    return rows_code(step, name);
  }
  if (step.ops.size() != 1) {
    return refuse(fmt::format("a step of {} operators; expected one", step.ops.size()));
  }
  return std::visit([&](const auto& op) { return code_of(op, step, name); }, step.ops[0].op);
}

}  // namespace takt::cuda
