// SPDX-License-Identifier: Apache-2.0
#include "graph/constants.h"

#include "graph/elements.h"
#include "repository/onnx_external.h"
#include "repository/onnx_tensor.h"
#include "repository/onnx_types.h"

#include <fmt/format.h>
#include <onnx/onnx.pb.h>

#include <algorithm>
#include <cstddef>
#include <optional>
#include <type_traits>
#include <utility>

namespace takt::graph {
namespace {

template <typename Number, typename Store>
Constant made(DataType type, Shape shape, std::span<const Number> values, Store store) {
  Constant constant{{type, std::move(shape)},
                    std::vector<std::byte>(values.size() * element_bytes(type))};
  with_type(type, [&]<typename T>(std::type_identity<T> element) {
    std::ranges::transform(values, elements<T>(constant).begin(),
                           [&](Number value) { return store(element, value); });
  });
  return constant;
}

}  // namespace

Constant constant_of(DataType type, Shape shape, std::span<const double> values) {
  return made(type, std::move(shape), values, []<typename T>(std::type_identity<T>, double value) {
    return store_double<T>(value);
  });
}

Constant constant_of(DataType type, Shape shape, std::span<const std::int64_t> values) {
  const auto store_integer = []<typename T>(std::type_identity<T>, std::int64_t value) {
    if constexpr (kIsInteger<T>) {
      return static_cast<T>(value);
    } else {
      return store_double<T>(static_cast<double>(value));
    }
  };
  return made(type, std::move(shape), values, store_integer);
}

Constant scalar_of(DataType type, double value) {
  return constant_of(type, {}, std::span<const double>(&value, 1));
}

std::vector<std::int64_t> integers_in(const Constant& constant) {
  return to_int64s(constant);
}

std::vector<double> numbers_in(const Constant& constant) {
  return to_doubles(constant);
}

Result<TensorType> type_of(const onnx::TensorProto& tensor) {
  const std::optional<DataType> type = repository::from_onnx_type(tensor.data_type());
  if (!type || *type == DataType::bytes) {
    return fail(ErrorKind::invalid_input,
                fmt::format("element type {} isn't known to the cuda backend; expected numbers",
                            repository::onnx_type_name(tensor.data_type())));
  }
  return TensorType{*type, Shape(tensor.dims().begin(), tensor.dims().end())};
}

Result<Constant> constant_from(const onnx::TensorProto& tensor) {
  Result<TensorType> type = type_of(tensor);
  if (!type) return std::unexpected(std::move(type).error());
  if (repository::is_external(tensor)) {
    return fail(
        ErrorKind::invalid_input,
        "its elements lie in another file; only weights of a model that is read from a file "
        "may, and no attributes");
  }
  Result<std::vector<std::byte>> bytes = repository::elements_of(tensor, type->type, type->shape);
  if (!bytes) return std::unexpected(std::move(bytes).error());
  return Constant{std::move(*type), std::move(*bytes)};
}

}  // namespace takt::graph
