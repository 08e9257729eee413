// SPDX-License-Identifier: Apache-2.0
// What goes into a model and what comes out of it, held against the signature.
#include "core/string_tensor.h"
#include "engine/served_model.h"

#include <cmath>

namespace takt::engine {
namespace {

// With the batch dimension in front where the model has one.
Shape expected_shape(const Signature& signature, const TensorSpec& spec, std::int64_t rows) {
  Shape shape = spec.shape;
  if (signature.batch_max > 0) shape.insert(shape.begin(), rows);
  return shape;
}

bool fits(const Shape& shape, const Shape& expected, std::int64_t dimension_min) {
  if (shape.size() != expected.size()) return false;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (expected[i] >= 0 ? shape[i] != expected[i] : shape[i] < dimension_min) return false;
  }
  return true;
}

std::string typed(DataType type, const Shape& shape) {
  return std::string(takt::to_string(type)) + takt::to_string(shape);
}

// Whether the bytes are as many strings as the shape says. Errors: invalid_input.
Result<void> check_string_count(std::span<const std::byte> bytes, const Shape& shape) {
  const Result<std::size_t> count = element_count(shape);
  if (!count) return std::unexpected(count.error());
  Result<void> checked = check_strings(bytes, *count);
  if (checked) return checked;
  return std::unexpected(std::move(checked.error()).within(typed(DataType::bytes, shape)));
}

Result<void> check_tensor(const TensorView& tensor, DataType type, const Shape& expected) {
  if (tensor.type != type || !fits(tensor.shape, expected, 1))
    return fail(ErrorKind::invalid_input,
                "expected " + typed(type, expected) + ", got " + typed(tensor.type, tensor.shape));
  if (tensor.bytes.data() == nullptr)
    return fail(ErrorKind::invalid_input, "expected data, got none");
  if (type == DataType::bytes) return check_string_count(tensor.bytes, tensor.shape);
  const Result<std::size_t> bytes = byte_size(type, tensor.shape);
  if (!bytes) return std::unexpected(bytes.error());
  if (tensor.bytes.size() != *bytes)
    return fail(ErrorKind::invalid_input, "expected " + std::to_string(*bytes) + " bytes for " +
                                              typed(type, tensor.shape) + ", got " +
                                              std::to_string(tensor.bytes.size()));
  return {};
}

std::string sized(const ImageView& image) {
  return std::to_string(image.width) + "x" + std::to_string(image.height) + " " +
         std::string(to_string(image.format));
}

Result<void> check_images(const ImageStack& stack, std::int64_t rows) {
  const auto wrong = [](std::string what) {
    return fail(ErrorKind::invalid_input, std::move(what));
  };
  if (rows != 1)
    return wrong("expected one row for images, got " + std::to_string(rows) +
                 "; send one request an image");
  if (stack.images.empty()) return wrong("expected at least one image, got none");
  for (std::size_t i = 0; i < stack.images.size(); ++i) {
    const ImageView& image = stack.images[i];
    const std::string place = "image " + std::to_string(i) + ": ";
    if (image.pixels == nullptr || image.width <= 0 || image.height <= 0)
      return wrong(place + "expected pixels, got " + sized(image) +
                   (image.pixels == nullptr ? " without data" : ""));
    const std::int64_t row_bytes = std::int64_t{image.width} * channel_count(image.format);
    if (image.stride_bytes < row_bytes)
      return wrong(place + "expected a stride of at least " + std::to_string(row_bytes) +
                   " bytes, got " + std::to_string(image.stride_bytes));
    if (image.width != stack.images[0].width || image.height != stack.images[0].height)
      return wrong(place + "expected the size of image 0 (" + sized(stack.images[0]) + "), got " +
                   sized(image));
  }
  const Region& region = stack.region;
  const bool finite = std::isfinite(region.x) && std::isfinite(region.y) &&
                      std::isfinite(region.width) && std::isfinite(region.height);
  if (!finite || region.width < 0 || (region.width > 0 && !(region.height > 0)))
    return wrong(
        "expected a region with finite corners and a size above 0 (or width 0 for the "
        "whole image), got " +
        std::to_string(region.width) + "x" + std::to_string(region.height) + " at " +
        std::to_string(region.x) + "," + std::to_string(region.y));
  return {};
}

}  // namespace

Result<void> check_request(const ServedModel& model, const InferRequest& request) {
  const Signature& signature = model.info().signature;
  const auto wrong = [&model](const std::string& what) {
    return fail(ErrorKind::invalid_input, model.label() + ": " + what);
  };
  if (request.rows < 1 || request.rows > model.rows_max())
    return wrong("expected 1 to " + std::to_string(model.rows_max()) + " rows, got " +
                 std::to_string(request.rows) + "; split the request");
  if (request.inputs.size() != signature.inputs.size())
    return wrong("expected " + std::to_string(signature.inputs.size()) + " inputs, got " +
                 std::to_string(request.inputs.size()));
  for (std::size_t i = 0; i < signature.inputs.size(); ++i) {
    const TensorSpec& spec = signature.inputs[i];
    Result<void> checked;
    if (const auto* tensor = std::get_if<TensorView>(&request.inputs[i])) {
      checked = check_tensor(*tensor, spec.type, expected_shape(signature, spec, request.rows));
    } else {
      checked = check_images(std::get<ImageStack>(request.inputs[i]), request.rows);
    }
    if (!checked)
      return std::unexpected(
          std::move(checked.error()).within(model.label() + ": input '" + spec.name + "'"));
  }
  return {};
}

Result<void> check_outputs(const ServedModel& model, std::span<const OutputBuffer> outputs,
                           std::int64_t rows) {
  const Signature& signature = model.info().signature;
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    const OutputBuffer& output = outputs[i];
    const TensorSpec& spec = signature.outputs[i];
    const auto wrong = [&](const std::string& what) {
      return fail(ErrorKind::corrupt_output,
                  model.label() + ": output '" + spec.name + "': " + what);
    };
    const Shape expected = expected_shape(signature, spec, rows);
    if (output.type != spec.type || !fits(output.shape, expected, 0))
      return wrong("expected " + typed(spec.type, expected) + ", the backend wrote " +
                   typed(output.type, output.shape));
    if (output.bytes_used > output.room.size())
      return wrong("the backend wrote " + std::to_string(output.bytes_used) + " bytes into " +
                   std::to_string(output.room.size()));
    if (spec.type == DataType::bytes) {
      const Result<void> text =
          check_string_count(output.room.first(output.bytes_used), output.shape);
      if (!text) return wrong(text.error().message);
      continue;
    }
    const Result<std::size_t> bytes = byte_size(spec.type, output.shape);
    if (!bytes || *bytes != output.bytes_used)
      return wrong("its shape " + takt::to_string(output.shape) + " doesn't agree with its " +
                   std::to_string(output.bytes_used) + " bytes");
  }
  return {};
}

}  // namespace takt::engine
