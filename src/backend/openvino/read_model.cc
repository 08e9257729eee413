// SPDX-License-Identifier: Apache-2.0
#include "backend/openvino/read_model.h"

#include "backend/openvino/ov_types.h"
#include "core/suggest.h"

#include <openvino/frontend/manager.hpp>

#include <algorithm>
#include <map>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace takt::ov_backend {
namespace {

std::unexpected<Error> refuse(const std::string& message) {
  return fail(ErrorKind::invalid_input, message);
}

Result<void> check_file(const std::filesystem::path& path) {
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (!std::filesystem::exists(status)) {
    return refuse("the file does not exist; expected an ONNX file there");
  }
  if (!std::filesystem::is_regular_file(status)) return refuse("is no file");
  const std::uintmax_t bytes = std::filesystem::file_size(path, error);
  if (error) return refuse("can't be read: " + error.message());
  if (bytes == 0) return refuse("the file is empty; export or copy the model again");
  return {};
}

// What the frontend could not convert, with the remedy that belongs to it.
Error explain(Error error) {
  if (error.kind != ErrorKind::invalid_input) return error;
  std::string& text = error.message;
  if (const auto at = text.find("No conversion rule found for operations: ");
      at != std::string::npos) {
    text = "uses operators that OpenVINO does not support: " +
           text.substr(at + std::string_view("No conversion rule found for operations: ").size()) +
           "; export the model with standard operators (opset 17), or use another backend";
  } else if (text.find("can't be parsed") != std::string::npos) {
    text = "is damaged or truncated (" + text + "); export or copy the model again";
  } else {
    text += "; check the model with onnx.checker.check_model(model, full_check=True)";
  }
  return error;
}

// The spec of an input by its name; nullptr without specs.
Result<const TensorSpec*> spec_of(const std::string& name, std::span<const TensorSpec> specs) {
  if (specs.empty()) return nullptr;
  const auto found = std::ranges::find(specs, name, &TensorSpec::name);
  if (found != specs.end()) return &*found;
  std::vector<std::string> names;
  for (const TensorSpec& spec : specs) names.push_back(spec.name);
  return refuse("the ONNX file has an input '" + name + "' that is not declared" +
                suggestion(name, names));
}

Result<ov::PartialShape> input_shape(const ov::Output<ov::Node>& input, const TensorSpec* spec,
                                     const std::optional<ov::Dimension>& batch) {
  const ov::PartialShape& file = input.get_partial_shape();
  const std::size_t skip = batch ? 1 : 0;
  if (file.rank().is_dynamic() && spec == nullptr) {
    return refuse("the ONNX file gives no shape; state dims in config.pbtxt");
  }
  ov::PartialShape shape =
      file.rank().is_static()
          ? file
          : ov::PartialShape::dynamic(static_cast<std::int64_t>(spec->shape.size() + skip));
  if (batch && shape.size() == 0) return refuse("is a scalar and has no batch dimension");
  if (spec != nullptr) {
    const bool fits = shape.size() == spec->shape.size() + skip;
    for (std::size_t i = 0; fits && i < spec->shape.size(); ++i) {
      ov::Dimension merged;
      const ov::Dimension declared = spec->shape[i] < 0 ? ov::Dimension() : spec->shape[i];
      if (!ov::Dimension::merge(merged, shape[i + skip], declared)) {
        return refuse("declared as " + to_string(spec->shape) + ", but the ONNX file says " +
                      file.to_string());
      }
      shape[i + skip] = merged;
    }
    if (!fits) {
      return refuse("declared as " + to_string(spec->shape) + ", but the ONNX file says " +
                    file.to_string());
    }
    const Result<DataType> type = from_ov(input.get_element_type());
    if (!type) return std::unexpected(type.error());
    if (*type != spec->type) {
      return refuse("declared as " + std::string(to_string(spec->type)) +
                    ", but the ONNX file says " + std::string(to_string(*type)));
    }
  }
  if (batch) shape[0] = *batch;
  return shape;
}

// A Reshape with a fixed first dimension swallows the batch: the outputs tell.
Result<void> check_outputs_follow(const ov::Model& model, const ov::Dimension& batch) {
  for (const ov::Output<const ov::Node>& output : model.outputs()) {
    const ov::PartialShape& shape = output.get_partial_shape();
    const bool follows = shape.rank().is_dynamic() ||
                         (shape.size() > 0 &&
                          (batch.is_static() ? shape[0].compatible(batch) : shape[0].is_dynamic()));
    if (follows) continue;
    return refuse("output '" + output.get_any_name() + "' stays " + shape.to_string() +
                  " when the batch is " + batch.to_string() +
                  ": the batch is fixed inside the model; export it with a dynamic first "
                  "dimension, or set max_batch_size: 0");
  }
  return {};
}

}  // namespace

Result<std::shared_ptr<ov::Model>> read_onnx_file(const std::filesystem::path& path) {
  if (Result<void> file = check_file(path); !file) return std::unexpected(file.error());
  // The ONNX frontend alone: a file of another format under this name is refused, not run.
  const auto read = [&]() -> Result<std::shared_ptr<ov::Model>> {
    ov::frontend::FrontEndManager manager;
    const ov::frontend::FrontEnd::Ptr frontend = manager.load_by_framework("onnx");
    if (!frontend) {
      return fail(ErrorKind::unavailable, "OpenVINO's ONNX frontend is missing; run: make setup");
    }
    if (!frontend->supported(path.string())) {
      return refuse("is not an ONNX file; export the model as ONNX (opset 17)");
    }
    return frontend->convert(frontend->load(path.string()));
  };
  Result<std::shared_ptr<ov::Model>> model = guarded(ErrorKind::invalid_input, read);
  if (!model) return std::unexpected(explain(std::move(model).error()));
  return model;
}

Result<void> set_shapes(ov::Model& model, std::span<const TensorSpec> specs,
                        std::optional<ov::Dimension> batch) {
  if (!specs.empty() && specs.size() != model.inputs().size()) {
    return refuse(std::to_string(specs.size()) + " inputs are declared, the ONNX file has " +
                  std::to_string(model.inputs().size()));
  }
  std::map<ov::Output<ov::Node>, ov::PartialShape> shapes;
  for (const ov::Output<ov::Node>& input : model.inputs()) {
    const std::string name = input.get_any_name();
    const Result<const TensorSpec*> spec = spec_of(name, specs);
    if (!spec) return std::unexpected(spec.error());
    const Result<ov::PartialShape> shape = input_shape(input, *spec, batch);
    if (!shape) return std::unexpected(shape.error().within("input '" + name + "'"));
    shapes[input] = *shape;
  }
  const auto reshape = [&]() -> Result<void> {
    model.reshape(shapes);
    return {};
  };
  if (Result<void> reshaped = guarded(ErrorKind::invalid_input, reshape); !reshaped) {
    Error error = std::move(reshaped).error();
    error.message +=
        "; the model does not take these shapes: state the dims that it was exported "
        "with in config.pbtxt, and max_batch_size: 0 when its batch is fixed";
    return std::unexpected(std::move(error));
  }
  return batch ? check_outputs_follow(model, *batch) : Result<void>();
}

}  // namespace takt::ov_backend
