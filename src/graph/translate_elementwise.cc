// SPDX-License-Identifier: Apache-2.0
#include "graph/constants.h"
#include "graph/infer_types.h"
#include "graph/node_reader.h"
#include "repository/onnx_types.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

namespace takt::graph {

using takt::to_string;  // of shapes
namespace {

constexpr std::size_t kAnyNumber = std::numeric_limits<std::size_t>::max();

Values one(Result<ValueId> value) {
  if (!value) return std::unexpected(std::move(value).error());
  return std::vector{*value};
}

Values apply(const NodeReader& node, const Unary& op) {
  if (Result<void> checked = node.check_inputs(1, 1); !checked) {
    return std::unexpected(std::move(checked).error());
  }
  return node.builder().add_all(op, {node.input(0)});
}

template <UnaryKind kind>
Values unary(const NodeReader& node) {
  return apply(node, {kind});
}

Values leaky_relu(const NodeReader& node) {
  return apply(node, {UnaryKind::leaky_relu, node.number("alpha", 0.01F)});
}

Values elu(const NodeReader& node) {
  return apply(node, {UnaryKind::elu, node.number("alpha", 1)});
}

Values celu(const NodeReader& node) {
  return apply(node, {UnaryKind::celu, node.number("alpha", 1)});
}

// The defaults are those of the operator's schema, to all its digits.
Values selu(const NodeReader& node) {
  return apply(node, {UnaryKind::selu, node.number("alpha", 1.67326319217681884765625F),
                      node.number("gamma", 1.05070102214813232421875F)});
}

Values hard_sigmoid(const NodeReader& node) {
  return apply(node,
               {UnaryKind::hard_sigmoid, node.number("alpha", 0.2F), node.number("beta", 0.5F)});
}

Values thresholded_relu(const NodeReader& node) {
  return apply(node, {UnaryKind::thresholded_relu, node.number("alpha", 1)});
}

Values shrink(const NodeReader& node) {
  return apply(node, {UnaryKind::shrink, node.number("lambd", 0.5F), node.number("bias", 0)});
}

Values gelu(const NodeReader& node) {
  const std::string approximate = node.text("approximate", "none");
  if (approximate == "none") return apply(node, {UnaryKind::gelu});
  if (approximate == "tanh") return apply(node, {UnaryKind::gelu_tanh});
  return NodeReader::refuse(
      fmt::format("attribute 'approximate' is '{}'; expected none or tanh", approximate));
}

// A scalar of one value in every element of `shape`.
Values filled(const NodeReader& node, double value, DataType type, Shape shape) {
  GraphBuilder& builder = node.builder();
  const ValueId scalar = builder.add_constant(scalar_of(type, value));
  if (shape.empty()) return std::vector{scalar};
  return builder.add_all(Expand{std::move(shape)}, {scalar});
}

Values is_inf(const NodeReader& node) {
  if (Result<void> checked = node.check_inputs(1, 1); !checked) {
    return std::unexpected(std::move(checked).error());
  }
  const bool negative = node.integer("detect_negative", 1) != 0;
  const bool positive = node.integer("detect_positive", 1) != 0;
  if (!negative && !positive) return filled(node, 0, DataType::boolean, node.shape(0));
  if (!negative) return apply(node, {UnaryKind::is_positive_infinity});
  if (!positive) return apply(node, {UnaryKind::is_negative_infinity});
  const Result<ValueId> magnitude = node.builder().add(Unary{UnaryKind::abs}, {node.input(0)});
  if (!magnitude) return std::unexpected(magnitude.error());
  return node.builder().add_all(Unary{UnaryKind::is_positive_infinity}, {*magnitude});
}

Values combine(const NodeReader& node, BinaryKind kind) {
  if (Result<void> checked = node.check_inputs(2, 2); !checked) {
    return std::unexpected(std::move(checked).error());
  }
  return node.builder().add_all(Binary{kind}, {node.input(0), node.input(1)});
}

template <BinaryKind kind>
Values binary(const NodeReader& node) {
  return combine(node, kind);
}

Values mod(const NodeReader& node) {
  return combine(node, node.integer("fmod", 0) != 0 ? BinaryKind::fmod : BinaryKind::mod);
}

Values bit_shift(const NodeReader& node) {
  const std::string direction = node.text("direction", "");
  if (direction == "LEFT") return combine(node, BinaryKind::shift_left);
  if (direction == "RIGHT") return combine(node, BinaryKind::shift_right);
  return NodeReader::refuse(
      fmt::format("attribute 'direction' is '{}'; expected LEFT or RIGHT", direction));
}

// That `from` broadcasts to `to`, which stays as it is.
bool broadcasts_to(const Shape& from, const Shape& to) {
  if (from.size() > to.size()) return false;
  const auto fits = [](std::int64_t one, std::int64_t other) { return one == 1 || one == other; };
  return std::equal(from.rbegin(), from.rend(), to.rbegin(), fits);
}

Values prelu(const NodeReader& node) {
  if (Result<void> checked = node.check_inputs(2, 2); !checked) {
    return std::unexpected(std::move(checked).error());
  }
  if (!broadcasts_to(node.shape(1), node.shape(0))) {
    return NodeReader::refuse(fmt::format("the slopes {} don't broadcast to the input {}",
                                          to_string(node.type(1)), to_string(node.type(0))));
  }
  return combine(node, BinaryKind::prelu);
}

Result<ValueId> chain(const NodeReader& node, BinaryKind kind) {
  if (Result<void> checked = node.check_inputs(1, kAnyNumber); !checked) {
    return std::unexpected(std::move(checked).error());
  }
  if (Result<void> checked = node.check_inputs(node.input_count(), kAnyNumber); !checked) {
    return std::unexpected(std::move(checked).error());
  }
  ValueId result = node.input(0);
  for (std::size_t index = 1; index < node.input_count(); ++index) {
    const Result<ValueId> next = node.builder().add(Binary{kind}, {result, node.input(index)});
    if (!next) return next;
    result = *next;
  }
  return result;
}

template <BinaryKind kind>
Values variadic(const NodeReader& node) {
  return one(chain(node, kind));
}

Values mean(const NodeReader& node) {
  const Result<ValueId> sum = chain(node, BinaryKind::add);
  if (!sum || node.input_count() == 1) return one(sum);
  GraphBuilder& builder = node.builder();
  const ValueId count = builder.add_constant(
      scalar_of(builder.type(*sum).type, static_cast<double>(node.input_count())));
  return builder.add_all(Binary{BinaryKind::div}, {*sum, count});
}

// A bound of Clip as a value of shape [], which some exporters write as [1].
Result<ValueId> bound(const NodeReader& node, std::size_t index) {
  const Shape& shape = node.shape(index);
  if (shape.empty()) return node.input(index);
  if (element_count(shape).value_or(0) != 1) {
    return NodeReader::refuse(
        fmt::format("its input {} is {}; expected a scalar", index, to_string(node.type(index))));
  }
  return node.builder().add(Reshape{}, {node.input(index)});
}

bool is_known(const NodeReader& node, std::size_t index) {
  return !node.has_input(index) || node.builder().constant(node.input(index)) != nullptr;
}

// By constants: one pass over the elements.
Values clip_by_numbers(const NodeReader& node) {
  std::array bounds{-std::numeric_limits<float>::infinity(),
                    std::numeric_limits<float>::infinity()};
  for (std::size_t side = 0; side < bounds.size(); ++side) {
    if (!node.has_input(side + 1)) continue;
    const Result<ValueId> scalar = bound(node, side + 1);
    if (!scalar) return std::unexpected(scalar.error());
    bounds[side] = static_cast<float>(numbers_in(*node.builder().constant(*scalar)).at(0));
  }
  return node.builder().add_all(Unary{UnaryKind::clip, bounds[0], bounds[1]}, {node.input(0)});
}

// Where the least is above the most, the most is the result: minimum comes last.
Values clip_by_values(const NodeReader& node) {
  constexpr std::array kinds{BinaryKind::maximum, BinaryKind::minimum};
  ValueId result = node.input(0);
  for (std::size_t side = 0; side < kinds.size(); ++side) {
    if (!node.has_input(side + 1)) continue;
    const Result<ValueId> scalar = bound(node, side + 1);
    if (!scalar) return std::unexpected(scalar.error());
    const Result<ValueId> next = node.builder().add(Binary{kinds[side]}, {result, *scalar});
    if (!next) return std::unexpected(next.error());
    result = *next;
  }
  return std::vector{result};
}

Values clip(const NodeReader& node) {
  if (Result<void> checked = node.check_inputs(1, 3); !checked) {
    return std::unexpected(std::move(checked).error());
  }
  if (node.input_count() == 1) return std::vector{node.input(0)};
  const DataType type = node.type(0).type;
  // The bounds of Unary are FP32, which doesn't hold every FP64.
  const bool by_numbers = is_floating(type) && type != DataType::fp64;
  return by_numbers && is_known(node, 1) && is_known(node, 2) ? clip_by_numbers(node)
                                                              : clip_by_values(node);
}

Values cast_to(const NodeReader& node, DataType type) {
  if (node.type(0).type == type) return std::vector{node.input(0)};
  return node.builder().add_all(Cast{type}, {node.input(0)});
}

Values cast(const NodeReader& node) {
  if (Result<void> checked = node.check_inputs(1, 1); !checked) {
    return std::unexpected(std::move(checked).error());
  }
  const std::int64_t code = node.integer("to", 0);
  const auto known = static_cast<std::int32_t>(code) == code
                         ? repository::from_onnx_type(static_cast<std::int32_t>(code))
                         : std::nullopt;
  if (!known || *known == DataType::bytes) {
    return NodeReader::refuse(
        fmt::format("it casts to element type {}, which the cuda backend doesn't know; {}",
                    repository::onnx_type_name(static_cast<std::int32_t>(code)), kOpenvinoAdvice));
  }
  return cast_to(node, *known);
}

Values cast_like(const NodeReader& node) {
  if (Result<void> checked = node.check_inputs(2, 2); !checked) {
    return std::unexpected(std::move(checked).error());
  }
  return cast_to(node, node.type(1).type);
}

Values where(const NodeReader& node) {
  if (Result<void> checked = node.check_inputs(3, 3); !checked) {
    return std::unexpected(std::move(checked).error());
  }
  return node.builder().add_all(Select{}, {node.input(0), node.input(1), node.input(2)});
}

Values identity(const NodeReader& node) {
  if (Result<void> checked = node.check_inputs(1, 1); !checked) {
    return std::unexpected(std::move(checked).error());
  }
  return std::vector{node.input(0)};
}

// In training something would be dropped, unless the ratio is 0.
Result<bool> drops(const NodeReader& node) {
  if (!node.has_input(2)) return false;
  const Result<std::vector<std::int64_t>> training = node.integers_of(2);
  if (!training) return std::unexpected(training.error());
  if (std::ranges::all_of(*training, [](std::int64_t flag) { return flag == 0; })) return false;
  if (!node.has_input(1)) return true;
  const Result<std::vector<double>> ratio = node.numbers_of(1);
  if (!ratio) return std::unexpected(ratio.error());
  return std::ranges::any_of(*ratio, [](double part) { return part != 0; });
}

Values dropout(const NodeReader& node) {
  if (Result<void> checked = node.check_inputs(1, 3); !checked) {
    return std::unexpected(std::move(checked).error());
  }
  const Result<bool> training = drops(node);
  if (!training) return std::unexpected(training.error());
  if (*training) {
    return NodeReader::refuse(
        "training_mode is true; export the model for inference (model.eval())");
  }
  std::vector<ValueId> outputs{node.input(0)};
  if (node.output_count() < 2) return outputs;
  const Values mask = filled(node, 1, DataType::boolean, node.shape(0));
  if (!mask) return mask;
  outputs.push_back(mask->front());
  return outputs;
}

constexpr Translation kTranslations[] = {
    {"Abs", unary<UnaryKind::abs>},
    {"Acos", unary<UnaryKind::acos>},
    {"Acosh", unary<UnaryKind::acosh>},
    {"Add", binary<BinaryKind::add>},
    {"And", binary<BinaryKind::logical_and>},
    {"Asin", unary<UnaryKind::asin>},
    {"Asinh", unary<UnaryKind::asinh>},
    {"Atan", unary<UnaryKind::atan>},
    {"Atanh", unary<UnaryKind::atanh>},
    {"BitShift", bit_shift},
    {"BitwiseAnd", binary<BinaryKind::bitwise_and>},
    {"BitwiseNot", unary<UnaryKind::bitwise_not>},
    {"BitwiseOr", binary<BinaryKind::bitwise_or>},
    {"BitwiseXor", binary<BinaryKind::bitwise_xor>},
    {"Cast", cast},
    {"CastLike", cast_like},
    {"Ceil", unary<UnaryKind::ceil>},
    {"Celu", celu},
    {"Clip", clip},
    {"Cos", unary<UnaryKind::cos>},
    {"Cosh", unary<UnaryKind::cosh>},
    {"Div", binary<BinaryKind::div>},
    {"Dropout", dropout},
    {"Elu", elu},
    {"Equal", binary<BinaryKind::equal>},
    {"Erf", unary<UnaryKind::erf>},
    {"Exp", unary<UnaryKind::exp>},
    {"Floor", unary<UnaryKind::floor>},
    {"Gelu", gelu},
    {"Greater", binary<BinaryKind::greater>},
    {"GreaterOrEqual", binary<BinaryKind::greater_equal>},
    {"HardSigmoid", hard_sigmoid},
    {"HardSwish", unary<UnaryKind::hard_swish>},
    {"Identity", identity},
    {"IsInf", is_inf},
    {"IsNaN", unary<UnaryKind::is_nan>},
    {"LeakyRelu", leaky_relu},
    {"Less", binary<BinaryKind::less>},
    {"LessOrEqual", binary<BinaryKind::less_equal>},
    {"Log", unary<UnaryKind::log>},
    {"Max", variadic<BinaryKind::maximum>},
    {"Mean", mean},
    {"Min", variadic<BinaryKind::minimum>},
    {"Mish", unary<UnaryKind::mish>},
    {"Mod", mod},
    {"Mul", binary<BinaryKind::mul>},
    {"Neg", unary<UnaryKind::neg>},
    {"Not", unary<UnaryKind::logical_not>},
    {"Or", binary<BinaryKind::logical_or>},
    {"PRelu", prelu},
    {"Pow", binary<BinaryKind::pow>},
    {"Reciprocal", unary<UnaryKind::reciprocal>},
    {"Relu", unary<UnaryKind::relu>},
    {"Round", unary<UnaryKind::round>},
    {"Selu", selu},
    {"Shrink", shrink},
    {"Sigmoid", unary<UnaryKind::sigmoid>},
    {"Sign", unary<UnaryKind::sign>},
    {"Sin", unary<UnaryKind::sin>},
    {"Sinh", unary<UnaryKind::sinh>},
    {"Softplus", unary<UnaryKind::softplus>},
    {"Softsign", unary<UnaryKind::softsign>},
    {"Sqrt", unary<UnaryKind::sqrt>},
    {"Sub", binary<BinaryKind::sub>},
    {"Sum", variadic<BinaryKind::add>},
    {"Tan", unary<UnaryKind::tan>},
    {"Tanh", unary<UnaryKind::tanh>},
    {"ThresholdedRelu", thresholded_relu},
    {"Where", where},
    {"Xor", binary<BinaryKind::logical_xor>},
};

}  // namespace

std::span<const Translation> elementwise_translations() {
  return kTranslations;
}

}  // namespace takt::graph
