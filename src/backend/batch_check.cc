// SPDX-License-Identifier: Apache-2.0
#include "backend/batch_check.h"

#include "core/string_tensor.h"
#include "core/suggest.h"
#include "core/tensor.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>

namespace takt {
namespace {

std::unexpected<Error> refuse(const std::string& message) {
  return fail(ErrorKind::invalid_input, message);
}

std::optional<std::size_t> fixed_bytes(const TensorSpec& spec) {
  const Result<std::size_t> bytes = byte_size(spec.type, spec.shape);
  return bytes ? std::optional(*bytes) : std::nullopt;
}

// "FP32[2,640,640]", with the batch dimension that a request has.
std::string expected_text(const TensorSpec& spec, bool batched, std::int64_t rows) {
  Shape shape = spec.shape;
  if (batched) shape.insert(shape.begin(), rows);
  return std::string(to_string(spec.type)) + to_string(shape);
}

Result<void> check_tensor(const TensorView& tensor, const TensorSpec& spec, bool batched,
                          std::int64_t rows) {
  const std::size_t skip = batched ? 1 : 0;
  bool fits = tensor.type == spec.type && tensor.shape.size() == spec.shape.size() + skip &&
              (!batched || tensor.shape.front() == rows);
  for (std::size_t i = 0; fits && i < spec.shape.size(); ++i) {
    fits = spec.shape[i] == -1 || spec.shape[i] == tensor.shape[i + skip];
  }
  if (!fits) {
    return refuse("expected " + expected_text(spec, batched, rows) + ", got " +
                  std::string(to_string(tensor.type)) + to_string(tensor.shape));
  }
  const Result<std::size_t> count = element_count(tensor.shape);
  if (!count) return std::unexpected(count.error());
  if (*count == 0) return refuse("an empty tensor: " + to_string(tensor.shape));
  if (tensor.type == DataType::bytes) return check_strings(tensor.bytes, *count);
  const Result<std::size_t> bytes = byte_size(tensor.type, tensor.shape);
  if (!bytes) return std::unexpected(bytes.error());
  if (*bytes != tensor.bytes.size()) {
    return refuse(std::string(to_string(tensor.type)) + to_string(tensor.shape) + " has " +
                  std::to_string(*bytes) + " bytes, got " + std::to_string(tensor.bytes.size()));
  }
  return {};
}

Result<void> check_input(const BatchRules& rules, std::size_t index, const InputData& data,
                         std::int64_t rows) {
  const TensorSpec& spec = rules.signature.inputs[index];
  const std::optional<ImageInput>& image = rules.images[index];
  const bool batched = rules.signature.batch_max > 0;
  if (const auto* stack = std::get_if<ImageStack>(&data)) {
    if (!image) return refuse("takes " + expected_text(spec, batched, rows) + ", not images");
    if (rows != 1) return refuse("a request with images has one row");
    return check_stack(*stack, *image);
  }
  if (image) return refuse("takes images, not a finished tensor");
  return check_tensor(std::get<TensorView>(data), spec, batched, rows);
}

Result<void> check_output(const BatchRules& rules, std::size_t index, const OutputBuffer& buffer,
                          std::int64_t rows) {
  const auto address = reinterpret_cast<std::uintptr_t>(buffer.room.data());
  const std::size_t alignment = element_bytes(rules.signature.outputs[index].type);
  if (alignment > 0 && address % alignment != 0) {
    return refuse("the room must be aligned to its elements");
  }
  const std::optional<std::size_t> row_bytes = rules.output_row_bytes[index];
  if (!row_bytes) return {};
  const std::size_t need = *row_bytes * static_cast<std::size_t>(rows);
  if (buffer.room.size() >= need) return {};
  return refuse("needs " + std::to_string(need) + " bytes, the room has " +
                std::to_string(buffer.room.size()));
}

Result<void> check_sample(const BatchRules& rules, const Sample& sample) {
  const Signature& signature = rules.signature;
  if (sample.rows < 1) return refuse("rows must be at least 1");
  if (sample.inputs.size() != signature.inputs.size()) {
    return refuse("got " + std::to_string(sample.inputs.size()) + " inputs, expected " +
                  std::to_string(signature.inputs.size()));
  }
  if (sample.outputs.size() != signature.outputs.size()) {
    return refuse("got room for " + std::to_string(sample.outputs.size()) + " outputs, expected " +
                  std::to_string(signature.outputs.size()));
  }
  for (std::size_t i = 0; i < sample.inputs.size(); ++i) {
    if (Result<void> fits = check_input(rules, i, sample.inputs[i], sample.rows); !fits) {
      return std::unexpected(
          std::move(fits).error().within("input '" + signature.inputs[i].name + "'"));
    }
  }
  for (std::size_t i = 0; i < sample.outputs.size(); ++i) {
    if (Result<void> fits = check_output(rules, i, sample.outputs[i], sample.rows); !fits) {
      return std::unexpected(
          std::move(fits).error().within("output '" + signature.outputs[i].name + "'"));
    }
  }
  return {};
}

}  // namespace

Result<BatchRules> make_batch_rules(Signature signature, std::span<const InputPlan> plans) {
  BatchRules rules;
  std::vector<std::string> names;
  for (const TensorSpec& input : signature.inputs) {
    names.push_back(input.name);
    rules.input_row_bytes.push_back(fixed_bytes(input));
  }
  for (const TensorSpec& output : signature.outputs) {
    rules.output_row_bytes.push_back(fixed_bytes(output));
  }
  rules.images.resize(signature.inputs.size());
  for (const InputPlan& plan : plans) {
    const auto found = std::ranges::find(names, plan.name);
    if (found == names.end()) {
      return refuse("the model has no input '" + plan.name + "'" + suggestion(plan.name, names));
    }
    if (!plan.image) continue;
    const auto index = static_cast<std::size_t>(found - names.begin());
    Result<ImageInput> image = resolve_image_input(*plan.image, signature.inputs[index]);
    if (!image) return std::unexpected(std::move(image).error());
    rules.images[index] = *std::move(image);
  }
  rules.signature = std::move(signature);
  return rules;
}

Result<std::int64_t> check_batch(const BatchRules& rules, BatchView batch) {
  const std::int64_t rows_max = std::max(rules.signature.batch_max, 1);
  std::int64_t rows = 0;
  for (std::size_t i = 0; i < batch.size(); ++i) {
    if (Result<void> fits = check_sample(rules, batch[i]); !fits) {
      Error error = std::move(fits).error();
      return std::unexpected(
          batch.size() == 1
              ? std::move(error)
              : std::move(error).within("request " + std::to_string(i) + " of the batch"));
    }
    rows += std::min(batch[i].rows, rows_max + 1);  // a sum that can't overflow
  }
  if (rows < 1) return refuse("the batch is empty");
  if (rows > rows_max) {
    return refuse("the batch has more than the " + std::to_string(rows_max) +
                  " rows that the model takes at once");
  }
  return rows;
}

}  // namespace takt
