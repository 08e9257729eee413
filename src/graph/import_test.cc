// SPDX-License-Identifier: Apache-2.0
#include "graph/import.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <onnx/onnx.pb.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <numeric>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace takt::graph {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsSupersetOf;

namespace fs = std::filesystem;

using Names = std::vector<std::string>;

// A dimension: a number, or a name for an open one ("" is open without a name).
struct TestDim {
  std::int64_t value = -1;
  std::string param;
  TestDim(std::int64_t fixed) : value(fixed) {}          // NOLINT: reads as the dimension itself
  TestDim(const char* name) : value(-1), param(name) {}  // NOLINT
};

void set_value(onnx::ValueInfoProto& value, const std::string& name,
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

void set_floats(onnx::TensorProto& tensor, const std::string& name, const Shape& shape,
                std::initializer_list<float> values) {
  tensor.set_name(name);
  tensor.set_data_type(onnx::TensorProto::FLOAT);
  tensor.mutable_dims()->Add(shape.begin(), shape.end());
  tensor.mutable_float_data()->Add(values.begin(), values.end());
}

void set_integers(onnx::TensorProto& tensor, const std::string& name,
                  std::initializer_list<std::int64_t> values) {
  tensor.set_name(name);
  tensor.set_data_type(onnx::TensorProto::INT64);
  tensor.add_dims(static_cast<std::int64_t>(values.size()));
  tensor.mutable_int64_data()->Add(values.begin(), values.end());
}

onnx::NodeProto& add_node(onnx::GraphProto& graph, const std::string& op, const Names& inputs,
                          const Names& outputs) {
  onnx::NodeProto& node = *graph.add_node();
  node.set_op_type(op);
  node.set_name(op + "_" + std::to_string(graph.node_size() - 1));
  for (const std::string& input : inputs) node.add_input(input);
  for (const std::string& output : outputs) node.add_output(output);
  return node;
}

onnx::AttributeProto& add_attribute(onnx::NodeProto& node, const std::string& name,
                                    onnx::AttributeProto::AttributeType type) {
  onnx::AttributeProto& attribute = *node.add_attribute();
  attribute.set_name(name);
  attribute.set_type(type);
  return attribute;
}

void set_integer(onnx::NodeProto& node, const std::string& name, std::int64_t value) {
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

std::vector<std::string> operators(const Graph& graph) {
  std::vector<std::string> names;
  for (const Node& node : graph.nodes) names.push_back(describe(node.op));
  return names;
}

const TensorType& output_type(const Graph& graph, std::size_t index = 0) {
  return graph.value(graph.outputs.at(index)).type;
}

// What the first output is for an x of 0, 1, 2, ...
std::vector<float> results(const Graph& graph) {
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

// ---- what is refused

TEST_F(Import, NamesNodeOperatorAndOpsetOfWhatItDoesNotKnow) {
  add("RoiAlign", {"x"}, {"y"}).set_name("roi");
  EXPECT_EQ(
      refusal(),
      "node 'roi' (RoiAlign, opset 17): the cuda backend has no such operator; run the model on "
      "the openvino backend (backends: [cuda, openvino])");
}

TEST_F(Import, NamesTheDomainOfForeignOperators) {
  add("FusedConv", {"x"}, {"y"}).set_domain("com.microsoft");
  EXPECT_THAT(refusal(),
              HasSubstr("node 'FusedConv_0' (FusedConv, opset 17): the cuda backend knows "
                        "no operators of the domain 'com.microsoft'"));
}

TEST_F(Import, RefusesLoops) {
  add("Loop", {"", "", "x"}, {"y"});
  EXPECT_THAT(refusal(), HasSubstr("(Loop, opset 17): the cuda backend has no such operator"));
}

TEST_F(Import, SaysHowAnOpenDimensionIsFixed) {
  set_input({"batch", 3, "height", ""});
  add("Relu", {"x"}, {"y"});
  EXPECT_EQ(
      refusal(),
      "input 'x': dimension 0 ('batch') of [batch,3,height,?] is open, but the cuda backend needs "
      "every size; give it by dimensions: {batch: N} or a batch size or input_shapes: {x: [...]}");
  EXPECT_THAT(refusal({{}, {}, 1}), HasSubstr("dimension 2 ('height')"));
  EXPECT_THAT(
      refusal({{}, {{"height", 8}}, 1}),
      HasSubstr("dimension 3 of [batch,3,height,?] is open, but the cuda backend needs every "
                "size; give it by input_shapes: {x: [...]}"));
}

TEST_F(Import, RefusesInputShapesThatCannotBe) {
  set_input({"n", 3});
  add("Relu", {"x"}, {"y"});
  EXPECT_THAT(refusal({{{"x", {2, 3, 4}}}, {}, 0}),
              HasSubstr("input 'x': input_shapes gives it [2,3,4], but the file [n,3]"));
  EXPECT_THAT(refusal({{{"x", {-2, 3}}}, {}, 0}), HasSubstr("a size below 0"));
  EXPECT_THAT(refusal({{{"X", {2, 3}}}, {}, 0}), HasSubstr("no input 'X'; the model has x"));
}

TEST_F(Import, RefusesSizesThatDependOnTheData) {
  set_input({2}, onnx::TensorProto::INT64);
  graph().mutable_output(0)->mutable_type()->mutable_tensor_type()->clear_elem_type();
  set_floats(*graph().add_initializer(), "w", {2}, {1, 2});
  add("Reshape", {"w", "x"}, {"y"});
  EXPECT_EQ(
      refusal(),
      "node 'Reshape_0' (Reshape, opset 17): its input 1 ('x') depends on the data, but the cuda "
      "backend needs it when it loads the model; run the model on the openvino backend "
      "(backends: [cuda, openvino])");
}

TEST_F(Import, RefusesAConditionThatDependsOnTheData) {
  set_input({}, onnx::TensorProto::BOOL);
  add("If", {"x"}, {"y"});
  EXPECT_THAT(refusal(), HasSubstr("(If, opset 17): its input 0 ('x') depends on the data"));
}

TEST_F(Import, RefusesOpsetsItDoesNotKnow) {
  add("Relu", {"x"}, {"y"});
  for (const int opset : {10, 22}) {
    model_.mutable_opset_import(0)->set_version(opset);
    EXPECT_THAT(refusal(),
                HasSubstr("opset " + std::to_string(opset) + "; the cuda backend knows 11 to 21"));
  }
  model_.mutable_opset_import(0)->set_domain("ai.onnx.ml");
  EXPECT_THAT(refusal(), HasSubstr("names no opset"));
}

TEST_F(Import, RefusesNamesThatNothingGives) {
  add("Relu", {"gone"}, {"y"});
  EXPECT_THAT(refusal(), HasSubstr("node 'Relu_0' (Relu, opset 17): no input, initialiser or node "
                                   "before it gives the value 'gone'"));
}

TEST_F(Import, RefusesNodesInAnotherOrderThanTheirData) {
  add("Relu", {"a"}, {"y"});
  add("Abs", {"x"}, {"a"});
  EXPECT_THAT(refusal(), HasSubstr("before it gives the value 'a'"));
}

TEST_F(Import, RefusesAnOutputThatNothingGives) {
  add("Relu", {"x"}, {"z"});
  EXPECT_THAT(refusal(), HasSubstr("output 'y': no input, initialiser or node"));
}

TEST_F(Import, RefusesNamesGivenTwice) {
  add("Relu", {"x"}, {"y"});
  add("Abs", {"x"}, {"y"});
  EXPECT_THAT(refusal(),
              HasSubstr("node 'Abs_1' (Abs, opset 17): its output 'y' is the name of another "
                        "value"));
}

TEST_F(Import, RefusesWeightsThatDoNotFillTheirShape) {
  set_floats(*graph().add_initializer(), "w", {2, 3}, {1, 2, 3});
  add("Add", {"x", "w"}, {"y"});
  EXPECT_THAT(refusal(),
              HasSubstr("node 'Add_0' (Add, opset 17): the weights 'w': 12 bytes of elements, "
                        "but FP32[2,3] has 24"));
}

TEST_F(Import, RefusesWeightsOfNegativeSizes) {
  set_floats(*graph().add_initializer(), "w", {-1, 3}, {1, 2, 3});
  add("Add", {"x", "w"}, {"y"});
  EXPECT_THAT(refusal(), HasSubstr("the weights 'w'"));
}

TEST_F(Import, RefusesWeightsOfTypesItDoesNotKnow) {
  onnx::TensorProto& weights = *graph().add_initializer();
  weights.set_name("w");
  weights.set_data_type(onnx::TensorProto::FLOAT8E5M2);
  add("Add", {"x", "w"}, {"y"});
  EXPECT_THAT(refusal(), HasSubstr("the weights 'w': element type FLOAT8E5M2"));
}

TEST_F(Import, RefusesSparseWeights) {
  graph().add_sparse_initializer()->mutable_values()->set_name("s");
  add("Relu", {"x"}, {"y"});
  EXPECT_THAT(refusal(), HasSubstr("the weights 's' are sparse"));
}

TEST_F(Import, RefusesAttributesOfAnotherType) {
  onnx::NodeProto& node = add("LeakyRelu", {"x"}, {"y"});
  set_integer(node, "alpha", 1);
  EXPECT_THAT(refusal(), HasSubstr("attribute 'alpha' is of type INT; expected FLOAT"));
}

TEST_F(Import, RefusesTooFewInputs) {
  add("Add", {"x"}, {"y"});
  EXPECT_THAT(refusal(), HasSubstr("it has 1 inputs; expected 2"));
}

TEST_F(Import, RefusesAnOutputThatContradictsTheFile) {
  add("Relu", {"x"}, {"y"});
  set_value(*graph().mutable_output(0), "y", {6});
  EXPECT_THAT(refusal(),
              HasSubstr("output 'y': the file says [6], but it is computed as FP32[2,3]"));
  graph().clear_output();
  set_value(*graph().add_output(), "y", {2, 3}, onnx::TensorProto::INT64);
  EXPECT_THAT(refusal(),
              HasSubstr("output 'y': the file says INT64, but it is computed as FP32[2,3]"));
}

TEST_F(Import, RefusesFunctionsThatCallThemselves) {
  onnx::FunctionProto& function = *model_.add_functions();
  function.set_name("Endless");
  function.set_domain("here");
  function.add_opset_import()->set_version(17);
  function.add_input("a");
  function.add_output("b");
  onnx::NodeProto& inner = *function.add_node();
  inner.set_op_type("Endless");
  inner.set_domain("here");
  inner.add_input("a");
  inner.add_output("b");
  add("Endless", {"x"}, {"y"}).set_domain("here");
  EXPECT_THAT(refusal(), HasSubstr("more than 16 graphs or functions within each other"));
}

// ---- what disappears

TEST_F(Import, ShapesAreComputedAway) {
  set_input({"n", 3, 4});
  add_integers("zero", {0});
  add_integers("rest", {-1});
  add("Shape", {"x"}, {"shape"});
  add("Gather", {"shape", "zero"}, {"n"});
  add("Concat", {"n", "rest"}, {"flat"}).set_name("join");
  set_integer(*graph().mutable_node(2), "axis", 0);
  add("Reshape", {"x", "flat"}, {"y"});
  const Graph graph = imported({{}, {}, 5});
  EXPECT_THAT(operators(graph), ElementsAre("Reshape"));
  EXPECT_EQ(output_type(graph), (TensorType{DataType::fp32, {5, 12}}));
  EXPECT_EQ(graph.values.size(), 2U);
  EXPECT_EQ(graph.nodes.front().name, "Reshape_3 (Reshape)");
}

TEST_F(Import, DimensionsComeFromTheOptions) {
  set_input({"n", "c", "h"});
  add("Relu", {"x"}, {"y"});
  EXPECT_EQ(output_type(imported({{}, {{"c", 3}, {"h", 8}}, 2})).shape, (Shape{2, 3, 8}));
  EXPECT_EQ(output_type(imported({{}, {{"n", 7}, {"c", 3}, {"h", 8}}, 2})).shape, (Shape{7, 3, 8}));
  EXPECT_EQ(output_type(imported({{{"x", {1, 2, 4}}}, {}, 9})).shape, (Shape{1, 2, 4}));
}

TEST_F(Import, NodesThatNothingNeedsAreNotLookedAt) {
  add("Relu", {"x"}, {"y"});
  add("Abs", {"x"}, {"dead"});
  add("RoiAlign", {"dead"}, {"unknown"});
  EXPECT_THAT(operators(imported()), ElementsAre("Unary relu"));
}

TEST_F(Import, WhatChangesNothingNeedsNoNode) {
  add_integers("same", {2, -1});
  add_integers("once", {1, 1});
  add("Identity", {"x"}, {"a"});
  add("Reshape", {"a", "same"}, {"b"});
  add("Tile", {"b", "once"}, {"c"});
  add("Dropout", {"c"}, {"d"});
  add("Relu", {"d"}, {"y"});
  EXPECT_THAT(operators(imported()), ElementsAre("Unary relu"));
}

// ---- branches and functions

void set_branch(onnx::NodeProto& node, const std::string& name, const std::string& op) {
  onnx::GraphProto& branch = *add_attribute(node, name, onnx::AttributeProto::GRAPH).mutable_g();
  add_node(branch, op, {"x"}, {"inner"});
  branch.add_output()->set_name("inner");
}

TEST_F(Import, TakesTheBranchOfAKnownCondition) {
  onnx::TensorProto& condition = *graph().add_initializer();
  condition.set_name("condition");
  condition.set_data_type(onnx::TensorProto::BOOL);
  for (const bool taken : {true, false}) {
    condition.clear_int32_data();
    condition.add_int32_data(taken ? 1 : 0);
    graph().clear_node();
    onnx::NodeProto& node = add("If", {"condition"}, {"y"});
    set_branch(node, "then_branch", taken ? "Relu" : "RoiAlign");
    set_branch(node, "else_branch", taken ? "RoiAlign" : "Abs");
    EXPECT_THAT(operators(imported()), ElementsAre(taken ? "Unary relu" : "Unary abs"));
  }
}

TEST_F(Import, FunctionsAreWrittenOut) {
  onnx::FunctionProto& function = *model_.add_functions();
  function.set_name("Leak");
  function.set_domain("here");
  function.add_opset_import()->set_version(17);
  function.add_input("a");
  function.add_output("b");
  function.add_attribute("slope");
  onnx::NodeProto& inner = *function.add_node();
  inner.set_op_type("LeakyRelu");
  inner.add_input("a");
  inner.add_output("b");
  add_attribute(inner, "alpha", onnx::AttributeProto::FLOAT).set_ref_attr_name("slope");
  onnx::NodeProto& call = add("Leak", {"x"}, {"y"});
  call.set_domain("here");
  add_attribute(call, "slope", onnx::AttributeProto::FLOAT).set_f(0.25F);
  const Graph graph = imported();
  ASSERT_THAT(operators(graph), ElementsAre("Unary leaky_relu"));
  EXPECT_EQ(std::get<Unary>(graph.nodes.front().op).alpha, 0.25F);
}

// ---- outputs

TEST_F(Import, OneValueUnderTwoNamesIsCopied) {
  add_output("z");
  add("Relu", {"x"}, {"z"});
  add("Identity", {"z"}, {"y"});
  const Graph graph = imported();
  EXPECT_THAT(operators(graph), ElementsAre("Unary relu", "Reshape"));
  EXPECT_EQ(graph.value(graph.outputs.at(0)).name, "y");
  EXPECT_EQ(graph.value(graph.outputs.at(1)).name, "z");
}

TEST_F(Import, AnInputMayBeAnOutput) {
  add_output("x");
  add("Identity", {"x"}, {"y"});
  const Graph graph = imported();
  EXPECT_THAT(operators(graph), ElementsAre("Reshape"));
  EXPECT_EQ(graph.value(graph.inputs.at(0)).name, "x");
  EXPECT_EQ(graph.value(graph.outputs.at(0)).name, "y");
  EXPECT_EQ(graph.outputs.at(1), graph.inputs.at(0));
}

TEST_F(Import, AConstantMayBeAnOutput) {
  set_floats(*graph().add_initializer(), "w", {2}, {1, 2});
  add("Neg", {"w"}, {"y"});
  const Graph graph = imported();
  EXPECT_THAT(operators(graph), ElementsAre());
  ASSERT_NE(graph.value(graph.outputs.at(0)).constant, nullptr);
  EXPECT_EQ(graph.value(graph.outputs.at(0)).name, "y");
}

// ---- translations

TEST_F(Import, ClipByConstantsIsOneOperator) {
  set_floats(*graph().add_initializer(), "low", {}, {1});
  set_floats(*graph().add_initializer(), "high", {1}, {4});
  add("Clip", {"x", "low", "high"}, {"y"});
  const Graph graph = imported();
  EXPECT_THAT(operators(graph), ElementsAre("Unary clip"));
  EXPECT_THAT(results(graph), ElementsAre(1, 1, 2, 3, 4, 4));
}

TEST_F(Import, ClipOfIntegersIsMaximumAndMinimum) {
  set_input({3}, onnx::TensorProto::INT32);
  any_output_type();
  onnx::TensorProto& high = *graph().add_initializer();
  high.set_name("high");
  high.set_data_type(onnx::TensorProto::INT32);
  high.add_int32_data(4);
  add("Clip", {"x", "", "high"}, {"y"});
  EXPECT_THAT(operators(imported()), ElementsAre("Binary minimum"));
}

TEST_F(Import, MeanIsASumDivided) {
  add("Mean", {"x", "x", "x"}, {"y"});
  EXPECT_THAT(results(imported()), ElementsAre(0, 1, 2, 3, 4, 5));
}

TEST_F(Import, SlicesClampAndCountFromTheEnd) {
  add_integers("starts", {-1, 100});
  add_integers("ends", {-100, -2});
  add_integers("axes", {0, -1});
  add_integers("steps", {-1, -1});
  add("Slice", {"x", "starts", "ends", "axes", "steps"}, {"y"});
  EXPECT_THAT(results(imported()), ElementsAre(5, 2));
}

TEST_F(Import, StepsBeyondTheEndTakeOneElement) {
  add_integers("starts", {1});
  add_integers("ends", {INT64_MAX});
  add_integers("axes", {1});
  add_integers("steps", {INT64_MAX});
  add("Slice", {"x", "starts", "ends", "axes", "steps"}, {"y"});
  EXPECT_THAT(results(imported()), ElementsAre(1, 4));
}

TEST_F(Import, NegativePadsCut) {
  add_integers("pads", {0, -1, 0, 1});
  add("Pad", {"x", "pads"}, {"y"});
  const Graph graph = imported();
  EXPECT_THAT(operators(graph), ElementsAre("Slice", "Pad"));
  EXPECT_THAT(results(graph), ElementsAre(1, 2, 0, 4, 5, 0));
}

TEST_F(Import, TileRepeatsWithoutACopyForEach) {
  add_integers("repeats", {1, 2});
  add("Tile", {"x", "repeats"}, {"y"});
  const Graph graph = imported();
  EXPECT_THAT(operators(graph), ElementsAre("Reshape", "Expand", "Reshape"));
  EXPECT_THAT(results(graph), ElementsAre(0, 1, 2, 0, 1, 2, 3, 4, 5, 3, 4, 5));
}

TEST_F(Import, SplitsIntoUnequalPartsSinceOpset18) {
  add_output("rest");
  onnx::NodeProto& node = add("Split", {"x"}, {"y", "rest"});
  set_integer(node, "axis", 1);
  EXPECT_THAT(refusal(), HasSubstr("3 elements can't be split into 2 parts"));
  model_.mutable_opset_import(0)->set_version(18);
  set_integer(node, "num_outputs", 2);
  const Graph graph = imported();
  EXPECT_EQ(output_type(graph, 0).shape, (Shape{2, 2}));
  EXPECT_EQ(output_type(graph, 1).shape, (Shape{2, 1}));
}

// Attributes until opset 12, inputs since.
TEST_F(Import, TakesAxesAndSizesAsAttributesBeforeOpset13) {
  model_.mutable_opset_import(0)->set_version(11);
  const auto set_integers_of = [](onnx::NodeProto& node, const std::string& name,
                                  std::initializer_list<std::int64_t> values) {
    add_attribute(node, name, onnx::AttributeProto::INTS)
        .mutable_ints()
        ->Add(values.begin(), values.end());
  };
  set_integers_of(add("Unsqueeze", {"x"}, {"wide"}), "axes", {0, -1});
  set_integers_of(add("Squeeze", {"wide"}, {"narrow"}), "axes", {-1});
  onnx::NodeProto& split = add("Split", {"narrow"}, {"first", "y"});
  set_integer(split, "axis", 2);
  set_integers_of(split, "split", {1, 2});
  const Graph graph = imported();
  EXPECT_EQ(output_type(graph).shape, (Shape{1, 2, 2}));
  EXPECT_THAT(results(graph), ElementsAre(1, 2, 4, 5));
}

TEST_F(Import, RangesReachTheEndsOfTheirType) {
  any_output_type();
  for (const auto& [name, value] : {std::pair<std::string, std::int64_t>{"start", INT64_MIN},
                                    {"limit", INT64_MAX},
                                    {"delta", INT64_MAX}}) {
    onnx::TensorProto& scalar = *graph().add_initializer();
    scalar.set_name(name);
    scalar.set_data_type(onnx::TensorProto::INT64);
    scalar.add_int64_data(value);
  }
  add("Range", {"start", "limit", "delta"}, {"y"});
  const Graph graph = imported();
  const Value& range = graph.value(graph.outputs.front());
  ASSERT_NE(range.constant, nullptr);
  EXPECT_THAT(range.constant->view().as<std::int64_t>(), ElementsAre(INT64_MIN, -1, INT64_MAX - 1));
}

TEST_F(Import, ReshapeKeepsZerosOnlyWhereAsked) {
  add_integers("shape", {0, 1, -1});
  add("Reshape", {"x", "shape"}, {"y"});
  EXPECT_EQ(output_type(imported()).shape, (Shape{2, 1, 3}));
  set_integer(*graph().mutable_node(0), "allowzero", 1);
  EXPECT_THAT(refusal(), HasSubstr("[2,3] can't become [0,1,-1]"));
}

TEST_F(Import, GatherLooksAtIndicesItKnows) {
  add_integers("indices", {3});
  onnx::NodeProto& node = add("Gather", {"x", "indices"}, {"y"});
  set_integer(node, "axis", 1);
  EXPECT_THAT(refusal(), HasSubstr("index 3 of 3 elements"));
}

TEST_F(Import, GatherNdLooksAtIndicesItKnows) {
  set_integers(*graph().add_initializer(), "rows", {0, 2, 1, 3});
  graph().mutable_initializer(0)->mutable_dims()->Clear();
  graph().mutable_initializer(0)->add_dims(2);
  graph().mutable_initializer(0)->add_dims(2);
  add("GatherND", {"x", "rows"}, {"y"});
  EXPECT_THAT(refusal(), HasSubstr("index 3 of 3 elements"));
}

// Column 1 of x becomes {10, 20}; -2 counts from the end.
TEST_F(Import, ScatterNdReplacesWhatIndicesName) {
  set_integers(*graph().add_initializer(), "places", {0, 1, 1, -2});
  graph().mutable_initializer(0)->mutable_dims()->Clear();
  graph().mutable_initializer(0)->add_dims(2);
  graph().mutable_initializer(0)->add_dims(2);
  set_floats(*graph().add_initializer(), "updates", {2}, {10, 20});
  add("ScatterND", {"x", "places", "updates"}, {"y"});
  EXPECT_THAT(results(imported()), ElementsAre(0, 10, 2, 3, 20, 5));
  EXPECT_THAT(operators(imported()), ElementsAre("Slice", "Slice", "Concat")) << "a box is joined";
  graph().mutable_initializer(0)->set_int64_data(3, 3);
  EXPECT_THAT(refusal(), HasSubstr("index 3 of 3 elements"));
  graph().mutable_initializer(1)->add_dims(1);
  EXPECT_THAT(refusal(), HasSubstr("updates FP32[2,1] don't fit data FP32[2,3]"));
}

// Each update of a place counts, in whatever order they come.
TEST_F(Import, ScatterElementsAddsEveryUpdateOfAPlace) {
  set_integers(*graph().add_initializer(), "places", {2, 2, 0, 2});
  graph().mutable_initializer(0)->mutable_dims()->Clear();
  graph().mutable_initializer(0)->add_dims(1);
  graph().mutable_initializer(0)->add_dims(4);
  set_floats(*graph().add_initializer(), "updates", {1, 4}, {10, 20, 30, 40});
  onnx::NodeProto& node = add("ScatterElements", {"x", "places", "updates"}, {"y"});
  set_integer(node, "axis", 1);
  EXPECT_THAT(results(imported()), ElementsAre(30, 1, 40, 3, 4, 5)) << "the last update stays";
  add_attribute(node, "reduction", onnx::AttributeProto::STRING).set_s("add");
  EXPECT_THAT(results(imported()), ElementsAre(30, 1, 72, 3, 4, 5));
}

TEST_F(Import, RefusesPlacesOfUpdatesThatDependOnTheData) {
  add("Cast", {"x"}, {"places"});
  add_attribute(*graph().mutable_node(0), "to", onnx::AttributeProto::INT)
      .set_i(onnx::TensorProto::INT64);
  add("ScatterElements", {"x", "places", "x"}, {"y"});
  EXPECT_THAT(refusal(),
              HasSubstr("(ScatterElements, opset 17): its input 1 ('places') depends on the data"));
}

// Weights of 0 leave 0.5 * tanh(0) in every gate: each step halves the cell, forwards and backwards.
TEST_F(Import, RecurrentLayersBeginWhereTheirDirectionDoes) {
  set_input({2, 1, 1});
  set_floats(*graph().add_initializer(), "w", {2, 4, 1}, {0, 0, 0, 0, 0, 0, 0, 0});
  set_floats(*graph().add_initializer(), "cell", {2, 1, 1}, {4, 4});
  onnx::NodeProto& node = add("LSTM", {"x", "w", "w", "", "", "", "cell"}, {"states", "", "y"});
  add_attribute(node, "direction", onnx::AttributeProto::STRING).set_s("bidirectional");
  EXPECT_THAT(results(imported()), ElementsAre(1, 1));
  graph().mutable_output(0)->set_name("states");
  const std::vector<float> states = results(imported());
  ASSERT_EQ(states.size(), 4U) << "[steps,directions,batch,hidden]";
  EXPECT_FLOAT_EQ(states[0], 0.5F * std::tanh(2.0F));
  EXPECT_EQ(states[3], states[0]) << "the last place is the first of the way back";
  EXPECT_EQ(states[1], states[2]);
  add_attribute(node, "activations", onnx::AttributeProto::STRINGS).add_strings("Relu");
  EXPECT_THAT(refusal(), HasSubstr("the activation 'Relu'; expected Sigmoid, Tanh, Tanh"));
}

TEST_F(Import, ADimensionThatNoInputHasIsNamed) {
  set_input({"n", 3});
  add("Relu", {"x"}, {"y"});
  EXPECT_THAT(refusal({.input_shapes = {}, .dimensions = {{"hieght", 640}}, .batch = 1}),
              HasSubstr("no dimension 'hieght'"));
}

// As a product with ones and zeros, infinity would make everything NaN.
TEST_F(Import, RunningSumsKeepInfinityToThemselves) {
  set_floats(*graph().add_initializer(), "c", {1, 4}, {1, INFINITY, 2, 3});
  add_integers("axis", {1});
  add("CumSum", {"c", "axis"}, {"s"});
  add("Add", {"s", "s"}, {"y"});
  const Graph found = imported();
  const Constant* const sums = found.value(found.outputs[0]).constant.get();
  ASSERT_NE(sums, nullptr);
  EXPECT_THAT(sums->view().as<float>(), ElementsAre(2, INFINITY, INFINITY, INFINITY));
}

// How many boxes there are is known only afterwards.
TEST_F(Import, RefusesToComputeWithTheNumberOfBoxesFound) {
  set_input({1, 6, 4});
  set_value(*graph().add_input(), "scores", {1, 2, 6});
  add_integers("most", {3});
  any_output_type();
  add("NonMaxSuppression", {"x", "scores", "most"}, {"found"});
  add("Shape", {"found"}, {"y"});
  EXPECT_THAT(refusal(), HasSubstr("on how many boxes NonMaxSuppression finds"));
  graph().mutable_node(1)->set_op_type("Neg");
  EXPECT_EQ(imported().nodes.size(), 2U) << "each row as it is";
  graph().mutable_node(1)->set_op_type("TopK");
  graph().mutable_node(1)->add_input("most");
  EXPECT_THAT(refusal(), HasSubstr("on how many boxes NonMaxSuppression finds"));
}

// Products of sizes that a file states stay far from overflowing.
TEST_F(Import, RefusesBlocksOfAnImageThatIsTooWide) {
  set_input({2, "n"});
  add_integers("shape", {1, std::int64_t{1} << 40, 0, 0});
  set_integer(add("Reshape", {"x", "shape"}, {"image"}), "allowzero", 1);
  set_integer(add("SpaceToDepth", {"image"}, {"y"}), "blocksize", 1 << 15);
  EXPECT_THAT(refusal({.input_shapes = {{"x", {2, 0}}}, .dimensions = {}, .batch = 0}),
              HasSubstr("blocks of 32768"));
}

TEST_F(Import, TrianglesAreSelected) {
  add("Trilu", {"x"}, {"y"});
  EXPECT_THAT(results(imported()), ElementsAre(0, 1, 2, 0, 4, 5));
}

TEST_F(Import, OneHotCountsNegativeIndicesFromTheEnd) {
  add_integers("depth", {3});
  set_floats(*graph().add_initializer(), "values", {2}, {0, 1});
  add_integers("indices", {-1, 0, 7});
  add("OneHot", {"indices", "depth", "values"}, {"hot"});
  add("Add", {"x", "hot"}, {"y"});
  set_input({1, 3});
  EXPECT_THAT(results(imported()), ElementsAre(0, 1, 3, 1, 1, 2, 0, 1, 2));
}

TEST_F(Import, BlocksOfChannelsBecomePixels) {
  set_input({1, 4, 1, 2});
  set_integer(add("DepthToSpace", {"x"}, {"y"}), "blocksize", 2);
  EXPECT_THAT(results(imported()), ElementsAre(0, 2, 1, 3, 4, 6, 5, 7));
}

TEST_F(Import, WeightsAreStandardisedByBatchNormalization) {
  set_input({1, 2, 2});
  set_floats(*graph().add_initializer(), "w", {1, 2, 2}, {1, 3, 5, 5});
  set_floats(*graph().add_initializer(), "ones", {2}, {1, 1});
  set_floats(*graph().add_initializer(), "zeros", {2}, {0, 0});
  onnx::NodeProto& norm =
      add("BatchNormalization", {"w", "ones", "zeros", "zeros", "ones"}, {"standard"});
  set_integer(norm, "training_mode", 1);
  add_attribute(norm, "epsilon", onnx::AttributeProto::FLOAT).set_f(1e-12F);
  add("Add", {"x", "standard"}, {"y"});
  EXPECT_THAT(results(imported()), ElementsAre(-1, 2, 2, 3));
  norm.set_input(0, "x");
  EXPECT_THAT(refusal(), HasSubstr("it is in training mode; export the model for inference"));
}

// As EfficientNet ends: a window of as many pixels as there are channels.
TEST_F(Import, AWindowLargerThanTheImageCountsOnlyInCeilMode) {
  set_input({1, 1, 2});
  onnx::NodeProto& pool = add("AveragePool", {"x"}, {"y"});
  add_attribute(pool, "kernel_shape", onnx::AttributeProto::INTS).add_ints(8);
  onnx::AttributeProto& strides = add_attribute(pool, "strides", onnx::AttributeProto::INTS);
  strides.add_ints(8);
  EXPECT_THAT(refusal(), HasSubstr("a kernel of 8 is larger than the padded input [1,1,2]"));
  set_integer(pool, "ceil_mode", 1);
  EXPECT_THAT(results(imported()), ElementsAre(0.5));
  strides.set_ints(0, 6);
  EXPECT_THAT(refusal(), HasSubstr("a kernel of 8 is larger than the padded input [1,1,2]"));
}

TEST_F(Import, RefusesGridsOfOtherDimensionsThanTheirImages) {
  set_input({1, 2, 4, 4});
  set_floats(*graph().add_initializer(), "grid", {1, 1, 1, 3}, {0, 0, 0});
  add("GridSample", {"x", "grid"}, {"y"});
  EXPECT_EQ(refusal(),
            "node 'GridSample_0' (GridSample, opset 17): it samples FP32[1,2,4,4] at "
            "FP32[1,1,1,3]; expected floating point, [N,C,H,W] at [N,height,width,2] or "
            "[N,C,D,H,W] at [N,depth,height,width,3]");
}

TEST(SupportedOperators, AreSorted) {
  const std::vector<std::string> names = supported_operators();
  EXPECT_TRUE(std::ranges::is_sorted(names));
  EXPECT_THAT(names, IsSupersetOf({"Abs", "If", "Reshape", "Xor"}));
}

// ---- files

class ImportFile : public Import {
 protected:
  ImportFile() : folder_(made_folder()) {
    fs::create_directory(folder_ / "model");
    onnx::TensorProto& weights = *graph().add_initializer();
    weights.set_name("w");
    weights.set_data_type(onnx::TensorProto::FLOAT);
    weights.add_dims(3);
    weights.set_data_location(onnx::TensorProto::EXTERNAL);
    add("Add", {"x", "w"}, {"y"});
  }
  void place(const std::string& key, const std::string& value) {
    onnx::StringStringEntryProto& entry = *graph().mutable_initializer(0)->add_external_data();
    entry.set_key(key);
    entry.set_value(value);
  }
  ~ImportFile() override { fs::remove_all(folder_); }

  static fs::path made_folder() {
    std::string name = (fs::temp_directory_path() / "takt-import-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("no folder for the test");
    return name;
  }
  void write(const std::string& name, const std::string& bytes) const {
    std::ofstream(folder_ / name, std::ios::binary) << bytes;
  }
  Result<Graph> read() {
    write("model/model.onnx", model_.SerializeAsString());
    return import_onnx_file(folder_ / "model/model.onnx", {});
  }

  fs::path folder_;
  const std::vector<float> numbers_{100, 10, 20, 30};
  const std::string bytes_{reinterpret_cast<const char*>(numbers_.data()), 16};
};

TEST_F(ImportFile, ReadsWeightsBesideIt) {
  write("model/weights.bin", bytes_);
  place("location", "weights.bin");
  place("offset", "4");
  place("length", "12");
  const Result<Graph> graph = read();
  ASSERT_TRUE(graph.has_value()) << graph.error().message;
  EXPECT_THAT(results(*graph), ElementsAre(10, 21, 32, 13, 24, 35));
}

TEST_F(ImportFile, RefusesWeightsOutsideOfItsFolder) {
  write("weights.bin", bytes_);
  place("location", "../weights.bin");
  const Result<Graph> graph = read();
  ASSERT_FALSE(graph.has_value());
  EXPECT_THAT(graph.error().message, HasSubstr("model.onnx: "));
  EXPECT_THAT(graph.error().message,
              HasSubstr("'../weights.bin', which is not inside the model's folder"));
}

TEST_F(ImportFile, RefusesWeightsThatAreCutShort) {
  write("model/weights.bin", bytes_);
  place("location", "weights.bin");
  place("offset", "8");
  const Result<Graph> graph = read();
  ASSERT_FALSE(graph.has_value());
  EXPECT_THAT(graph.error().message,
              HasSubstr("at bytes 8 + 12 of 'weights.bin', but that file has 16"));
}

TEST_F(ImportFile, RefusesWeightsOfAnotherSize) {
  write("model/weights.bin", bytes_);
  place("location", "weights.bin");
  place("length", "16");
  const Result<Graph> graph = read();
  ASSERT_FALSE(graph.has_value());
  EXPECT_THAT(graph.error().message, HasSubstr("of 16 bytes, but the tensor has 12"));
}

TEST_F(ImportFile, AModelInMemoryHasNoFolder) {
  place("location", "weights.bin");
  EXPECT_THAT(refusal(), HasSubstr("the weights 'w': its elements lie in another file"));
}

}  // namespace
}  // namespace takt::graph
