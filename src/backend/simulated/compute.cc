// SPDX-License-Identifier: Apache-2.0
#include "backend/simulated/compute.h"

#include "core/half.h"
#include "core/string_tensor.h"

#include <array>
#include <charconv>
#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <utility>

namespace takt::simulated {
namespace {

std::unexpected<Error> refuse(const std::string& message) {
  return fail(ErrorKind::invalid_input, message);
}

std::string typed(DataType type, const Shape& shape) {
  return std::string(takt::to_string(type)) + takt::to_string(shape);
}

std::unexpected<Error> no_room(const TensorSpec& spec, const OutputBuffer& buffer) {
  return refuse("output '" + spec.name + "' needs more than its room of " +
                std::to_string(buffer.room.size()) +
                " bytes; send less, or raise the parameter output_bytes_max in config.pbtxt");
}

Result<void> check_same(const TensorSpec& spec, const TensorSpec& first) {
  if (spec.type == first.type && spec.shape == first.shape) return {};
  return refuse("'" + spec.name + "' is " + typed(spec.type, spec.shape) + ", but '" + first.name +
                "' is " + typed(first.type, first.shape) + "; both must be the same");
}

std::string counted(const Signature& signature) {
  return "the model has " + std::to_string(signature.inputs.size()) + " and " +
         std::to_string(signature.outputs.size());
}

Result<void> check_identity(const Signature& signature) {
  if (signature.inputs.size() != signature.outputs.size()) {
    return refuse("expected as many outputs as inputs, " + counted(signature));
  }
  for (std::size_t i = 0; i < signature.inputs.size(); ++i) {
    Result<void> same = check_same(signature.outputs[i], signature.inputs[i]);
    if (!same) return same;
  }
  return {};
}

Result<void> identity(const Signature& signature, const Sample& sample) {
  for (std::size_t i = 0; i < sample.outputs.size(); ++i) {
    const auto& input = std::get<TensorView>(sample.inputs[i]);
    OutputBuffer& output = sample.outputs[i];
    if (input.bytes.size() > output.room.size()) return no_room(signature.outputs[i], output);
    std::memcpy(output.room.data(), input.bytes.data(), input.bytes.size());
    output.type = input.type;
    output.shape = input.shape;
    output.bytes_used = input.bytes.size();
  }
  return {};
}

// Elements are read and written by kRead and kWrite, where they aren't numbers themselves. Unsigned
// ones wrap, and to the bit they are what signed ones would be.
template <typename Stored, auto kRead = std::identity{}, auto kWrite = std::identity{}>
void add_sub_numbers(const TensorView& a, const TensorView& b, OutputBuffer& sum,
                     OutputBuffer& difference) {
  for (std::size_t at = 0; at < a.bytes.size(); at += sizeof(Stored)) {
    Stored x{};
    Stored y{};
    std::memcpy(&x, a.bytes.data() + at, sizeof x);
    std::memcpy(&y, b.bytes.data() + at, sizeof y);
    const auto added = static_cast<Stored>(kWrite(kRead(x) + kRead(y)));
    const auto subtracted = static_cast<Stored>(kWrite(kRead(x) - kRead(y)));
    std::memcpy(sum.room.data() + at, &added, sizeof added);
    std::memcpy(difference.room.data() + at, &subtracted, sizeof subtracted);
  }
  sum.bytes_used = difference.bytes_used = a.bytes.size();
}

using AddSub = void (*)(const TensorView&, const TensorView&, OutputBuffer&, OutputBuffer&);

// Null for types that hold no numbers.
AddSub add_sub_of(DataType type) {
  switch (type) {
    case DataType::uint8:
    case DataType::int8:
      return &add_sub_numbers<std::uint8_t>;
    case DataType::uint16:
    case DataType::int16:
      return &add_sub_numbers<std::uint16_t>;
    case DataType::uint32:
    case DataType::int32:
      return &add_sub_numbers<std::uint32_t>;
    case DataType::uint64:
    case DataType::int64:
      return &add_sub_numbers<std::uint64_t>;
    case DataType::fp16:
      return &add_sub_numbers<std::uint16_t, from_fp16, to_fp16>;
    case DataType::bf16:
      return &add_sub_numbers<std::uint16_t, from_bf16, to_bf16>;
    case DataType::fp32:
      return &add_sub_numbers<float>;
    case DataType::fp64:
      return &add_sub_numbers<double>;
    case DataType::boolean:
    case DataType::bytes:
      break;
  }
  return nullptr;
}

Result<void> check_add_sub(const Signature& signature) {
  if (signature.inputs.size() != 2 || signature.outputs.size() != 2) {
    return refuse("expected two inputs and two outputs, " + counted(signature));
  }
  const TensorSpec& first = signature.inputs[0];
  if (first.type != DataType::bytes && add_sub_of(first.type) == nullptr) {
    return refuse("'" + first.name + "' is " + typed(first.type, first.shape) +
                  "; expected an integer or floating-point type, or BYTES with decimal integers");
  }
  for (const TensorSpec* other :
       {&signature.inputs[1], &signature.outputs[0], &signature.outputs[1]}) {
    if (Result<void> same = check_same(*other, first); !same) return same;
  }
  return {};
}

// 64 bits, as a text and wrapping.
Result<std::uint64_t> read_integer(std::string_view text, std::size_t place,
                                   const TensorSpec& spec) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc() && end == text.data() + text.size()) {
    return static_cast<std::uint64_t>(value);
  }
  return refuse("input '" + spec.name + "': element " + std::to_string(place) + " is " +
                shown(text) + "; expected a decimal integer of 64 bits");
}

bool put_integer(OutputBuffer& buffer, std::uint64_t value) {
  std::array<char, 20> text{};  // "-9223372036854775808"
  const auto [end, error] =
      std::to_chars(text.data(), text.data() + text.size(), static_cast<std::int64_t>(value));
  const auto used = put_string(buffer.room, buffer.bytes_used, {text.data(), end});
  buffer.bytes_used = used.value_or(buffer.bytes_used);
  return used.has_value();
}

Result<void> add_sub_strings(const Signature& signature, const TensorView& a, const TensorView& b,
                             std::span<OutputBuffer> outputs) {
  StringElements left(a.bytes);
  StringElements right(b.bytes);
  outputs[0].bytes_used = outputs[1].bytes_used = 0;
  for (std::size_t i = 0;; ++i) {
    const std::optional<std::string_view> first = left.next();
    const std::optional<std::string_view> second = right.next();
    if (!first || !second) return {};
    const Result<std::uint64_t> x = read_integer(*first, i, signature.inputs[0]);
    if (!x) return std::unexpected(x.error());
    const Result<std::uint64_t> y = read_integer(*second, i, signature.inputs[1]);
    if (!y) return std::unexpected(y.error());
    if (!put_integer(outputs[0], *x + *y)) return no_room(signature.outputs[0], outputs[0]);
    if (!put_integer(outputs[1], *x - *y)) return no_room(signature.outputs[1], outputs[1]);
  }
}

Result<void> add_sub(const Signature& signature, const Sample& sample) {
  const auto& a = std::get<TensorView>(sample.inputs[0]);
  const auto& b = std::get<TensorView>(sample.inputs[1]);
  if (a.shape != b.shape) {
    return refuse("inputs '" + signature.inputs[0].name + "' " + takt::to_string(a.shape) +
                  " and '" + signature.inputs[1].name + "' " + takt::to_string(b.shape) +
                  " differ in shape");
  }
  for (OutputBuffer& output : sample.outputs) {
    output.type = a.type;
    output.shape = a.shape;
  }
  if (a.type == DataType::bytes) return add_sub_strings(signature, a, b, sample.outputs);
  for (std::size_t i = 0; i < sample.outputs.size(); ++i) {
    if (a.bytes.size() > sample.outputs[i].room.size()) {
      return no_room(signature.outputs[i], sample.outputs[i]);
    }
  }
  add_sub_of(a.type)(a, b, sample.outputs[0], sample.outputs[1]);
  return {};
}

}  // namespace

Result<void> check_compute(Compute compute, const BatchRules& rules) {
  const Signature& signature = rules.signature;
  Result<void> checked =
      compute == Compute::identity ? check_identity(signature) : check_add_sub(signature);
  for (std::size_t i = 0; checked && i < rules.images.size(); ++i) {
    if (!rules.images[i]) continue;
    checked = refuse("input '" + signature.inputs[i].name +
                     "' takes images; expected finished tensors, so leave its preprocessing out");
  }
  if (checked) return {};
  return std::unexpected(std::move(checked).error().within(
      "parameter 'simulated.compute', value '" + std::string(to_string(compute)) + "'"));
}

Result<void> compute(Compute compute, const Signature& signature, const Sample& sample) {
  return compute == Compute::identity ? identity(signature, sample) : add_sub(signature, sample);
}

}  // namespace takt::simulated
