// SPDX-License-Identifier: Apache-2.0
// What becomes of single operators when a file is imported.
#include "graph/import_fixture.h"

#include <gmock/gmock.h>

#include <cmath>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace takt::graph {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

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

}  // namespace
}  // namespace takt::graph
