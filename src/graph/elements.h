// SPDX-License-Identifier: Apache-2.0
// The elements of a Constant as numbers of C++: floating point as double, rounded once when it is
// written back; integers as they are; BOOL as bool.
// Thread-safe: pure functions. Owns: nothing. Private to this layer.
#pragma once

#include "core/half.h"
#include "graph/graph.h"

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

namespace takt::graph {

// How elements lie in memory where C++ has no type for them.
struct Boolean {
  std::uint8_t byte;
};
struct Fp16 {
  std::uint16_t bits;
};
struct Bf16 {
  std::uint16_t bits;
};

template <typename T>
inline constexpr bool kIsBoolean = std::is_same_v<T, Boolean>;
template <typename T>
inline constexpr bool kIsInteger = std::is_integral_v<T>;
template <typename T>
inline constexpr bool kIsFloat = !kIsBoolean<T> && !kIsInteger<T>;

// What a T is computed in.
template <typename T>
using Number = std::conditional_t<kIsFloat<T>, double, std::conditional_t<kIsBoolean<T>, bool, T>>;

// Towards zero; beyond T's limits the limit, and 0 for NaN.
template <typename T>
[[nodiscard]] T saturate(double value) noexcept {
  using Limits = std::numeric_limits<T>;
  constexpr double end = 2.0 * static_cast<double>(T{1} << (Limits::digits - 1));
  if (std::isnan(value)) return T{0};
  if (value <= static_cast<double>(Limits::min())) return Limits::min();
  if (value >= end) return Limits::max();
  return static_cast<T>(value);
}

// The float itself, or of the two around `value` the one whose last bit is set: rounding that again
// to fewer bits gives what rounding `value` itself gives (Boldo and Melquiond, "Emulation of FMA
// and correctly rounded sums: proved algorithms using rounding to odd").
[[nodiscard]] inline float to_odd_float(double value) noexcept {
  const auto nearest = static_cast<float>(value);
  if (static_cast<double>(nearest) == value || !std::isfinite(nearest)) return nearest;
  const bool beyond = std::abs(static_cast<double>(nearest)) > std::abs(value);
  const float truncated = beyond ? std::nextafter(nearest, 0.0F) : nearest;
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(truncated) | 1U);
}

template <typename T>
[[nodiscard]] Number<T> load(T element) noexcept {
  if constexpr (kIsBoolean<T>) {
    return element.byte != 0;
  } else if constexpr (std::is_same_v<T, Fp16>) {
    return static_cast<double>(from_fp16(element.bits));
  } else if constexpr (std::is_same_v<T, Bf16>) {
    return static_cast<double>(from_bf16(element.bits));
  } else {
    return element;
  }
}

template <typename T>
[[nodiscard]] T store(Number<T> number) noexcept {
  if constexpr (kIsBoolean<T>) {
    return Boolean{static_cast<std::uint8_t>(number)};
  } else if constexpr (std::is_same_v<T, Fp16>) {
    return Fp16{to_fp16(to_odd_float(number))};
  } else if constexpr (std::is_same_v<T, Bf16>) {
    return Bf16{to_bf16(to_odd_float(number))};
  } else {
    return static_cast<T>(number);
  }
}

// A double as an element of any type: integers saturate, BOOL is whether it differs from 0.
template <typename T>
[[nodiscard]] T store_double(double value) noexcept {
  if constexpr (kIsBoolean<T>) {
    return store<T>(value != 0);
  } else if constexpr (kIsInteger<T>) {
    return saturate<T>(value);
  } else {
    return store<T>(value);
  }
}

// f(std::type_identity<T>{}) with the T in which elements of `type` lie in memory.
template <typename F>
decltype(auto) with_type(DataType type, F&& f) {
  switch (type) {
    case DataType::boolean:
      return f(std::type_identity<Boolean>{});
    case DataType::uint8:
      return f(std::type_identity<std::uint8_t>{});
    case DataType::uint16:
      return f(std::type_identity<std::uint16_t>{});
    case DataType::uint32:
      return f(std::type_identity<std::uint32_t>{});
    case DataType::uint64:
      return f(std::type_identity<std::uint64_t>{});
    case DataType::int8:
      return f(std::type_identity<std::int8_t>{});
    case DataType::int16:
      return f(std::type_identity<std::int16_t>{});
    case DataType::int32:
      return f(std::type_identity<std::int32_t>{});
    case DataType::int64:
      return f(std::type_identity<std::int64_t>{});
    case DataType::fp16:
      return f(std::type_identity<Fp16>{});
    case DataType::bf16:
      return f(std::type_identity<Bf16>{});
    case DataType::fp32:
      return f(std::type_identity<float>{});
    case DataType::fp64:
      return f(std::type_identity<double>{});
    case DataType::bytes:
      break;
  }
  std::unreachable();
}

// The same with an unsigned integer of as many bytes, for what only moves elements.
template <typename F>
decltype(auto) with_width(DataType type, F&& f) {
  switch (element_bytes(type)) {
    case 1:
      return f(std::type_identity<std::uint8_t>{});
    case 2:
      return f(std::type_identity<std::uint16_t>{});
    case 4:
      return f(std::type_identity<std::uint32_t>{});
    default:
      return f(std::type_identity<std::uint64_t>{});
  }
}

template <typename T>
[[nodiscard]] std::span<const T> elements(const Constant& constant) noexcept {
  return constant.view().as<T>();
}
template <typename T>
[[nodiscard]] std::span<T> elements(Constant& constant) noexcept {
  return {reinterpret_cast<T*>(constant.bytes.data()), constant.bytes.size() / sizeof(T)};
}

// All zero. The type's size has been checked.
[[nodiscard]] inline Constant zeros(TensorType type) {
  const std::size_t bytes = byte_size(type.type, type.shape).value();
  return {std::move(type), std::vector<std::byte>(bytes)};
}

// Integers of 64 bits beyond 2^53 are rounded.
[[nodiscard]] inline std::vector<double> to_doubles(const Constant& constant) {
  return with_type(constant.type.type, [&]<typename T>(std::type_identity<T>) {
    std::vector<double> numbers;
    numbers.reserve(elements<T>(constant).size());
    for (const T element : elements<T>(constant)) {
      numbers.push_back(static_cast<double>(load(element)));
    }
    return numbers;
  });
}

// `numbers` has as many as the type.
[[nodiscard]] inline Constant from_doubles(TensorType type, std::span<const double> numbers) {
  Constant constant = zeros(std::move(type));
  with_type(constant.type.type, [&]<typename T>(std::type_identity<T>) {
    const std::span<T> target = elements<T>(constant);
    for (std::size_t i = 0; i < target.size(); ++i) target[i] = store_double<T>(numbers[i]);
  });
  return constant;
}

// UINT64 wraps around, floating point saturates.
[[nodiscard]] inline std::vector<std::int64_t> to_int64s(const Constant& constant) {
  return with_type(constant.type.type, [&]<typename T>(std::type_identity<T>) {
    std::vector<std::int64_t> numbers;
    numbers.reserve(elements<T>(constant).size());
    for (const T element : elements<T>(constant)) {
      if constexpr (kIsFloat<T>) {
        numbers.push_back(saturate<std::int64_t>(load(element)));
      } else {
        numbers.push_back(static_cast<std::int64_t>(load(element)));
      }
    }
    return numbers;
  });
}

}  // namespace takt::graph
