// SPDX-License-Identifier: Apache-2.0
// For tests: ONNX models made node by node, and what their import says.
// Thread-safe: no.
// Owns: the model of a test.
#pragma once

#include "graph/import.h"

#include <gtest/gtest.h>
#include <onnx/onnx.pb.h>

#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <numeric>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace takt::graph {

using Names = std::vector<std::string>;

// A dimension: a number, or a name for an open one ("" is open without a name).
struct TestDim {
  std::int64_t value = -1;
  std::string param;
  TestDim(std::int64_t fixed) : value(fixed) {}          // NOLINT: reads as the dimension itself
  TestDim(const char* name) : value(-1), param(name) {}  // NOLINT
};

inline void set_value(onnx::ValueInfoProto& value, const std::string& name,
                      const std::vector<TestDim>& dims,
                      onnx::TensorProto::DataType type = onnx::TensorProto::FLOAT) {
  value.set_name(name);
  onnx::TypeProto::Tensor& tensor = *value.mutable_type()->mutable_tensor_type();
  tensor.set_elem_type(type);
  tensor.mutable_shape();
  for (const TestDim& dim : dims) {
    auto& out = *tensor.mutable_shape()->add_dim();
    if (dim.value >= 0) out.set_dim_value(dim.value);
    if (dim.value < 0 && !dim.param.empty()) out.set_dim_param(dim.param);
  }
}

inline void set_floats(onnx::TensorProto& tensor, const std::string& name, const Shape& shape,
                       std::initializer_list<float> values) {
  tensor.set_name(name);
  tensor.set_data_type(onnx::TensorProto::FLOAT);
  tensor.mutable_dims()->Add(shape.begin(), shape.end());
  tensor.mutable_float_data()->Add(values.begin(), values.end());
}

inline void set_integers(onnx::TensorProto& tensor, const std::string& name,
                         std::initializer_list<std::int64_t> values) {
  tensor.set_name(name);
  tensor.set_data_type(onnx::TensorProto::INT64);
  tensor.add_dims(static_cast<std::int64_t>(values.size()));
  tensor.mutable_int64_data()->Add(values.begin(), values.end());
}

inline onnx::NodeProto& add_node(onnx::GraphProto& graph, const std::string& op,
                                 const Names& inputs, const Names& outputs) {
  onnx::NodeProto& node = *graph.add_node();
  node.set_op_type(op);
  node.set_name(op + "_" + std::to_string(graph.node_size() - 1));
  for (const std::string& input : inputs) node.add_input(input);
  for (const std::string& output : outputs) node.add_output(output);
  return node;
}

inline onnx::AttributeProto& add_attribute(onnx::NodeProto& node, const std::string& name,
                                           onnx::AttributeProto::AttributeType type) {
  onnx::AttributeProto& attribute = *node.add_attribute();
  attribute.set_name(name);
  attribute.set_type(type);
  return attribute;
}

inline void set_integer(onnx::NodeProto& node, const std::string& name, std::int64_t value) {
  add_attribute(node, name, onnx::AttributeProto::INT).set_i(value);
}

// From the input x to the output y; nodes are the test's.
class Import : public ::testing::Test {
 protected:
  explicit Import(int opset = 17) {
    model_.set_ir_version(8);
    model_.add_opset_import()->set_version(opset);
    set_input({2, 3});
    set_value(*graph().add_output(), "y", {});
    graph().mutable_output(0)->mutable_type()->mutable_tensor_type()->clear_shape();
  }

  onnx::GraphProto& graph() { return *model_.mutable_graph(); }
  void set_input(const std::vector<TestDim>& dims,
                 onnx::TensorProto::DataType type = onnx::TensorProto::FLOAT) {
    graph().clear_input();
    set_value(*graph().add_input(), "x", dims, type);
  }
  onnx::NodeProto& add(const std::string& op, const Names& inputs, const Names& outputs) {
    return add_node(graph(), op, inputs, outputs);
  }
  void add_integers(const std::string& name, std::initializer_list<std::int64_t> values) {
    set_integers(*graph().add_initializer(), name, values);
  }
  void add_output(const std::string& name) {
    onnx::ValueInfoProto& output = *graph().add_output();
    set_value(output, name, {});
    output.mutable_type()->mutable_tensor_type()->clear_shape();
    output.mutable_type()->mutable_tensor_type()->clear_elem_type();
  }
  void any_output_type() {
    graph().mutable_output(0)->mutable_type()->mutable_tensor_type()->clear_elem_type();
  }

  Graph imported(const ImportOptions& options = {}) {
    Result<Graph> result = import_onnx(model_, options);
    if (result) return *std::move(result);
    ADD_FAILURE() << result.error().message;
    return {};
  }
  std::string refusal(const ImportOptions& options = {}) {
    const Result<Graph> result = import_onnx(model_, options);
    if (result) return "it was imported";
    EXPECT_EQ(result.error().kind, ErrorKind::invalid_input);
    return result.error().message;
  }

  onnx::ModelProto model_;
};

inline std::vector<std::string> operators(const Graph& graph) {
  std::vector<std::string> names;
  for (const Node& node : graph.nodes) names.push_back(describe(node.op));
  return names;
}

inline const TensorType& output_type(const Graph& graph, std::size_t index = 0) {
  return graph.value(graph.outputs.at(index)).type;
}

// What the first output is for an x of 0, 1, 2, ...
inline std::vector<float> results(const Graph& graph) {
  Constant x{graph.value(graph.inputs.at(0)).type, {}};
  std::vector<float> numbers(element_count(x.type.shape).value_or(0));
  std::iota(numbers.begin(), numbers.end(), 0.0F);
  x.bytes.resize(numbers.size() * sizeof(float));
  std::memcpy(x.bytes.data(), numbers.data(), x.bytes.size());
  const Result<std::vector<Constant>> outputs = evaluate(graph, std::span(&x, 1));
  if (!outputs) {
    ADD_FAILURE() << outputs.error().message;
    return {};
  }
  const std::span<const float> y = outputs->front().view().as<float>();
  return {y.begin(), y.end()};
}

}  // namespace takt::graph
