// SPDX-License-Identifier: Apache-2.0
#include "backend/simulated/made_up.h"

#include "backend/simulated/fault_plan.h"
#include "core/string_tensor.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>

namespace takt::simulated {
namespace {

// At most so many elements of an input go into its digest, evenly spread: a simulated model must
// cost little beside the real ones that it stands in for.
constexpr std::size_t kDigestElements = 4096;

// The same value from an image and from the finished tensor, whose last bits may differ.
std::uint64_t quantised(double value) {
  return static_cast<std::uint64_t>(std::llround(std::clamp(value, -1e9, 1e9) * 4096));
}

std::uint64_t stride_of(std::size_t count) {
  return std::max<std::size_t>(count / kDigestElements, 1);
}

std::uint64_t digest_bytes(std::span<const std::byte> bytes) {
  std::uint64_t digest = bytes.size();
  const std::size_t stride = stride_of(bytes.size());
  for (std::size_t i = 0; i < bytes.size(); i += stride) {
    digest = mix(digest, std::to_integer<std::uint64_t>(bytes[i]));
  }
  return digest;
}

std::uint64_t digest_floats(std::span<const std::byte> bytes) {
  const std::size_t count = bytes.size() / sizeof(float);
  std::uint64_t digest = count;
  for (std::size_t i = 0; i < count; i += stride_of(count)) {
    float value = 0;
    std::memcpy(&value, bytes.data() + i * sizeof(float), sizeof value);
    digest = mix(digest, quantised(static_cast<double>(value)));
  }
  return digest;
}

std::uint64_t digest_strings(const TensorView& tensor, std::size_t row, std::size_t rows) {
  const std::size_t per_row = element_count(tensor.shape).value_or(0) / rows;
  StringElements elements(tensor.bytes);
  for (std::size_t i = 0; i < per_row * row; ++i) static_cast<void>(elements.next());
  std::uint64_t digest = per_row;
  for (std::size_t i = 0; i < per_row; ++i) {
    digest = mix(digest, digest_bytes(std::as_bytes(std::span(elements.next().value_or("")))));
  }
  return digest;
}

// Floating-point elements in [0, 1), others in [0, 128), booleans 0 or 1.
void fill(std::span<std::byte> room, DataType type, std::uint64_t seed) {
  const std::size_t size = element_bytes(type);
  for (std::size_t i = 0; i * size < room.size(); ++i) {
    const std::uint64_t bits = mix(seed, i);
    std::byte* at = room.data() + i * size;
    if (type == DataType::fp32) {
      const float value = static_cast<float>(bits >> 40U) * 0x1.0p-24F;
      std::memcpy(at, &value, size);
    } else if (type == DataType::fp64) {
      const double value = unit(bits);
      std::memcpy(at, &value, size);
    } else if (type == DataType::fp16 || type == DataType::bf16) {
      // Exponent bits of 0.5 to 1.
      const auto half =
          static_cast<std::uint16_t>((type == DataType::fp16 ? 0x3800U : 0x3f00U) | (bits & 0x7fU));
      std::memcpy(at, &half, size);
    } else {
      std::memset(at, 0, size);
      *at = static_cast<std::byte>(bits & (type == DataType::boolean ? 1U : 127U));
    }
  }
}

// Decimal numbers in [0, 128).
bool add_strings(OutputBuffer& buffer, std::size_t count, std::uint64_t seed) {
  for (std::size_t i = 0; i < count; ++i) {
    const auto used =
        put_string(buffer.room, buffer.bytes_used, std::to_string(mix(seed, i) & 127U));
    if (!used) return false;
    buffer.bytes_used = *used;
  }
  return true;
}

}  // namespace

std::uint64_t digest_image(std::span<const std::uint8_t> row, const ImageInput& image) {
  const auto channels = static_cast<std::size_t>(image.staged.channels);
  const std::size_t plane = row.size() / channels;
  const ImagePreprocess& wanted = image.preprocess;
  std::uint64_t digest = row.size();
  for (std::size_t i = 0; i < row.size(); i += stride_of(row.size())) {
    const std::size_t channel = wanted.channels_last ? i % channels : i / plane;
    const std::size_t pixel = wanted.channels_last ? i / channels : i % plane;
    const std::uint8_t byte =
        image.staged.channels_last ? row[pixel * channels + channel] : row[channel * plane + pixel];
    const float mean = wanted.mean.empty() ? 0 : wanted.mean[channel];
    const float stddev = wanted.stddev.empty() ? 1 : wanted.stddev[channel];
    const float value = (static_cast<float>(byte) * wanted.scale - mean) / stddev;
    digest = mix(digest, quantised(static_cast<double>(value)));
  }
  return digest;
}

std::uint64_t digest_tensor(const TensorView& tensor, std::int64_t row, std::int64_t rows) {
  const auto count = static_cast<std::size_t>(rows);
  const auto place = static_cast<std::size_t>(row);
  if (tensor.type == DataType::bytes) return digest_strings(tensor, place, count);
  const std::size_t bytes = tensor.bytes.size() / count;
  const auto part = tensor.bytes.subspan(bytes * place, bytes);
  return tensor.type == DataType::fp32 ? digest_floats(part) : digest_bytes(part);
}

Result<void> add_row(OutputBuffer& buffer, const TensorSpec& spec, std::uint64_t seed) {
  const std::size_t count = element_count(spec.shape).value_or(0);
  if (spec.type == DataType::bytes) {
    if (add_strings(buffer, count, seed)) return {};
    return fail(ErrorKind::corrupt_output,
                "output '" + spec.name + "' needs more than its room of " +
                    std::to_string(buffer.room.size()) +
                    " bytes; raise the parameter output_bytes_max in config.pbtxt");
  }
  const std::size_t bytes = count * element_bytes(spec.type);
  fill(buffer.room.subspan(buffer.bytes_used, bytes), spec.type, seed);
  buffer.bytes_used += bytes;
  return {};
}

void corrupt(OutputBuffer& buffer) {
  // All bits set are a NaN of any size, and a length that no tensor has.
  const std::span<std::byte> written = buffer.room.first(buffer.bytes_used);
  if (buffer.type == DataType::bytes) {
    std::ranges::fill(written.first(std::min(written.size(), kStringLengthBytes)), std::byte{0xff});
  } else if (is_floating(buffer.type)) {
    std::ranges::fill(written, std::byte{0xff});
  }
}

}  // namespace takt::simulated
