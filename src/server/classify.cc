// SPDX-License-Identifier: Apache-2.0
#include "server/classify.h"

#include "core/half.h"
#include "core/string_tensor.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <type_traits>
#include <utility>

namespace takt::server {
namespace {

template <typename T>
T element_at(std::span<const std::byte> bytes, std::size_t index) {
  T value;
  std::memcpy(&value, bytes.data() + index * sizeof(T), sizeof(T));
  return value;
}

template <typename T>
std::string text_of(T value) {
  if constexpr (std::is_floating_point_v<T>) return fmt::format("{:f}", value);
  return fmt::format("{}", value);
}

// Larger first, a NaN last, equal ones by their place.
template <typename T>
bool before(T a, T b) {
  if constexpr (std::is_floating_point_v<T>) {
    if (std::isnan(a) || std::isnan(b)) return !std::isnan(a) && std::isnan(b);
  }
  return a > b;
}

template <typename T, typename Read>
void put_row(std::vector<std::byte>& made, std::size_t first, std::size_t count,
             std::size_t classes, const std::vector<std::string>& labels, Read read) {
  std::vector<std::size_t> order(count);
  std::iota(order.begin(), order.end(), std::size_t{0});
  const auto last = order.begin() + static_cast<std::ptrdiff_t>(classes);
  std::ranges::partial_sort(order, last, [&](std::size_t a, std::size_t b) {
    const T left = read(first + a);
    const T right = read(first + b);
    if (before(left, right)) return true;
    return !before(right, left) && a < b;
  });
  for (auto index = order.begin(); index != last; ++index) {
    std::string text = text_of(read(first + *index)) + ":" + std::to_string(*index);
    if (*index < labels.size()) text += ":" + labels[*index];
    const std::size_t used = made.size();
    made.resize(used + sizeof(std::uint32_t) + text.size());
    static_cast<void>(put_string(made, used, text));
  }
}

template <typename T, typename Read>
void put_rows(AnswerOutput& out, std::size_t rows, std::size_t count, std::size_t classes,
              const std::vector<std::string>& labels, Read read) {
  for (std::size_t row = 0; row < rows; ++row) {
    put_row<T>(out.made, row * count, count, classes, labels, read);
  }
}

}  // namespace

ApiResult<AnswerOutput> classify(AnswerOutput out, const TensorView& tensor, int classes,
                                 bool batched, const std::vector<std::string>& labels) {
  const Result<std::size_t> elements = element_count(tensor.shape);
  if (!elements) return std::unexpected(to_api_error(elements.error()));
  const std::size_t rows =
      batched && !tensor.shape.empty() ? static_cast<std::size_t>(tensor.shape.front()) : 1;
  const std::size_t count = rows == 0 ? 0 : *elements / rows;
  const std::size_t kept = std::min(static_cast<std::size_t>(classes), count);
  const auto put = [&]<typename T>(T /*type*/) {
    put_rows<T>(out, rows, count, kept, labels,
                [&](std::size_t i) { return element_at<T>(tensor.bytes, i); });
  };
  const auto put_halves = [&](float (*widen)(std::uint16_t)) {
    put_rows<float>(out, rows, count, kept, labels, [&](std::size_t i) {
      return widen(element_at<std::uint16_t>(tensor.bytes, i));
    });
  };
  switch (tensor.type) {
    case DataType::boolean:
    case DataType::uint8:
      put(std::uint8_t{});
      break;
    case DataType::uint16:
      put(std::uint16_t{});
      break;
    case DataType::uint32:
      put(std::uint32_t{});
      break;
    case DataType::uint64:
      put(std::uint64_t{});
      break;
    case DataType::int8:
      put(std::int8_t{});
      break;
    case DataType::int16:
      put(std::int16_t{});
      break;
    case DataType::int32:
      put(std::int32_t{});
      break;
    case DataType::int64:
      put(std::int64_t{});
      break;
    case DataType::fp16:
      put_halves(&from_fp16);
      break;
    case DataType::bf16:
      put_halves(&from_bf16);
      break;
    case DataType::fp32:
      put(float{});
      break;
    case DataType::fp64:
      put(double{});
      break;
    case DataType::bytes:
      return refuse(ApiCode::invalid_argument, "output '" + out.name + "' holds strings");
  }
  out.type = DataType::bytes;
  out.shape = batched ? Shape{static_cast<std::int64_t>(rows), static_cast<std::int64_t>(kept)}
                      : Shape{static_cast<std::int64_t>(kept)};
  out.bytes = out.made;
  return out;
}

}  // namespace takt::server
