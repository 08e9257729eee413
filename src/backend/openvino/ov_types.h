// SPDX-License-Identifier: Apache-2.0
// OpenVINO's words in takt's: element types, shapes, exceptions as errors.
// Thread-safe: pure functions. Owns: nothing. Private to backend/openvino.
#pragma once

#include "core/result.h"
#include "core/tensor.h"

#include <openvino/core/partial_shape.hpp>
#include <openvino/core/type/element_type.hpp>

#include <exception>
#include <functional>
#include <string>
#include <string_view>
#include <utility>

namespace takt::ov_backend {

// Errors: invalid_input for an element type that takt doesn't know.
[[nodiscard]] Result<DataType> from_ov(const ov::element::Type& type);
[[nodiscard]] ov::element::Type to_ov(DataType type);

// -1 where a dimension is not fixed. The rank must be known.
[[nodiscard]] Shape from_ov(const ov::PartialShape& shape);

// OpenVINO's text without the lines that name its source files.
[[nodiscard]] std::string plain_text(std::string_view what);

// The exception that is being handled, as an error of `otherwise` unless it says more.
[[nodiscard]] Error current_exception_error(ErrorKind otherwise);

// Runs `body`, whose exceptions become errors.
template <typename Body>
[[nodiscard]] auto guarded(ErrorKind otherwise, Body&& body) -> decltype(body()) {
  try {
    return body();
  } catch (...) {
    return std::unexpected(current_exception_error(otherwise));
  }
}

}  // namespace takt::ov_backend
