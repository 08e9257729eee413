// SPDX-License-Identifier: Apache-2.0
// An ONNX file that somebody else made: imported, and evaluated where that takes little.
#include "graph/import.h"
#include "graph/simplify.h"
#include "target.h"

#include <onnx/onnx.pb.h>

#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

namespace takt::fuzz {
namespace {

using graph::Constant;
using graph::Graph;

constexpr double kWorkMax = 1e5;
constexpr std::size_t kBytesMax = std::size_t{1} << 16;

void check_value(const graph::Value& value) {
  const Result<std::size_t> bytes = byte_size(value.type.type, value.type.shape);
  require(bytes.has_value(), "every shape is one that a tensor can have");
  if (value.constant == nullptr) return;
  require(value.constant->type == value.type, "a constant has its value's type");
  require(value.constant->bytes.size() == *bytes, "a constant fills its shape");
}

double check_node(const Graph& graph, const graph::Node& node) {
  std::vector<graph::TensorType> inputs;
  std::vector<graph::TensorType> outputs;
  for (const graph::ValueId id : node.inputs) inputs.push_back(graph.value(id).type);
  for (const graph::ValueId id : node.outputs) outputs.push_back(graph.value(id).type);
  const auto types = graph::infer_types(node.op, inputs);
  require(types.has_value() && *types == outputs, "a node computes what its outputs are");
  return graph::work(node.op, inputs, outputs);
}

// With zeros; only that it ends and stays inside of its tensors.
void evaluate_zeros(const Graph& graph) {
  std::vector<Constant> inputs;
  for (const graph::ValueId id : graph.inputs) {
    const graph::TensorType& type = graph.value(id).type;
    inputs.push_back({type, std::vector<std::byte>(*byte_size(type.type, type.shape))});
  }
  const auto outputs = graph::evaluate(graph, inputs);
  require(!outputs || outputs->size() == graph.outputs.size(), "each output has a value");
}

void check(const Graph& graph) {
  std::size_t bytes = 0;
  for (const graph::Value& value : graph.values) {
    check_value(value);
    bytes += *byte_size(value.type.type, value.type.shape);
  }
  double work = 0;
  for (const graph::Node& node : graph.nodes) work += check_node(graph, node);
  if (bytes <= kBytesMax && work <= kWorkMax) evaluate_zeros(graph);
}

void run(std::span<const std::byte> bytes) {
  onnx::ModelProto model;
  if (!model.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return;
  const Result<Graph> graph =
      graph::import_onnx(model, {.input_shapes = {}, .dimensions = {}, .batch = 1});
  if (graph) {
    check(*graph);
    const Result<Graph> simplified = graph::simplify(*graph);
    require(simplified.has_value(), "what was imported can be simplified");
    return check(*simplified);
  }
  require(graph.error().kind == ErrorKind::invalid_input, "a bad model is invalid input");
  require(!graph.error().message.empty(), "errors have words");
}

// Seeds.

using Dims = std::initializer_list<std::int64_t>;

onnx::ModelProto model_of(std::int64_t opset) {
  onnx::ModelProto model;
  model.set_ir_version(8);
  model.add_opset_import()->set_version(opset);
  return model;
}

void add_tensor(onnx::ValueInfoProto& info, const std::string& name, Dims dims) {
  info.set_name(name);
  auto& type = *info.mutable_type()->mutable_tensor_type();
  type.set_elem_type(onnx::TensorProto::FLOAT);
  for (const std::int64_t dim : dims) {
    auto& added = *type.mutable_shape()->add_dim();
    if (dim > 0) {
      added.set_dim_value(dim);
    } else {
      added.set_dim_param("n");
    }
  }
}

onnx::NodeProto& add_node(onnx::ModelProto& model, const std::string& op,
                          const std::vector<std::string>& inputs, const std::string& output) {
  onnx::NodeProto& node = *model.mutable_graph()->add_node();
  node.set_op_type(op);
  for (const std::string& input : inputs) node.add_input(input);
  node.add_output(output);
  return node;
}

void add_integers(onnx::NodeProto& node, const std::string& name, Dims values) {
  onnx::AttributeProto& attribute = *node.add_attribute();
  attribute.set_name(name);
  attribute.set_type(onnx::AttributeProto::INTS);
  for (const std::int64_t value : values) attribute.add_ints(value);
}

void add_indices(onnx::ModelProto& model, const std::string& name, Dims values) {
  onnx::TensorProto& tensor = *model.mutable_graph()->add_initializer();
  tensor.set_name(name);
  tensor.set_data_type(onnx::TensorProto::INT64);
  tensor.add_dims(static_cast<std::int64_t>(values.size()));
  for (const std::int64_t value : values) tensor.add_int64_data(value);
}

void add_weights(onnx::ModelProto& model, const std::string& name, Dims dims) {
  onnx::TensorProto& tensor = *model.mutable_graph()->add_initializer();
  tensor.set_name(name);
  tensor.set_data_type(onnx::TensorProto::FLOAT);
  std::int64_t count = 1;
  for (const std::int64_t dim : dims) {
    tensor.add_dims(dim);
    count *= dim;
  }
  for (std::int64_t i = 0; i < count; ++i) tensor.add_float_data(static_cast<float>(i % 5) - 2);
}

Seed seed(const std::string& name, const onnx::ModelProto& model) {
  const std::string bytes = model.SerializeAsString();
  return {name, Script().put_bytes(std::as_bytes(std::span(bytes))).bytes()};
}

Seed convolution() {
  onnx::ModelProto model = model_of(17);
  add_tensor(*model.mutable_graph()->add_input(), "x", {0, 2, 5, 5});
  add_weights(model, "w", {4, 2, 3, 3});
  add_integers(add_node(model, "Conv", {"x", "w"}, "c"), "pads", {1, 1, 1, 1});
  add_node(model, "Relu", {"c"}, "r");
  add_integers(add_node(model, "MaxPool", {"r"}, "p"), "kernel_shape", {2, 2});
  add_node(model, "GlobalAveragePool", {"p"}, "y");
  add_tensor(*model.mutable_graph()->add_output(), "y", {0, 4, 1, 1});
  return seed("convolution", model);
}

// Shape -> Gather -> Concat -> Reshape, as exporters write a flattening.
Seed shapes() {
  onnx::ModelProto model = model_of(13);
  add_tensor(*model.mutable_graph()->add_input(), "x", {0, 3, 2});
  add_indices(model, "first", {0});
  add_indices(model, "rest", {-1});
  add_node(model, "Shape", {"x"}, "s");
  add_node(model, "Gather", {"s", "first"}, "n");
  onnx::NodeProto& concat = add_node(model, "Concat", {"n", "rest"}, "shape");
  onnx::AttributeProto& axis = *concat.add_attribute();
  axis.set_name("axis");
  axis.set_type(onnx::AttributeProto::INT);
  add_node(model, "Reshape", {"x", "shape"}, "y");
  add_tensor(*model.mutable_graph()->add_output(), "y", {0, 6});
  return seed("shapes", model);
}

Seed indices() {
  onnx::ModelProto model = model_of(18);
  add_tensor(*model.mutable_graph()->add_input(), "x", {2, 6});
  add_indices(model, "starts", {-1});
  add_indices(model, "ends", {-7});
  add_indices(model, "axes", {1});
  add_indices(model, "steps", {-2});
  add_indices(model, "pads", {0, 1, 1, 0});
  add_indices(model, "k", {2});
  add_node(model, "Slice", {"x", "starts", "ends", "axes", "steps"}, "s");
  add_node(model, "Pad", {"s", "pads"}, "p");
  add_node(model, "TopK", {"p", "k"}, "values").add_output("places");
  add_node(model, "GatherElements", {"p", "places"}, "y");
  add_tensor(*model.mutable_graph()->add_output(), "y", {});
  return seed("indices", model);
}

std::vector<Seed> seeds() {
  return {convolution(), shapes(), indices()};
}

}  // namespace

Target onnx_import() {
  return {"onnx_import", &run, &seeds};
}

}  // namespace takt::fuzz
