// SPDX-License-Identifier: Apache-2.0
#include "graph/import.h"

#include "graph/import_nodes.h"
#include "graph/infer_types.h"
#include "graph/node_reader.h"
#include "repository/onnx_external.h"
#include "repository/onnx_types.h"
#include "repository/read_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <unordered_map>
#include <unordered_set>
#include <utility>

namespace takt::graph {
namespace {

namespace fs = std::filesystem;
using repository::printable;
using takt::to_string;

// "[batch,3,height,?]"
std::string describe(const onnx::TensorShapeProto& shape) {
  std::string text;
  for (const onnx::TensorShapeProto::Dimension& dimension : shape.dim()) {
    if (!text.empty()) text += ',';
    text += dimension.dim_value() > 0        ? std::to_string(dimension.dim_value())
            : !dimension.dim_param().empty() ? printable(dimension.dim_param())
                                             : "?";
  }
  return "[" + text + "]";
}

Result<void> check_sizes(const TensorType& type) {
  const auto fits = [](std::int64_t size) { return size >= 0 && size <= kDimensionMax; };
  if (type.shape.size() > NodeImporter::kRankMax || !std::ranges::all_of(type.shape, fits)) {
    return refuse(
        fmt::format("the shape {} has a size below 0 or above {}, or more than {} dimensions",
                    to_string(type.shape), kDimensionMax, NodeImporter::kRankMax));
  }
  const Result<std::size_t> bytes = byte_size(type.type, type.shape);
  return bytes ? Result<void>() : std::unexpected(bytes.error());
}

std::unexpected<Error> refuse_open(const std::string& input, const onnx::TensorShapeProto& shape,
                                   int index) {
  const std::string name = printable(shape.dim(index).dim_param());
  const std::string by_name = name.empty() ? "" : fmt::format("dimensions: {{{}: N}} or ", name);
  const std::string by_batch = index == 0 ? "a batch size or " : "";
  return refuse(fmt::format(
      "dimension {}{} of {} is open, but the cuda backend needs every size; give "
      "it by {}{}input_shapes: {{{}: [...]}}",
      index, name.empty() ? "" : " ('" + name + "')", describe(shape), by_name, by_batch, input));
}

// In place of the file's dimension; 0: it stays open.
std::int64_t size_of(const onnx::TensorShapeProto::Dimension& dimension, bool first,
                     const ImportOptions& options) {
  if (dimension.dim_value() > 0) return dimension.dim_value();
  const auto given = options.dimensions.find(dimension.dim_param());
  if (!dimension.dim_param().empty() && given != options.dimensions.end()) return given->second;
  return first ? options.batch : 0;
}

Result<Shape> input_shape(const onnx::ValueInfoProto& input, const ImportOptions& options) {
  const onnx::TypeProto::Tensor& tensor = input.type().tensor_type();
  const onnx::TensorShapeProto& written = tensor.shape();
  if (const auto given = options.input_shapes.find(input.name());
      given != options.input_shapes.end()) {
    if (!tensor.has_shape() || std::cmp_equal(written.dim_size(), given->second.size())) {
      return given->second;
    }
    return refuse(fmt::format("input_shapes gives it {}, but the file {}", to_string(given->second),
                              describe(written)));
  }
  if (!tensor.has_shape()) {
    return refuse(fmt::format("the file gives no shape; give it by input_shapes: {{{}: [...]}}",
                              printable(input.name())));
  }
  Shape shape;
  for (int i = 0; i < written.dim_size(); ++i) {
    shape.push_back(size_of(written.dim(i), i == 0, options));
    if (shape.back() == 0) return refuse_open(printable(input.name()), written, i);
  }
  return shape;
}

Result<TensorType> input_type(const onnx::ValueInfoProto& input, const ImportOptions& options) {
  if (!input.type().has_tensor_type())
    return refuse("not a tensor but a sequence, map or optional");
  const std::int32_t code = input.type().tensor_type().elem_type();
  const std::optional<DataType> type = repository::from_onnx_type(code);
  if (!type || *type == DataType::bytes) {
    return refuse(fmt::format("element type {} can't be fed; {}", repository::onnx_type_name(code),
                              kOpenvinoAdvice));
  }
  Result<Shape> shape = input_shape(input, options);
  if (!shape) return std::unexpected(std::move(shape).error());
  TensorType result{*type, std::move(*shape)};
  if (Result<void> checked = check_sizes(result); !checked) {
    return std::unexpected(std::move(checked).error());
  }
  return result;
}

// Before IR version 4 every initialiser was listed as an input too.
std::vector<const onnx::ValueInfoProto*> fed_inputs(const onnx::GraphProto& graph) {
  std::unordered_set<std::string_view> weights;
  for (const onnx::TensorProto& tensor : graph.initializer()) weights.insert(tensor.name());
  std::vector<const onnx::ValueInfoProto*> inputs;
  for (const onnx::ValueInfoProto& input : graph.input()) {
    if (!weights.contains(input.name())) inputs.push_back(&input);
  }
  return inputs;
}

// A misspelt name would otherwise change nothing, silently.
Result<void> check_names(const std::vector<const onnx::ValueInfoProto*>& inputs,
                         const ImportOptions& options) {
  std::string names;
  std::set<std::string_view> known;
  for (const onnx::ValueInfoProto* input : inputs) {
    known.insert(input->name());
    names += (names.empty() ? "" : ", ") + printable(input->name());
  }
  for (const auto& [name, shape] : options.input_shapes) {
    if (known.contains(name)) continue;
    return refuse(
        fmt::format("input_shapes: no input '{}'; the model has {}", printable(name), names));
  }
  std::set<std::string_view> dimensions;
  for (const onnx::ValueInfoProto* input : inputs) {
    for (const auto& dim : input->type().tensor_type().shape().dim()) {
      dimensions.insert(dim.dim_param());
    }
  }
  for (const auto& [name, size] : options.dimensions) {
    if (dimensions.contains(name)) continue;
    return refuse(fmt::format("dimensions: no dimension '{}' of an input", printable(name)));
  }
  return {};
}

Result<void> add_inputs(const onnx::GraphProto& graph, const ImportOptions& options,
                        NodeImporter& importer, Scope& scope) {
  const std::vector<const onnx::ValueInfoProto*> inputs = fed_inputs(graph);
  if (Result<void> checked = check_names(inputs, options); !checked) return checked;
  for (const onnx::ValueInfoProto* input : inputs) {
    if (input->name().empty()) return refuse("an input has no name; export the model again");
    Result<TensorType> type = input_type(*input, options);
    if (!type) {
      return std::unexpected(
          std::move(type).error().within(fmt::format("input '{}'", printable(input->name()))));
    }
    const Result<ValueId> added = importer.add_input(input->name(), std::move(*type), scope);
    if (!added) return std::unexpected(added.error());
  }
  return {};
}

Result<void> check_output(const onnx::ValueInfoProto& output, const TensorType& type) {
  const onnx::TypeProto::Tensor& tensor = output.type().tensor_type();
  const bool typed = output.type().has_tensor_type() && tensor.elem_type() != 0;
  if (typed && repository::from_onnx_type(tensor.elem_type()) != type.type) {
    return refuse(fmt::format(
        "output '{}': the file says {}, but it is computed as {}; export the "
        "model again",
        printable(output.name()), repository::onnx_type_name(tensor.elem_type()), to_string(type)));
  }
  if (tensor.has_shape() && std::cmp_not_equal(tensor.shape().dim_size(), type.shape.size())) {
    return refuse(
        fmt::format("output '{}': the file says {}, but it is computed as {}; export the "
                    "model again",
                    printable(output.name()), describe(tensor.shape()), to_string(type)));
  }
  return {};
}

// Each output is a value of its own with its name: an input under another name, or what is an output
// already, is copied.
Result<std::vector<ValueId>> name_outputs(const onnx::GraphProto& graph,
                                          std::vector<ValueId> outputs, const Scope& scope,
                                          GraphBuilder& builder) {
  std::unordered_map<ValueId, std::string_view> inputs;
  for (const onnx::ValueInfoProto* input : fed_inputs(graph)) {
    inputs.emplace(scope.names.at(input->name()).value.value(), input->name());
  }
  std::unordered_set<ValueId> taken;
  std::unordered_set<std::string_view> names;
  for (int i = 0; i < graph.output_size(); ++i) {
    const onnx::ValueInfoProto& output = graph.output(i);
    ValueId& value = outputs[static_cast<std::size_t>(i)];
    if (!names.insert(output.name()).second) {
      return refuse(fmt::format("two outputs are named '{}'", printable(output.name())));
    }
    if (Result<void> checked = check_output(output, builder.type(value)); !checked) {
      return std::unexpected(std::move(checked).error());
    }
    const auto input = inputs.find(value);
    const bool other_name = input != inputs.end() && input->second != output.name();
    if (other_name || !taken.insert(value).second) {
      builder.set_node_name(fmt::format("{} (output)", output.name()));
      const Result<ValueId> copy = builder.add(Reshape{builder.shape(value)}, {value});
      if (!copy) return std::unexpected(copy.error());
      value = *copy;
    }
    builder.set_name(value, output.name());
  }
  return outputs;
}

Result<Graph> import_model(const onnx::ModelProto& model, const fs::path* folder,
                           const ImportOptions& options) {
  if (!model.has_graph() || model.graph().output_size() == 0) {
    return refuse("the model holds no graph with outputs; export it again");
  }
  const Result<int> opset = default_opset(model.opset_import());
  if (!opset) return std::unexpected(opset.error());
  GraphBuilder builder;
  NodeImporter importer(model, folder, builder);
  Scope scope;
  scope.opset = *opset;
  if (Result<void> added = add_inputs(model.graph(), options, importer, scope); !added) {
    return std::unexpected(std::move(added).error());
  }
  Result<std::vector<ValueId>> outputs = importer.add_graph(model.graph(), scope);
  if (outputs) outputs = name_outputs(model.graph(), std::move(*outputs), scope, builder);
  if (!outputs) return std::unexpected(std::move(outputs).error());
  return std::move(builder).finish(std::move(*outputs));
}

}  // namespace

Result<Graph> import_onnx(const onnx::ModelProto& model, const ImportOptions& options) {
  return import_model(model, nullptr, options);
}

Result<Graph> import_onnx_file(const fs::path& file, const ImportOptions& options) {
  onnx::ModelProto model;
  if (Result<void> parsed = repository::parse_onnx(file, {}, model); !parsed) {
    return std::unexpected(std::move(parsed).error());
  }
  const fs::path folder = file.parent_path().empty() ? fs::path(".") : file.parent_path();
  Result<Graph> graph = import_model(model, &folder, options);
  if (!graph) return std::unexpected(std::move(graph).error().within(file.string()));
  return graph;
}

}  // namespace takt::graph
