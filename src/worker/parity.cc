// SPDX-License-Identifier: Apache-2.0
#include "worker/parity.h"

#include "core/half.h"
#include "core/string_tensor.h"
#include "worker/batch_run.h"

#include <array>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <utility>
#include <vector>

namespace takt::worker {
namespace {

// Elements as double; exact for every type but the largest 64-bit integers.
template <typename T>
double element(std::span<const std::byte> bytes, std::size_t index) {
  T value;
  std::memcpy(&value, bytes.data() + index * sizeof(T), sizeof(T));
  return static_cast<double>(value);
}

template <auto kRead>
double element_of_16_bits(std::span<const std::byte> bytes, std::size_t index) {
  std::uint16_t bits = 0;
  std::memcpy(&bits, bytes.data() + index * sizeof bits, sizeof bits);
  return static_cast<double>(kRead(bits));
}

using ReadElement = double (*)(std::span<const std::byte>, std::size_t);

ReadElement reader_of(DataType type) {
  switch (type) {
    case DataType::fp32:
      return &element<float>;
    case DataType::fp64:
      return &element<double>;
    case DataType::fp16:
      return &element_of_16_bits<from_fp16>;
    case DataType::bf16:
      return &element_of_16_bits<from_bf16>;
    case DataType::boolean:
    case DataType::uint8:
      return &element<std::uint8_t>;
    case DataType::uint16:
      return &element<std::uint16_t>;
    case DataType::uint32:
      return &element<std::uint32_t>;
    case DataType::uint64:
      return &element<std::uint64_t>;
    case DataType::int8:
      return &element<std::int8_t>;
    case DataType::int16:
      return &element<std::int16_t>;
    case DataType::int32:
      return &element<std::int32_t>;
    case DataType::int64:
      return &element<std::int64_t>;
    case DataType::bytes:
      break;
  }
  return nullptr;
}

constexpr std::string_view kRemedy =
    ": the model judges differently here than where it was exported; export it again, or correct "
    "the reference";

// As short as it can be told apart: 1e-07, not 0.000000.
std::string number_text(double value) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.7g", value);
  return text.data();
}

std::string first_other_string(const TensorView& expected, const TensorView& got) {
  StringElements wanted(expected.bytes);
  StringElements given(got.bytes);
  for (std::size_t i = 0;; ++i) {
    const auto want = wanted.next();
    const auto have = given.next();
    if (!want && !have) return "";
    if (want == have) continue;
    return "element " + std::to_string(i) + " is " + (have ? shown(*have) : "missing") +
           ", expected " + (want ? shown(*want) : "none") + std::string(kRemedy);
  }
}

// The reference input in the type that the model takes.
Result<repository::ReferenceTensor> as_input(const repository::ReferenceTensor& tensor,
                                             const TensorSpec& spec) {
  if (tensor.type == spec.type) return tensor;
  if (tensor.type != DataType::uint8 || spec.type != DataType::fp32) {
    return fail(ErrorKind::invalid_input,
                "input '" + spec.name + "' is " + std::string(to_string(tensor.type)) +
                    ", the model takes " + std::string(to_string(spec.type)));
  }
  repository::ReferenceTensor cast{
      .name = tensor.name, .type = spec.type, .shape = tensor.shape, .bytes = {}};
  cast.bytes.resize(tensor.bytes.size() * sizeof(float));
  for (std::size_t i = 0; i < tensor.bytes.size(); ++i) {
    const auto value = static_cast<float>(std::to_integer<std::uint8_t>(tensor.bytes[i]));
    std::memcpy(cast.bytes.data() + i * sizeof(float), &value, sizeof(float));
  }
  return cast;
}

Result<void> compare(const repository::ReferenceCase& reference_case,
                     std::span<const OutputBuffer> outputs,
                     const repository::Tolerance& tolerance) {
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    const repository::ReferenceTensor& expected = reference_case.outputs[i];
    const std::string mismatch = first_mismatch(expected.view(), outputs[i].view(), tolerance);
    if (mismatch.empty()) continue;
    return fail(ErrorKind::invalid_input, "output '" + expected.name + "' " + mismatch);
  }
  return {};
}

Result<void> check_case(const repository::ReferenceCase& reference_case,
                        const repository::Tolerance& tolerance, const Signature& signature,
                        Instance& instance, std::span<const std::size_t> output_bytes_per_row) {
  std::vector<repository::ReferenceTensor> tensors;
  for (std::size_t i = 0; i < signature.inputs.size(); ++i) {
    auto tensor = as_input(reference_case.inputs[i], signature.inputs[i]);
    if (!tensor) return std::unexpected(std::move(tensor).error());
    tensors.push_back(std::move(*tensor));
  }
  std::vector<InputData> inputs;
  inputs.reserve(tensors.size());
  for (const repository::ReferenceTensor& tensor : tensors) inputs.emplace_back(tensor.view());

  // Twice together where there is room: a backend may run batches by other code than single rows.
  const bool twice = reference_case.rows * 2 <= signature.batch_max;
  for (const int copies : twice ? std::vector<int>{1, 2} : std::vector<int>{1}) {
    BatchRun run(signature, output_bytes_per_row);
    for (int i = 0; i < copies; ++i) run.add(inputs, reference_case.rows);
    if (const auto times = run.run(instance); !times) return std::unexpected(times.error());
    for (int i = 0; i < copies; ++i) {
      const auto outputs = run.outputs(static_cast<std::size_t>(i));
      const Result<void> same = compare(reference_case, outputs, tolerance);
      if (same) continue;
      return copies == 1 ? same : std::unexpected(Error(same.error()).within("in a batch of two"));
    }
  }
  return {};
}

}  // namespace

std::string first_mismatch(const TensorView& expected, const TensorView& got,
                           const repository::Tolerance& tolerance) {
  if (expected.type != got.type || expected.shape != got.shape) {
    return "has " + std::string(to_string(got.type)) + to_string(got.shape) + ", expected " +
           std::string(to_string(expected.type)) + to_string(expected.shape);
  }
  if (expected.type == DataType::bytes) return first_other_string(expected, got);
  const ReadElement read = reader_of(expected.type);
  const std::size_t count = expected.bytes.size() / element_bytes(expected.type);
  for (std::size_t i = 0; i < count; ++i) {
    const double want = read(expected.bytes, i);
    const double have = read(got.bytes, i);
    if (have == want) continue;  // infinities too
    // Without the check, an expected infinity would allow every value.
    const bool finite = std::isfinite(want);
    if (finite && std::abs(have - want) <= tolerance.absolute + tolerance.relative * std::abs(want))
      continue;
    return "element " + std::to_string(i) + " is " + number_text(have) + ", expected " +
           number_text(want) + " within " + number_text(tolerance.absolute) + " + " +
           number_text(tolerance.relative) + " * |expected|" + std::string(kRemedy);
  }
  return std::string();
}

Result<void> check_parity(const repository::Reference& reference, const Signature& signature,
                          Instance& instance, std::span<const std::size_t> output_bytes_per_row) {
  for (const repository::ReferenceCase& reference_case : reference.cases) {
    const Result<void> checked =
        check_case(reference_case, reference.tolerance, signature, instance, output_bytes_per_row);
    if (!checked) {
      return std::unexpected(Error(checked.error()).within("reference/" + reference_case.name));
    }
  }
  return {};
}

}  // namespace takt::worker
