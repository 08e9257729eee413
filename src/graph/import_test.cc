// SPDX-License-Identifier: Apache-2.0
#include "graph/import.h"

#include "graph/import_fixture.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
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
