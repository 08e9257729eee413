// SPDX-License-Identifier: Apache-2.0
#include "repository/onnx_model.h"

#include "repository/onnx_external.h"
#include "repository/onnx_types.h"
#include "repository/read_file.h"

#include <onnx/onnx.pb.h>

#include <set>
#include <utility>

namespace takt::repository {
namespace {

namespace fs = std::filesystem;

constexpr int kTensorsMax = 256;
constexpr int kRankMax = 16;
constexpr std::size_t kNameBytesMax = 1024;

Result<OnnxTensor> read_value(const onnx::ValueInfoProto& value, const std::string& where) {
  if (value.name().empty() || value.name().size() > kNameBytesMax) {
    return fail(ErrorKind::invalid_input, where + ": has no name, or one over 1024 bytes");
  }
  const std::string named = where + " '" + printable(value.name()) + "'";
  if (!value.type().has_tensor_type()) {
    return fail(ErrorKind::invalid_input,
                named +
                    ": not a tensor but a sequence, map or optional; export the model with "
                    "plain tensors (scikit-learn: zipmap=False)");
  }
  const onnx::TypeProto::Tensor& tensor = value.type().tensor_type();
  const std::optional<DataType> type = from_onnx_type(tensor.elem_type());
  if (!type) {
    return fail(ErrorKind::invalid_input, named + ": element type " +
                                              onnx_type_name(tensor.elem_type()) +
                                              " can't be fed; export the model with FLOAT there");
  }
  OnnxTensor result{value.name(), *type, tensor.has_shape(), {}, {}};
  if (tensor.shape().dim_size() > kRankMax) {
    return fail(ErrorKind::invalid_input, named + ": " + std::to_string(tensor.shape().dim_size()) +
                                              " dimensions; at most 16 are supported");
  }
  for (const onnx::TensorShapeProto::Dimension& dim : tensor.shape().dim()) {
    // Some exporters write 0 or -1 for "any"; a dimension of no elements can't be meant.
    const bool fixed = dim.has_dim_value() && dim.dim_value() > 0;
    result.shape.push_back(fixed ? dim.dim_value() : -1);
    result.dim_params.push_back(dim.has_dim_param() ? dim.dim_param() : "");
  }
  return result;
}

template <typename Values>
Result<std::vector<OnnxTensor>> read_values(const Values& values, const std::string& side,
                                            const std::set<std::string>& skipped) {
  std::vector<OnnxTensor> tensors;
  std::set<std::string> names;
  for (int i = 0; i < values.size(); ++i) {
    if (skipped.contains(values[i].name())) continue;
    Result<OnnxTensor> tensor = read_value(values[i], side + "[" + std::to_string(i) + "]");
    if (!tensor) return std::unexpected(std::move(tensor).error());
    if (!names.insert(tensor->name).second) {
      return fail(ErrorKind::invalid_input, side + ": the name '" + printable(tensor->name) +
                                                "' is used twice; export the model again");
    }
    tensors.push_back(std::move(*tensor));
  }
  if (tensors.empty() || tensors.size() > kTensorsMax) {
    return fail(ErrorKind::invalid_input, "the graph has " + std::to_string(tensors.size()) + " " +
                                              side + "s; expected 1 to 256");
  }
  return tensors;
}

// Before IR version 4 every initializer was listed as an input too.
std::set<std::string> initializer_names(const onnx::GraphProto& graph) {
  std::set<std::string> names;
  for (const onnx::TensorProto& tensor : graph.initializer()) names.insert(tensor.name());
  for (const onnx::SparseTensorProto& tensor : graph.sparse_initializer()) {
    names.insert(tensor.values().name());
  }
  return names;
}

Result<OnnxModel> read_signature(const onnx::ModelProto& model) {
  OnnxModel result;
  result.ir_version = model.ir_version();
  for (const onnx::OperatorSetIdProto& opset : model.opset_import()) {
    if (opset.domain().empty() || opset.domain() == "ai.onnx") result.opset = opset.version();
  }
  result.producer = printable(model.producer_name());
  if (!model.producer_version().empty()) {
    result.producer += ' ' + printable(model.producer_version());
  }
  if (!model.has_graph() || model.graph().node_size() == 0 || result.ir_version <= 0) {
    return fail(ErrorKind::invalid_input,
                "no ONNX model: it can be read as one, but holds no graph with operators; "
                "export it again");
  }
  Result<std::vector<OnnxTensor>> inputs =
      read_values(model.graph().input(), "input", initializer_names(model.graph()));
  if (!inputs) return std::unexpected(std::move(inputs).error());
  Result<std::vector<OnnxTensor>> outputs = read_values(model.graph().output(), "output", {});
  if (!outputs) return std::unexpected(std::move(outputs).error());
  result.inputs = std::move(*inputs);
  result.outputs = std::move(*outputs);
  return result;
}

}  // namespace

Result<OnnxModel> read_onnx(const fs::path& file, const Limits& limits) {
  onnx::ModelProto model;
  if (Result<void> parsed = parse_onnx(file, limits, model); !parsed) {
    return std::unexpected(parsed.error());
  }
  Result<OnnxModel> result = read_signature(model);
  if (!result) return std::unexpected(std::move(result).error().within(file.string()));
  if (Result<void> external = check_external_data(model, file.parent_path()); !external) {
    return std::unexpected(external.error().within(file.string()));
  }
  return result;
}

}  // namespace takt::repository
