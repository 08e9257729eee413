// SPDX-License-Identifier: Apache-2.0
#include "task/outputs.h"

#include "core/half.h"

#include <bit>
#include <cmath>
#include <cstring>

namespace takt::postprocess {
namespace {

// Largest magnitude as a bit pattern: integers compare in parallel, and every NaN or infinity lies
// at or above 0x7F800000 (IEEE 754 binary32).
bool all_finite(std::span<const float> values) noexcept {
  std::uint32_t largest = 0;
  for (const float value : values) {
    const std::uint32_t magnitude = std::bit_cast<std::uint32_t>(value) & 0x7FFFFFFFU;
    largest = magnitude > largest ? magnitude : largest;
  }
  return largest < 0x7F800000U;
}

// Reads without a claim on the alignment of the bytes.
template <typename From, typename To, typename Convert>
void convert(std::span<const std::byte> bytes, std::vector<To>& out, Convert to) {
  const std::size_t count = bytes.size() / sizeof(From);
  out.resize(count);
  for (std::size_t i = 0; i < count; ++i) {
    From value;
    std::memcpy(&value, bytes.data() + i * sizeof(From), sizeof(From));
    out[i] = to(value);
  }
}

Result<void> check_bytes(const TensorView& view, std::string_view name) {
  const auto bytes = byte_size(view.type, view.shape);
  if (!bytes) return corrupt(name, bytes.error().message);
  if (*bytes != view.bytes.size()) {
    return corrupt(name, std::to_string(view.bytes.size()) + " bytes for " +
                             std::string(to_string(view.type)) + " " + to_string(view.shape) +
                             ", expected " + std::to_string(*bytes));
  }
  return {};
}

}  // namespace

std::optional<Shape> sample_shape(const Shape& shape, std::size_t rank) {
  if (shape.size() == rank) return shape;
  if (shape.size() == rank + 1 && (shape.front() == 1 || shape.front() == -1)) {
    return Shape(shape.begin() + 1, shape.end());
  }
  return std::nullopt;
}

bool is_label_type(DataType type) noexcept {
  return type == DataType::int64 || type == DataType::int32 || type == DataType::uint8;
}

std::string describe(const TensorSpec& output) {
  return "output '" + output.name + "' " + std::string(to_string(output.type)) + " " +
         to_string(output.shape);
}

std::string describe(const Signature& signature) {
  std::string text = signature.outputs.size() == 1 ? "output " : "outputs ";
  for (std::size_t i = 0; i < signature.outputs.size(); ++i) {
    const auto& output = signature.outputs[i];
    text += (i == 0 ? "'" : ", '") + output.name + "' " + std::string(to_string(output.type)) +
            " " + to_string(output.shape);
  }
  return text;
}

std::unexpected<Error> corrupt(std::string_view name, const std::string& what) {
  return fail(ErrorKind::corrupt_output, "model output '" + std::string(name) + "': " + what);
}

Result<FloatOutput> read_floats(const TensorView& view, std::string_view name) {
  if (auto checked = check_bytes(view, name); !checked) return std::unexpected(checked.error());
  FloatOutput output;
  const auto same = [](float value) { return value; };
  const auto address = reinterpret_cast<std::uintptr_t>(view.bytes.data());
  if (view.type == DataType::fp32 && address % alignof(float) == 0) {
    output.values = view.as<float>();
  } else if (view.type == DataType::fp32) {
    convert<float>(view.bytes, output.converted, same);
  } else if (view.type == DataType::fp16) {
    convert<std::uint16_t>(view.bytes, output.converted, from_fp16);
  } else if (view.type == DataType::bf16) {
    convert<std::uint16_t>(view.bytes, output.converted, from_bf16);
  } else if (view.type == DataType::fp64) {
    convert<double>(view.bytes, output.converted, [](double v) { return static_cast<float>(v); });
  } else {
    return corrupt(name, "type " + std::string(to_string(view.type)) + ", expected a float type");
  }
  if (!output.converted.empty()) output.values = output.converted;
  if (!all_finite(output.values)) return corrupt(name, "holds NaN or infinite values");
  return output;
}

Result<std::vector<std::int64_t>> read_integers(const TensorView& view, std::string_view name) {
  if (auto checked = check_bytes(view, name); !checked) return std::unexpected(checked.error());
  std::vector<std::int64_t> values;
  const auto widen = [](auto value) { return static_cast<std::int64_t>(value); };
  if (view.type == DataType::int64) {
    convert<std::int64_t>(view.bytes, values, widen);
  } else if (view.type == DataType::int32) {
    convert<std::int32_t>(view.bytes, values, widen);
  } else if (view.type == DataType::uint8) {
    convert<std::uint8_t>(view.bytes, values, widen);
  } else {
    const auto floats = read_floats(view, name);
    if (!floats) return std::unexpected(floats.error());
    for (const float value : floats->values) {
      if (value != std::floor(value) || std::abs(value) > 1.0e6F) {
        return corrupt(name, "holds " + std::to_string(value) + ", expected a class number");
      }
      values.push_back(static_cast<std::int64_t>(value));
    }
  }
  return values;
}

}  // namespace takt::postprocess
