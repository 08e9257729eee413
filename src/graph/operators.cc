// SPDX-License-Identifier: Apache-2.0
#include "graph/operators.h"

#include <array>
#include <string>
#include <type_traits>

namespace takt::graph {
namespace {

// In the order of the enumeration.
constexpr std::array kUnaryNames{"abs",
                                 "neg",
                                 "exp",
                                 "log",
                                 "sqrt",
                                 "reciprocal",
                                 "floor",
                                 "ceil",
                                 "round",
                                 "sign",
                                 "erf",
                                 "sin",
                                 "cos",
                                 "tan",
                                 "asin",
                                 "acos",
                                 "atan",
                                 "sinh",
                                 "cosh",
                                 "tanh",
                                 "asinh",
                                 "acosh",
                                 "atanh",
                                 "relu",
                                 "sigmoid",
                                 "softplus",
                                 "softsign",
                                 "mish",
                                 "gelu",
                                 "gelu_tanh",
                                 "hard_swish",
                                 "silu",
                                 "leaky_relu",
                                 "elu",
                                 "celu",
                                 "selu",
                                 "hard_sigmoid",
                                 "thresholded_relu",
                                 "clip",
                                 "shrink",
                                 "bitwise_not",
                                 "logical_not",
                                 "is_nan",
                                 "is_positive_infinity",
                                 "is_negative_infinity"};
static_assert(kUnaryNames.size() == static_cast<std::size_t>(UnaryKind::is_negative_infinity) + 1);

constexpr std::array kBinaryNames{
    "add",         "sub",           "mul",         "div",        "pow",         "mod",
    "fmod",        "minimum",       "maximum",     "prelu",      "bitwise_and", "bitwise_or",
    "bitwise_xor", "shift_left",    "shift_right", "equal",      "less",        "less_equal",
    "greater",     "greater_equal", "logical_and", "logical_or", "logical_xor"};
static_assert(kBinaryNames.size() == static_cast<std::size_t>(BinaryKind::logical_xor) + 1);

constexpr std::array kReduceNames{"sum", "mean", "max",     "min",         "prod",
                                  "l1",  "l2",   "log_sum", "log_sum_exp", "sum_square"};
static_assert(kReduceNames.size() == static_cast<std::size_t>(ReduceKind::sum_square) + 1);

// In the order of Operator.
constexpr std::array kOperatorNames{"Unary",         "Binary",
                                    "Cast",          "Select",
                                    "Reshape",       "Transpose",
                                    "Expand",        "Concat",
                                    "Slice",         "Pad",
                                    "Gather",        "GatherElements",
                                    "GatherNd",      "Conv",
                                    "ConvTranspose", "Pool",
                                    "MatMul",        "LayerNorm",
                                    "GroupNorm",     "LocalResponseNorm",
                                    "Softmax",       "Reduce",
                                    "ArgReduce",     "TopK",
                                    "Resize",        "NonMaxSuppression",
                                    "Quantize",      "Dequantize"};
static_assert(kOperatorNames.size() == std::variant_size_v<Operator>);

}  // namespace

std::string_view to_string(UnaryKind kind) noexcept {
  return kUnaryNames[static_cast<std::size_t>(kind)];
}
std::string_view to_string(BinaryKind kind) noexcept {
  return kBinaryNames[static_cast<std::size_t>(kind)];
}
std::string_view to_string(ReduceKind kind) noexcept {
  return kReduceNames[static_cast<std::size_t>(kind)];
}

std::string describe(const Operator& op) {
  std::string text = kOperatorNames[op.index()];
  const auto add_kind = [&text](const auto& one) {
    using Type = std::decay_t<decltype(one)>;
    if constexpr (std::is_same_v<Type, Unary> || std::is_same_v<Type, Binary> ||
                  std::is_same_v<Type, Reduce>) {
      text.append(" ").append(to_string(one.kind));
    }
  };
  std::visit(add_kind, op);
  return text;
}

}  // namespace takt::graph
