// SPDX-License-Identifier: Apache-2.0
#include "graph/elements.h"
#include "graph/evaluate_kernels.h"
#include "graph/infer_types.h"
#include "graph/strides.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numbers>
#include <utility>

namespace takt::graph {
namespace {

double sigmoid(double x) {
  return 1 / (1 + std::exp(-x));
}
double softplus(double x) {
  return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x)));
}
double clip(double x, double low, double high) {
  const double raised = x < low ? low : x;
  return raised > high ? high : raised;
}
double gelu(double x) {
  return 0.5 * x * (1 + std::erf(x / std::numbers::sqrt2));
}
double gelu_tanh(double x) {
  const double slope = std::sqrt(2 / std::numbers::pi);
  return 0.5 * x * (1 + std::tanh(slope * (x + 0.044715 * x * x * x)));
}
double shrink(double x, double threshold, double bias) {
  if (x < -threshold) return x + bias;
  return x > threshold ? x - bias : 0;
}
double sign(double x) {
  if (std::isnan(x)) return x;
  return static_cast<double>(x > 0) - static_cast<double>(x < 0);
}

double activation(const Unary& op, double x) {
  const double alpha = op.alpha;
  const double beta = op.beta;
  switch (op.kind) {
    case UnaryKind::relu:
      return x < 0 ? 0 : x;
    case UnaryKind::sigmoid:
      return sigmoid(x);
    case UnaryKind::softplus:
      return std::isnan(x) ? x : softplus(x);
    case UnaryKind::softsign:
      return x / (1 + std::abs(x));
    case UnaryKind::mish:
      return x * std::tanh(std::isnan(x) ? x : softplus(x));
    case UnaryKind::gelu:
      return gelu(x);
    case UnaryKind::gelu_tanh:
      return gelu_tanh(x);
    case UnaryKind::hard_swish:
      return x * clip(x / 6 + 0.5, 0, 1);
    case UnaryKind::silu:
      return x * sigmoid(alpha * x);
    case UnaryKind::leaky_relu:
      return x < 0 ? alpha * x : x;
    case UnaryKind::elu:
      return x < 0 ? alpha * std::expm1(x) : x;
    case UnaryKind::celu:
      return x < 0 ? alpha * std::expm1(x / alpha) : x;
    case UnaryKind::selu:
      return x > 0 ? beta * x : beta * alpha * std::expm1(x);
    case UnaryKind::hard_sigmoid:
      return clip(alpha * x + beta, 0, 1);
    case UnaryKind::thresholded_relu:
      return x > alpha ? x : 0;
    case UnaryKind::clip:
      return clip(x, alpha, beta);
    case UnaryKind::shrink:
      return shrink(x, alpha, beta);
    default:
      std::unreachable();
  }
}

double unary(const Unary& op, double x) {
  switch (op.kind) {
    case UnaryKind::abs:
      return std::abs(x);
    case UnaryKind::neg:
      return -x;
    case UnaryKind::exp:
      return std::exp(x);
    case UnaryKind::log:
      return std::log(x);
    case UnaryKind::sqrt:
      return std::sqrt(x);
    case UnaryKind::reciprocal:
      return 1 / x;
    case UnaryKind::floor:
      return std::floor(x);
    case UnaryKind::ceil:
      return std::ceil(x);
    case UnaryKind::round:
      return std::nearbyint(x);
    case UnaryKind::sign:
      return sign(x);
    case UnaryKind::erf:
      return std::erf(x);
    case UnaryKind::sin:
      return std::sin(x);
    case UnaryKind::cos:
      return std::cos(x);
    case UnaryKind::tan:
      return std::tan(x);
    case UnaryKind::asin:
      return std::asin(x);
    case UnaryKind::acos:
      return std::acos(x);
    case UnaryKind::atan:
      return std::atan(x);
    case UnaryKind::sinh:
      return std::sinh(x);
    case UnaryKind::cosh:
      return std::cosh(x);
    case UnaryKind::tanh:
      return std::tanh(x);
    case UnaryKind::asinh:
      return std::asinh(x);
    case UnaryKind::acosh:
      return std::acosh(x);
    case UnaryKind::atanh:
      return std::atanh(x);
    default:
      return activation(op, x);
  }
}

// In 64 bits without a sign, where nothing overflows; the cast back wraps around.
template <typename T>
std::uint64_t wide(T x) {
  return static_cast<std::uint64_t>(x);
}

template <typename T>
T unary_integer(const Unary& op, T x) {
  switch (op.kind) {
    case UnaryKind::abs:
      return x < T{0} ? static_cast<T>(0 - wide(x)) : x;
    case UnaryKind::neg:
      return static_cast<T>(0 - wide(x));
    case UnaryKind::sign:
      return static_cast<T>(int{x > T{0}} - int{x < T{0}});
    case UnaryKind::relu:
      return std::max(x, T{0});
    case UnaryKind::bitwise_not:
      return static_cast<T>(~wide(x));
    case UnaryKind::shrink:
      return saturate<T>(shrink(static_cast<double>(x), op.alpha, op.beta));
    default:
      std::unreachable();
  }
}

// Of a question about a number.
bool classify(UnaryKind kind, double x) {
  if (kind == UnaryKind::is_nan) return std::isnan(x);
  return std::isinf(x) && std::signbit(x) == (kind == UnaryKind::is_negative_infinity);
}

template <typename T>
T power(T base, std::uint64_t exponent) {
  std::uint64_t result = 1;
  for (std::uint64_t factor = wide(base); exponent != 0; exponent >>= 1U) {
    if ((exponent & 1U) != 0) result *= factor;
    factor *= factor;
  }
  return static_cast<T>(result);
}

// 1 / base^size, towards zero. The base isn't 0.
template <typename T>
T inverse_power(T base, std::uint64_t size) {
  if (base == T{1}) return base;
  const bool is_minus_one = std::is_signed_v<T> && base == static_cast<T>(-1);
  return is_minus_one ? power(base, size & 1U) : T{0};
}

template <typename T>
T divide(T a, T b) {
  // The smallest by -1 overflows.
  if constexpr (std::is_signed_v<T>) {
    if (b == T{-1}) return static_cast<T>(0 - wide(a));
  }
  return static_cast<T>(a / b);
}

// The sign is the dividend's.
template <typename T>
T remainder(T a, T b) {
  if constexpr (std::is_signed_v<T>) {
    if (b == T{-1}) return T{0};
  }
  return static_cast<T>(a % b);
}

// The sign is the divisor's.
template <typename T>
T modulo(T a, T b) {
  const T rest = remainder(a, b);
  return rest != T{0} && (rest < T{0}) != (b < T{0}) ? static_cast<T>(rest + b) : rest;
}
double modulo(double a, double b) {
  const double rest = std::fmod(a, b);
  if (rest == 0) return std::copysign(0.0, b);
  return (rest < 0) != (b < 0) ? rest + b : rest;
}

template <typename T>
T shift(BinaryKind kind, T x, T by) {
  if (by < T{0} || by >= T{std::numeric_limits<std::make_unsigned_t<T>>::digits}) return T{0};
  if (kind == BinaryKind::shift_left) return static_cast<T>(wide(x) << static_cast<unsigned>(by));
  return static_cast<T>(x >> static_cast<unsigned>(by));
}

// Divisors have been checked to differ from 0.
template <typename T>
T binary_integer(BinaryKind kind, T a, T b) {
  switch (kind) {
    case BinaryKind::add:
      return static_cast<T>(wide(a) + wide(b));
    case BinaryKind::sub:
      return static_cast<T>(wide(a) - wide(b));
    case BinaryKind::mul:
      return static_cast<T>(wide(a) * wide(b));
    case BinaryKind::div:
      return divide(a, b);
    case BinaryKind::mod:
      return modulo(a, b);
    case BinaryKind::fmod:
      return remainder(a, b);
    case BinaryKind::minimum:
      return std::min(a, b);
    case BinaryKind::maximum:
      return std::max(a, b);
    case BinaryKind::prelu:
      return a < T{0} ? static_cast<T>(wide(a) * wide(b)) : a;
    case BinaryKind::bitwise_and:
      return static_cast<T>(wide(a) & wide(b));
    case BinaryKind::bitwise_or:
      return static_cast<T>(wide(a) | wide(b));
    case BinaryKind::bitwise_xor:
      return static_cast<T>(wide(a) ^ wide(b));
    default:
      return shift(kind, a, b);
  }
}

double binary(BinaryKind kind, double a, double b) {
  switch (kind) {
    case BinaryKind::add:
      return a + b;
    case BinaryKind::sub:
      return a - b;
    case BinaryKind::mul:
      return a * b;
    case BinaryKind::div:
      return a / b;
    case BinaryKind::mod:
      return modulo(a, b);
    case BinaryKind::fmod:
      return std::fmod(a, b);
    // The second comparison keeps a NaN on either side.
    case BinaryKind::minimum:
      return a < b || std::isnan(a) ? a : b;
    case BinaryKind::maximum:
      return a > b || std::isnan(a) ? a : b;
    case BinaryKind::prelu:
      return a < 0 ? a * b : a;
    default:
      std::unreachable();
  }
}

bool logical(BinaryKind kind, bool a, bool b) {
  switch (kind) {
    case BinaryKind::logical_and:
    case BinaryKind::bitwise_and:
    case BinaryKind::minimum:
      return a && b;
    case BinaryKind::logical_or:
    case BinaryKind::bitwise_or:
    case BinaryKind::maximum:
      return a || b;
    default:
      return a != b;
  }
}

template <typename T>
T combine(BinaryKind kind, T a, T b) {
  if constexpr (std::is_same_v<T, double>) {
    return binary(kind, a, b);
  } else if constexpr (std::is_same_v<T, bool>) {
    return logical(kind, a, b);
  } else {
    return binary_integer(kind, a, b);
  }
}

template <typename T>
bool compare(BinaryKind kind, T a, T b) {
  switch (kind) {
    case BinaryKind::equal:
      return a == b;
    case BinaryKind::less:
      return a < b;
    case BinaryKind::less_equal:
      return a <= b;
    case BinaryKind::greater:
      return a > b;
    default:
      return a >= b;
  }
}

bool is_comparison(BinaryKind kind) {
  return kind >= BinaryKind::equal && kind <= BinaryKind::greater_equal;
}
bool divides(BinaryKind kind) {
  return kind == BinaryKind::div || kind == BinaryKind::mod || kind == BinaryKind::fmod;
}

Strides strides_of(const Constant& input, const Constant& output) {
  return broadcast_strides(input.type.shape, output.type.shape);
}

// target = f(a, b) of each pair of elements A and B, broadcast.
template <typename A, typename B, typename R, typename F>
void zip(const Constant& a, const Constant& b, Constant& output, F f) {
  const A* left = elements<A>(a).data();
  const B* right = elements<B>(b).data();
  R* target = elements<R>(output).data();
  const std::array strides{strides_of(a, output), strides_of(b, output)};
  for_each_row(output.type.shape, strides, [&](const Row<2>& row) {
    for (std::int64_t i = 0; i < row.length; ++i) {
      *target++ = store<R>(f(load(left[row.offsets[0] + i * row.steps[0]]),
                             load(right[row.offsets[1] + i * row.steps[1]])));
    }
  });
}

Result<void> check_divisor(const Constant& divisor) {
  const std::vector<std::int64_t> numbers = to_int64s(divisor);
  const auto zero = std::ranges::find(numbers, 0);
  if (zero == numbers.end()) return {};
  return fail(ErrorKind::invalid_input,
              fmt::format("integer division by zero: element {} of the "
                          "divisor {} is 0",
                          zero - numbers.begin(), to_string(divisor.type)));
}

void pow_float(const Constant& base, const Constant& exponent, Constant& output) {
  const Constant exponents =
      from_doubles({DataType::fp64, exponent.type.shape}, to_doubles(exponent));
  with_type(output.type.type, [&]<typename T>(std::type_identity<T>) {
    const auto rounded = [](auto x, double y) {
      return load(store_double<T>(std::pow(static_cast<double>(x), y)));
    };
    zip<T, double, T>(base, exponents, output, rounded);
  });
}

// Exact. Errors: invalid_input (0 to a negative power).
Result<void> pow_integer(const Constant& base, const Constant& exponent, Constant& output) {
  Constant exponents = zeros({DataType::int64, exponent.type.shape});
  std::ranges::copy(to_int64s(exponent), elements<std::int64_t>(exponents).begin());
  const bool has_sign = exponent.type.type != DataType::uint64;
  bool divided_by_zero = false;
  with_type(output.type.type, [&]<typename T>(std::type_identity<T>) {
    if constexpr (kIsInteger<T>) {
      zip<T, std::int64_t, T>(base, exponents, output, [&](T x, std::int64_t y) {
        if (!has_sign || y >= 0) return power(x, wide(y));
        divided_by_zero = divided_by_zero || x == T{0};
        return inverse_power(x, 0 - wide(y));
      });
    }
  });
  if (!divided_by_zero) return {};
  return fail(ErrorKind::invalid_input,
              "integer division by zero: 0 to the power of a negative number");
}

Constants compute_pow(const Constant& base, const Constant& exponent, Constant output) {
  if (is_floating(base.type.type) || is_floating(exponent.type.type)) {
    pow_float(base, exponent, output);
  } else if (Result<void> done = pow_integer(base, exponent, output); !done) {
    return std::unexpected(std::move(done).error());
  }
  return only(std::move(output));
}

// Integers of 64 bits have more than a double's 53; the last bit stands for those cut off, as in
// to_odd_float, so that only the conversion to the output's type rounds.
template <typename T>
double to_odd_double(T x) {
  const bool negative = x < T{0};
  std::uint64_t size = negative ? 0 - wide(x) : wide(x);
  const int excess = static_cast<int>(std::bit_width(size)) - std::numeric_limits<double>::digits;
  if (excess > 0) {
    const std::uint64_t cut_off = size & ((std::uint64_t{1} << static_cast<unsigned>(excess)) - 1);
    size -= cut_off;
    if (cut_off != 0) size |= std::uint64_t{1} << static_cast<unsigned>(excess);
  }
  const auto rounded = static_cast<double>(size);
  return negative ? -rounded : rounded;
}

template <typename To, typename From>
To cast(From element) {
  const auto x = load(element);
  if constexpr (kIsBoolean<To>) {
    return store<To>(x != 0);
  } else if constexpr (kIsFloat<From>) {
    return store_double<To>(x);
  } else if constexpr (std::is_same_v<To, double> || !kIsFloat<To>) {
    return static_cast<To>(x);
  } else if constexpr (kIsBoolean<From>) {
    return store<To>(x ? 1.0 : 0.0);
  } else {
    return store<To>(to_odd_double(x));
  }
}

// One number of a scale or zero point for each channel.
double of_channel(std::span<const double> numbers, std::int64_t channel) {
  return numbers.size() == 1 ? numbers[0] : numbers[static_cast<std::size_t>(channel)];
}

// Calls f(element, channel) with the position of each element and its place along `axis`.
template <typename F>
void for_each_channel(const Shape& shape, int axis, bool per_tensor, F f) {
  const auto count = static_cast<std::size_t>(product(shape));
  const std::int64_t inner = per_tensor ? 1 : Lanes(shape, axis).inner;
  const std::int64_t length = per_tensor ? 1 : Lanes(shape, axis).length;
  for (std::size_t i = 0; i < count; ++i) f(i, static_cast<std::int64_t>(i) / inner % length);
}

}  // namespace

Constants compute(const Unary& op, Inputs inputs, Types outputs) {
  Constant output = zeros(outputs[0]);
  with_type(inputs[0]->type.type, [&]<typename T>(std::type_identity<T>) {
    const std::span<const T> source = elements<T>(*inputs[0]);
    for (std::size_t i = 0; i < source.size(); ++i) {
      if constexpr (kIsBoolean<T>) {
        elements<T>(output)[i] = store<T>(!load(source[i]));
      } else if constexpr (kIsInteger<T>) {
        elements<T>(output)[i] = unary_integer(op, source[i]);
      } else if (outputs[0].type == DataType::boolean) {
        elements<Boolean>(output)[i] = store<Boolean>(classify(op.kind, load(source[i])));
      } else {
        elements<T>(output)[i] = store<T>(unary(op, load(source[i])));
      }
    }
  });
  return only(std::move(output));
}

Constants compute(const Binary& op, Inputs inputs, Types outputs) {
  const Constant& a = *inputs[0];
  const Constant& b = *inputs[1];
  Constant output = zeros(outputs[0]);
  if (output.bytes.empty()) return only(std::move(output));
  if (op.kind == BinaryKind::pow) return compute_pow(a, b, std::move(output));
  if (divides(op.kind) && !is_floating(a.type.type)) {
    if (Result<void> checked = check_divisor(b); !checked) {
      return std::unexpected(std::move(checked).error());
    }
  }
  with_type(a.type.type, [&]<typename T>(std::type_identity<T>) {
    using N = Number<T>;
    if (is_comparison(op.kind)) {
      zip<T, T, Boolean>(a, b, output, [&](N x, N y) { return compare(op.kind, x, y); });
    } else {
      zip<T, T, T>(a, b, output, [&](N x, N y) { return combine(op.kind, x, y); });
    }
  });
  return only(std::move(output));
}

Constants compute(const Cast&, Inputs inputs, Types outputs) {
  Constant output = zeros(outputs[0]);
  with_type(inputs[0]->type.type, [&]<typename From>(std::type_identity<From>) {
    with_type(outputs[0].type, [&]<typename To>(std::type_identity<To>) {
      std::ranges::transform(elements<From>(*inputs[0]), elements<To>(output).begin(),
                             cast<To, From>);
    });
  });
  return only(std::move(output));
}

Constants compute(const Select&, Inputs inputs, Types outputs) {
  Constant output = zeros(outputs[0]);
  const Boolean* condition = elements<Boolean>(*inputs[0]).data();
  const std::array strides{strides_of(*inputs[0], output), strides_of(*inputs[1], output),
                           strides_of(*inputs[2], output)};
  with_width(outputs[0].type, [&]<typename T>(std::type_identity<T>) {
    const T* then = elements<T>(*inputs[1]).data();
    const T* otherwise = elements<T>(*inputs[2]).data();
    T* target = elements<T>(output).data();
    for_each_row(outputs[0].shape, strides, [&](const Row<3>& row) {
      for (std::int64_t i = 0; i < row.length; ++i) {
        *target++ = load(condition[row.offsets[0] + i * row.steps[0]])
                        ? then[row.offsets[1] + i * row.steps[1]]
                        : otherwise[row.offsets[2] + i * row.steps[2]];
      }
    });
  });
  return only(std::move(output));
}

Constants compute(const Quantize& op, Inputs inputs, Types outputs) {
  std::vector<double> numbers = to_doubles(*inputs[0]);
  const std::vector<double> scales = to_doubles(*inputs[1]);
  const std::vector<double> zero_points = to_doubles(*inputs[2]);
  const bool per_tensor = scales.size() == 1;
  for_each_channel(outputs[0].shape, op.axis, per_tensor, [&](std::size_t i, std::int64_t channel) {
    // Runtimes divide in FP32; a quotient that this rounds to a half goes to the even neighbour.
    const auto quotient = static_cast<float>(numbers[i] / of_channel(scales, channel));
    numbers[i] = static_cast<double>(std::nearbyint(quotient)) + of_channel(zero_points, channel);
  });
  return only(from_doubles(outputs[0], numbers));
}

Constants compute(const Dequantize& op, Inputs inputs, Types outputs) {
  std::vector<double> numbers = to_doubles(*inputs[0]);
  const std::vector<double> scales = to_doubles(*inputs[1]);
  const std::vector<double> zero_points = to_doubles(*inputs[2]);
  const bool per_tensor = scales.size() == 1;
  for_each_channel(outputs[0].shape, op.axis, per_tensor, [&](std::size_t i, std::int64_t channel) {
    numbers[i] = (numbers[i] - of_channel(zero_points, channel)) * of_channel(scales, channel);
  });
  return only(from_doubles(outputs[0], numbers));
}

}  // namespace takt::graph
