// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/kernels/pointwise_expressions.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <type_traits>
#include <utility>

namespace takt::cuda {
namespace {

using graph::Binary;
using graph::BinaryKind;
using graph::Cast;
using graph::Select;
using graph::Unary;
using graph::UnaryKind;

bool is_signed(DataType type) {
  return is_floating(type) || type == DataType::int8 || type == DataType::int16 ||
         type == DataType::int32 || type == DataType::int64;
}

// x < 0 ? 0 : x and the like give back NaN for NaN.
std::string unary_of_floats(const Unary& op, DataType type, const std::string& x,
                            bool approximate) {
  const std::string_view f = type == DataType::fp64 ? "" : "f";
  const auto number = [type](double value) { return literal(type, value); };
  const auto call = [&](std::string_view name, const std::string& of) {
    return fmt::format("{}{}({})", name, f, of);
  };
  const auto quotient = [&](const std::string& of, const std::string& by) {
    const bool fast = approximate && type != DataType::fp64;
    return fmt::format(fmt::runtime(fast ? "takt::quick_quotient({}, {})" : "({} / {})"), of, by);
  };
  const auto one_and_exponential = [&](const std::string& power) {
    return fmt::format("({} + {})", number(1), exponential(type, power, approximate));
  };
  const std::string one = number(1);
  const std::string alpha = number(op.alpha);
  const std::string beta = number(op.beta);
  const std::string softplus =
      fmt::format("(log1p{0}(exp{0}(-fabs{0}({1}))) + ({1} > 0 ? {1} : {2}))", f, x, number(0));
  switch (op.kind) {
    case UnaryKind::abs:
      return call("fabs", x);
    case UnaryKind::neg:
      return fmt::format("(-{})", x);
    case UnaryKind::exp:
      return exponential(type, x, approximate);
    case UnaryKind::log:
      return call("log", x);
    case UnaryKind::sqrt:
      return call("sqrt", x);
    case UnaryKind::reciprocal:
      return fmt::format("({} / {})", one, x);
    case UnaryKind::floor:
      return call("floor", x);
    case UnaryKind::ceil:
      return call("ceil", x);
    case UnaryKind::round:
      return call("rint", x);
    case UnaryKind::sign:
      return fmt::format("({0} > 0 ? {1} : {0} < 0 ? -{1} : {0})", x, one);
    case UnaryKind::erf:
      return call("erf", x);
    case UnaryKind::sin:
      return call("sin", x);
    case UnaryKind::cos:
      return call("cos", x);
    case UnaryKind::tan:
      return call("tan", x);
    case UnaryKind::asin:
      return call("asin", x);
    case UnaryKind::acos:
      return call("acos", x);
    case UnaryKind::atan:
      return call("atan", x);
    case UnaryKind::sinh:
      return call("sinh", x);
    case UnaryKind::cosh:
      return call("cosh", x);
    case UnaryKind::tanh:
      return call("tanh", x);
    case UnaryKind::asinh:
      return call("asinh", x);
    case UnaryKind::acosh:
      return call("acosh", x);
    case UnaryKind::atanh:
      return call("atanh", x);
    case UnaryKind::relu:
      if (type != DataType::fp64) return fmt::format("takt::larger_fp32({}, {})", x, number(0));
      return fmt::format("({0} < 0 ? {1} : {0})", x, number(0));
    case UnaryKind::sigmoid:
      return quotient(one, one_and_exponential(fmt::format("-{}", x)));
    case UnaryKind::softplus:
      return softplus;
    case UnaryKind::softsign:
      return fmt::format("({0} / ({1} + fabs{2}({0})))", x, one, f);
    case UnaryKind::mish:
      return fmt::format("({} * {})", x, call("tanh", softplus));
    case UnaryKind::gelu:
      return fmt::format("({} * {} * ({} + erf{}({} * {})))", number(0.5), x, one, f, x,
                         number(0.70710678118654752));
    case UnaryKind::gelu_tanh:
      return fmt::format("({0} * {1} * ({2} + tanh{3}({4} * ({1} + {5} * {1} * {1} * {1}))))",
                         number(0.5), x, one, f, number(0.79788456080286536), number(0.044715));
    case UnaryKind::hard_swish:
      return fmt::format("({0} * ({0} < -{1} ? {2} : {0} > {1} ? {3} : ({0} + {1}) / {4}))", x,
                         number(3), number(0), one, number(6));
    case UnaryKind::silu:
      return quotient(x, one_and_exponential(fmt::format("-({} * {})", alpha, x)));
    case UnaryKind::leaky_relu:
      return fmt::format("({0} < 0 ? {1} * {0} : {0})", x, alpha);
    case UnaryKind::elu:
      return fmt::format("({0} < 0 ? {1} * expm1{2}({0}) : {0})", x, alpha, f);
    case UnaryKind::celu:
      return fmt::format("({0} < 0 ? {1} * expm1{2}({0} / {1}) : {0})", x, alpha, f);
    case UnaryKind::selu:
      return fmt::format("({0} > 0 ? {1} * {0} : {1} * ({2} * expm1{3}({0})))", x, beta, alpha, f);
    case UnaryKind::hard_sigmoid: {
      const std::string line = fmt::format("({} * {} + {})", alpha, x, beta);
      return fmt::format("({0} < 0 ? {1} : {0} > {2} ? {2} : {0})", line, number(0), one);
    }
    case UnaryKind::thresholded_relu:
      return fmt::format("({0} > {1} ? {0} : {2})", x, alpha, number(0));
    case UnaryKind::clip:  // the upper bound has the last word
      return fmt::format("(({0} < {1} ? {1} : {0}) > {2} ? {2} : ({0} < {1} ? {1} : {0}))", x,
                         alpha, beta);
    case UnaryKind::shrink:
      return fmt::format("({0} < -{1} ? {0} + {2} : {0} > {1} ? {0} - {2} : {3})", x, alpha, beta,
                         number(0));
    case UnaryKind::is_nan:
      return fmt::format("({0} != {0})", x);
    case UnaryKind::is_positive_infinity:
      return fmt::format("({0} > 0 && isinf({0}))", x);
    case UnaryKind::is_negative_infinity:
      return fmt::format("({0} < 0 && isinf({0}))", x);
    case UnaryKind::bitwise_not:
    case UnaryKind::logical_not:
      break;
  }
  std::unreachable();  // infer_types lets no such operator through
}

// Integers are computed unsigned, so that they wrap around.
std::string negated(DataType type, const std::string& x) {
  return fmt::format("static_cast<{}>(0ull - static_cast<unsigned long long>({}))",
                     computed_type(type), x);
}

std::string unary_of_integers(const Unary& op, DataType type, const std::string& x) {
  const std::string_view as = computed_type(type);
  switch (op.kind) {
    case UnaryKind::abs:
      return is_signed(type) ? fmt::format("({0} < 0 ? {1} : {0})", x, negated(type, x)) : x;
    case UnaryKind::neg:
      return negated(type, x);
    case UnaryKind::sign:
      return fmt::format("static_cast<{1}>(({0} > 0) - ({0} < 0))", x, as);
    case UnaryKind::relu:
      return fmt::format("({0} < 0 ? static_cast<{1}>(0) : {0})", x, as);
    case UnaryKind::shrink:
      return fmt::format("takt::saturate<{3}>({0} < {4} ? {0} + {2} : {0} > {1} ? {0} - {2} : 0.0)",
                         x, literal(DataType::fp64, op.alpha), literal(DataType::fp64, op.beta), as,
                         literal(DataType::fp64, -op.alpha));
    case UnaryKind::bitwise_not:
      return fmt::format("static_cast<{}>(~{})", as, x);
    default:
      break;
  }
  std::unreachable();
}

// By a count that isn't below the type's bits nothing is left.
std::string shifted(DataType type, std::string_view operation, const std::string& a,
                    const std::string& b) {
  return fmt::format(
      "static_cast<{3}>(static_cast<unsigned long long>({1}) >= {4} ? 0 : {0} {2} {1})", a, b,
      operation, computed_type(type), 8 * element_bytes(type));
}

std::string power(DataType base, DataType exponent, const std::string& a, const std::string& b) {
  if (!is_floating(base) && !is_floating(exponent)) {
    return fmt::format("takt::integer_power<{}>({}, static_cast<long long>({}))",
                       computed_type(base), a, b);
  }
  const bool exact =
      is_floating(exponent) ? exponent != DataType::fp64 : element_bytes(exponent) < 4;
  if (is_floating(base) && base != DataType::fp64 && exact) {
    return fmt::format("powf({}, static_cast<float>({}))", a, b);
  }
  const std::string wide =
      fmt::format("pow(static_cast<double>({}), static_cast<double>({}))", a, b);
  return fmt::format("{}<{}>({})", is_floating(base) ? "static_cast" : "takt::saturate",
                     computed_type(base), wide);
}

std::string arithmetic(DataType type, char operation, const std::string& a, const std::string& b) {
  if (is_floating(type)) return fmt::format("({} {} {})", a, operation, b);
  return fmt::format(
      "static_cast<{0}>(static_cast<unsigned long long>({1}) {2} "
      "static_cast<unsigned long long>({3}))",
      computed_type(type), a, operation, b);
}

std::string binary_expression(BinaryKind kind, DataType type, DataType second, const std::string& a,
                              const std::string& b) {
  const bool floating = is_floating(type);
  const std::string_view f = type == DataType::fp64 ? "" : "f";
  const auto infix = [&](std::string_view operation) {
    return fmt::format("({} {} {})", a, operation, b);
  };
  switch (kind) {
    case BinaryKind::add:
      return arithmetic(type, '+', a, b);
    case BinaryKind::sub:
      return arithmetic(type, '-', a, b);
    case BinaryKind::mul:
      return arithmetic(type, '*', a, b);
    case BinaryKind::div:
      return fmt::format("static_cast<{}>({} / {})", computed_type(type), a, b);
    case BinaryKind::pow:
      return power(type, second, a, b);
    case BinaryKind::mod:
      return fmt::format("takt::floor_mod({}, {})", a, b);
    case BinaryKind::fmod:
      return floating ? fmt::format("fmod{}({}, {})", f, a, b) : infix("%");
    case BinaryKind::minimum:
      return fmt::format("({0} != {0} || {0} < {1} ? {0} : {1})", a, b);
    case BinaryKind::maximum:
      return fmt::format("({0} != {0} || {0} > {1} ? {0} : {1})", a, b);
    case BinaryKind::prelu:
      return fmt::format("({} < 0 ? {} : {})", a, arithmetic(type, '*', b, a), a);
    case BinaryKind::bitwise_and:
      return arithmetic(type, '&', a, b);
    case BinaryKind::bitwise_or:
      return arithmetic(type, '|', a, b);
    case BinaryKind::bitwise_xor:
      return arithmetic(type, '^', a, b);
    case BinaryKind::shift_left:
      return shifted(type, "<<", a, b);
    case BinaryKind::shift_right:
      return shifted(type, ">>", a, b);
    case BinaryKind::equal:
      return infix("==");
    case BinaryKind::less:
      return infix("<");
    case BinaryKind::less_equal:
      return infix("<=");
    case BinaryKind::greater:
      return infix(">");
    case BinaryKind::greater_equal:
      return infix(">=");
    case BinaryKind::logical_and:
      return infix("&&");
    case BinaryKind::logical_or:
      return infix("||");
    case BinaryKind::logical_xor:
      return infix("!=");
  }
  std::unreachable();
}

std::string cast_expression(DataType from, DataType to, const std::string& x) {
  if (to == DataType::boolean) return fmt::format("({} != 0)", x);
  if (to == DataType::fp16 || to == DataType::bf16) {  // computed as float, but rounded here
    return fmt::format("takt::to_float(takt::from_float<{}>(static_cast<float>({})))",
                       stored_type(to), x);
  }
  const bool saturates = is_floating(from) && !is_floating(to);
  return fmt::format("{}<{}>({})", saturates ? "takt::saturate" : "static_cast", computed_type(to),
                     x);
}

}  // namespace

std::string_view stored_type(DataType type) noexcept {
  switch (type) {
    case DataType::boolean:
    case DataType::uint8:
      return "unsigned char";
    case DataType::uint16:
      return "unsigned short";
    case DataType::fp16:
      return "takt::fp16";
    case DataType::bf16:
      return "takt::bf16";
    case DataType::uint32:
      return "unsigned";
    case DataType::uint64:
      return "unsigned long long";
    case DataType::int8:
      return "signed char";
    case DataType::int16:
      return "short";
    case DataType::int32:
      return "int";
    case DataType::int64:
      return "long long";
    case DataType::fp32:
      return "float";
    case DataType::fp64:
      return "double";
    case DataType::bytes:
      break;
  }
  return "";
}

std::string_view computed_type(DataType type) noexcept {
  if (type == DataType::boolean) return "bool";
  if (type == DataType::fp16 || type == DataType::bf16) return "float";
  return stored_type(type);
}

std::string loaded(DataType type, std::string_view element) {
  if (type == DataType::fp16 || type == DataType::bf16) {
    return fmt::format("takt::to_float({})", element);
  }
  if (type == DataType::boolean) return fmt::format("({} != 0)", element);
  return std::string(element);
}

std::string stored(DataType type, std::string_view value) {
  const bool half = type == DataType::fp16 || type == DataType::bf16;
  return fmt::format("{}<{}>({})", half ? "takt::from_float" : "static_cast", stored_type(type),
                     value);
}

std::string literal(DataType type, double value) {
  if (std::isnan(value)) return fmt::format("static_cast<{}>(nanf(\"\"))", computed_type(type));
  if (std::isinf(value)) {
    return fmt::format("static_cast<{}>({}__int_as_float(0x7f800000))", computed_type(type),
                       value < 0 ? "-" : "");
  }
  return fmt::format("static_cast<{}>({:.17g})", computed_type(type), value);
}

std::string lowest(DataType type) {
  if (is_floating(type)) return literal(type, -std::numeric_limits<double>::infinity());
  if (!is_signed(type)) return literal(type, 0);
  return fmt::format("static_cast<{}>(1ull << {})", computed_type(type),
                     8 * element_bytes(type) - 1);
}

std::string highest(DataType type) {
  if (is_floating(type)) return literal(type, std::numeric_limits<double>::infinity());
  return fmt::format("static_cast<{}>(~0ull >> {})", computed_type(type),
                     64 - 8 * element_bytes(type) + (is_signed(type) ? 1 : 0));
}

std::string exponential(DataType type, std::string_view x, bool approximate) {
  if (type == DataType::fp64) return fmt::format("exp({})", x);
  return fmt::format("{}({})", approximate ? "takt::quick_exp" : "expf", x);
}

std::string expression(const PointwiseStep& step, std::span<const DataType> types,
                       std::span<const std::string> arguments, bool approximate) {
  const auto write = [&](const auto& op) -> std::string {
    using Op = std::decay_t<decltype(op)>;
    if constexpr (std::is_same_v<Op, Unary>) {
      if (op.kind == UnaryKind::logical_not) return fmt::format("(!{})", arguments[0]);
      return is_floating(types[0]) ? unary_of_floats(op, types[0], arguments[0], approximate)
                                   : unary_of_integers(op, types[0], arguments[0]);
    } else if constexpr (std::is_same_v<Op, Binary>) {
      return binary_expression(op.kind, types[0], types[1], arguments[0], arguments[1]);
    } else if constexpr (std::is_same_v<Op, Cast>) {
      return cast_expression(types[0], op.to, arguments[0]);
    } else {
      return fmt::format("({} ? {} : {})", arguments[0], arguments[1], arguments[2]);
    }
  };
  return std::visit(write, step.op);
}

}  // namespace takt::cuda
