// SPDX-License-Identifier: Apache-2.0
// A model's outputs as post-processors read them: found by name or shape, checked, as floats.
// Thread-safe: pure functions.
// Owns: FloatOutput owns a copy where the output isn't FP32 already.
#pragma once

#include "core/inference.h"
#include "core/tensor.h"

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace takt::postprocess {

// `shape` with exactly `rank` dimensions: as it is, or without a leading batch of 1 or "any".
[[nodiscard]] std::optional<Shape> sample_shape(const Shape& shape, std::size_t rank);

[[nodiscard]] bool is_label_type(DataType type) noexcept;

// "output 'boxes' FP32 [300,4]"
[[nodiscard]] std::string describe(const TensorSpec& output);
// "outputs 'boxes' FP32 [300,4], 'labels' INT64 [300]"
[[nodiscard]] std::string describe(const Signature& signature);

struct FloatOutput {
  std::span<const float> values;
  std::vector<float> converted;  // FP16, BF16, FP64
};

// The elements of an output; corrupt_output when one is NaN or infinite, or the bytes don't hold the
// shape.
[[nodiscard]] Result<FloatOutput> read_floats(const TensorView& view, std::string_view name);
// The elements of an integer (or whole-valued float) output; corrupt_output as above.
[[nodiscard]] Result<std::vector<std::int64_t>> read_integers(const TensorView& view,
                                                              std::string_view name);

// corrupt_output: "model output 'boxes': <what>".
[[nodiscard]] std::unexpected<Error> corrupt(std::string_view name, const std::string& what);

}  // namespace takt::postprocess
