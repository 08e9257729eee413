// SPDX-License-Identifier: Apache-2.0
// Lowered models beside the graphs that they come from, run on the CPU.
#include "backend/cuda/compile/lowering.h"

#include "backend/cuda/compile/host_run.h"
#include "backend/cuda/compile/lowering_fixture.h"
#include "graph/constants.h"
#include "graph/graph.h"
#include "graph/import.h"

#include <gmock/gmock.h>
#include <onnx/onnx.pb.h>

#include <utility>
#include <vector>

namespace takt::cuda {
namespace {

using graph::BinaryKind;
using graph::Constant;
using graph::Graph;
using graph::GraphBuilder;
using graph::UnaryKind;
using graph::ValueId;

constexpr auto kF32 = DataType::fp32;

// What fills up the channels of both convolutions' results is not 0 behind a sigmoid.
TEST(Lowering, WeightsMayBeWhatAnotherConvolutionComputes) {
  Net net;
  const ValueId x = net.input({1, 8, 6, 6});
  const ValueId image = net.unary(UnaryKind::sigmoid, net.conv(x, 6, 3));
  const ValueId pooled = net.slice(net.slice(x, 2, 0, 3), 3, 0, 3);
  const ValueId weights = net.unary(UnaryKind::sigmoid, net.conv(pooled, 6, 1));
  const graph::Window window{{3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}};
  expect_same(net.finish({net.add(graph::Conv{window, 1}, {image, weights})}));
}

TEST(Lowering, ConvolutionsTakeTheResidualAndTheActivationBehindThem) {
  Net net;
  const ValueId x = net.input({2, 16, 6, 6});
  const ValueId a = net.unary(UnaryKind::relu, net.conv(x, 16, 3));
  const ValueId sum = net.binary(BinaryKind::add, net.conv(a, 32, 1), net.conv(x, 32, 1));
  const ValueId b = net.unary(UnaryKind::relu, sum);
  const ValueId c = net.binary(BinaryKind::add, net.unary(UnaryKind::silu, net.conv(b, 32, 3)), b);
  const Program program = expect_same(net.finish({c}));
  EXPECT_EQ(count(program, StepKind::contraction), 4U);
  // The input's channels are brought together, the output's apart.
  EXPECT_EQ(copies(program), 2U);
  EXPECT_EQ(program.steps.size(), 6U);
}

TEST(Lowering, WhatIsConcatenatedIsWrittenIntoItsPlace) {
  Net net;
  const ValueId x = net.input({1, 16, 4, 4});
  // Split in two, convolve the second half twice, keep everything.
  const ValueId whole = net.unary(UnaryKind::silu, net.conv(x, 16, 1));
  const ValueId left = net.slice(whole, 1, 0, 8);
  const ValueId right = net.slice(whole, 1, 8, 8);
  const ValueId m = net.conv(net.conv(right, 8, 3), 8, 3);
  const ValueId sum = net.binary(BinaryKind::add, right, m);
  const ValueId all = net.concat({left, right, sum}, 1);
  const Program program = expect_same(net.finish({net.conv(all, 16, 1)}));
  EXPECT_EQ(copies(program), 2U);
}

TEST(Lowering, ListsThatGrowAreWrittenOnce) {
  Net net;
  const ValueId x = net.input({1, 8, 4, 4});
  std::vector<ValueId> features{net.conv(x, 16, 3)};
  for (int layer = 0; layer < 4; ++layer) {
    const ValueId all = features.size() > 1 ? net.concat(features, 1) : features.front();
    features.push_back(net.conv(net.unary(UnaryKind::relu, all), 8, 3));
  }
  const Program program = expect_same(net.finish({net.conv(net.concat(features, 1), 8, 1)}));
  EXPECT_EQ(copies(program), 2U);  // of the input and the output
}

TEST(Lowering, ScalesOfADetectorAreJoinedWithoutCopies) {
  Net net;
  const ValueId x = net.input({2, 8, 8, 8});
  std::vector<ValueId> scales;
  ValueId feature = net.conv(x, 16, 3);
  for (const std::int64_t size : {8, 4}) {
    const ValueId boxes = net.conv(feature, 16, 1);
    const ValueId scores = net.conv(feature, 8, 1);
    scales.push_back(net.reshape(net.concat({boxes, scores}, 1), {2, 24, size * size}));
    feature = net.conv(feature, 16, 3, 2);
  }
  const ValueId all = net.concat(scales, 2);
  const ValueId boxes = net.slice(all, 1, 0, 16);
  const ValueId scores = net.unary(UnaryKind::sigmoid, net.slice(all, 1, 16, 8));
  // Distribution over four bins, and its mean.
  const ValueId bins = net.transpose(net.reshape(boxes, {2, 4, 4, 80}), {0, 2, 1, 3});
  const ValueId mean = net.conv(net.add(graph::Softmax{1, false}, {bins}), 1, 1);
  const Program program =
      expect_same(net.finish({net.concat({net.reshape(mean, {2, 4, 80}), scores}, 1)}));
  EXPECT_EQ(copies(program), 1U);  // of the input
}

TEST(Lowering, TheMeanOfADistributionIsOneStep) {
  const auto steps_of = [](bool log, bool with_bias, bool bins_are_output, std::int64_t means) {
    Net net;
    const ValueId bins = net.unary(UnaryKind::relu, net.input({2, 16, 4, 21}));
    const ValueId softmax = net.add(graph::Softmax{1, log}, {bins});
    std::vector<ValueId> inputs{softmax, net.weights({means, 16, 1, 1})};
    if (with_bias) inputs.push_back(net.weights({means}));
    const graph::Window pixel{{1, 1}, {1, 1}, {1, 1}, {0, 0}, {0, 0}};
    std::vector<ValueId> outputs{net.add(graph::Conv{pixel, 1}, inputs)};
    if (bins_are_output) outputs.push_back(softmax);
    return expect_same(net.finish(outputs)).steps;
  };
  const std::vector<Step> steps = steps_of(false, false, false, 1);
  ASSERT_EQ(steps.size(), 2U);
  EXPECT_EQ(steps.back().kind, StepKind::single);
  EXPECT_EQ(steps.back().ops.size(), 2U);
  for (const std::vector<Step>& others :
       {steps_of(true, false, false, 1), steps_of(false, true, false, 1),
        steps_of(false, false, true, 1), steps_of(false, false, false, 2)}) {
    for (const Step& step : others) EXPECT_LE(step.ops.size(), 1U);
  }
}

TEST(Lowering, ImagesOfFewChannelsAreFilledUp) {
  Net net;
  const ValueId x = net.input({1, 3, 8, 8});
  const ValueId shifted = net.binary(BinaryKind::sub, x, net.weights({3, 1, 1}));
  const ValueId odd = net.unary(UnaryKind::sigmoid, net.conv(net.conv(shifted, 16, 3, 2), 5, 1));
  const Graph graph = net.finish({net.conv(odd, 8, 3)});
  for (const Precision precision : {Precision::fp32, Precision::tf32}) {
    const Program program = expect_same(graph, precision);
    for (const Step& step : program.steps) {
      if (step.kind != StepKind::contraction) continue;
      EXPECT_EQ(step.inputs[0].shape[1] % 4, 0);
    }
  }
  const Program program = expect_same(graph, Precision::fp16, 2e-3);
  EXPECT_EQ(program.steps.size(), 6U);  // shift, fill, three convolutions, output
  for (const Step& step : program.steps) {
    if (step.kind != StepKind::contraction) continue;
    EXPECT_EQ(step.inputs[0].shape[1] % 8, 0);
    EXPECT_EQ(step.outputs[0].view.shape[1] % 8, 0);
    EXPECT_EQ(step.inputs[0].type, DataType::fp16);
    EXPECT_EQ(step.inputs[0].strides[1], 1);
  }
}

TEST(Lowering, TheFirstConvolutionWorksOnBlocksOfPixels) {
  for (const auto& [kernel, pads] :
       {std::pair<std::int64_t, std::vector<std::int64_t>>{7, {3, 3, 3, 3}},
        {3, {1, 1, 1, 1}},
        {6, {2, 2, 2, 2}},
        {4, {0, 1, 2, 3}},
        {2, {0, 0, 0, 0}}}) {
    Net net;
    const ValueId x = net.input({2, 3, 8, 12});
    const graph::Window window{
        {kernel, kernel}, {2, 2}, {1, 1}, {pads[0], pads[1]}, {pads[2], pads[3]}};
    const ValueId y = net.add(graph::Conv{window, 1},
                              {x, net.weights({16, 3, kernel, kernel}), net.weights({16})});
    const Graph graph = net.finish({net.unary(UnaryKind::relu, y)});
    const Program program = expect_same(graph);
    expect_same(graph, Precision::fp16, 3e-3);
    EXPECT_EQ(program.steps[1].inputs[0].shape, (Shape{2, 16, 4, 6}));
    EXPECT_EQ(program.steps.size(), 3U);
  }
}

TEST(Lowering, SquaresThatAreSummedDoNotOverflow) {
  Net net;
  const ValueId x = net.binary(BinaryKind::mul, net.input({2, 16}),
                               net.add(graph::Expand{{16}}, {net.number(300)}));
  const ValueId mean =
      net.add(graph::Reduce{graph::ReduceKind::mean, {1}}, {net.binary(BinaryKind::mul, x, x)});
  const ValueId normal = net.binary(BinaryKind::div, x, net.unary(UnaryKind::sqrt, mean));
  expect_same(net.finish({net.add(graph::MatMul{}, {normal, net.weights({16, 8})})}),
              Precision::fp16, 5e-3);
}

TEST(Lowering, MasksStayFinite) {
  Net net;
  const ValueId product = net.add(graph::MatMul{}, {net.input({2, 16}), net.weights({16, 8})});
  const ValueId masked =
      net.binary(BinaryKind::add, product, net.add(graph::Expand{{8}}, {net.number(-3.4e38)}));
  const ValueId weights = net.add(graph::Softmax{1, false}, {masked});
  const Program program = expect_same(
      net.finish({net.add(graph::MatMul{}, {weights, net.weights({8, 8})})}), Precision::fp16, 1);
  ASSERT_FALSE(program.steps.empty());
}

TEST(Lowering, IndicesAreNotRounded) {
  Net net;
  const ValueId places =
      net.add(graph::Cast{DataType::int64},
              {net.binary(BinaryKind::add,
                          net.add(graph::Reduce{graph::ReduceKind::max, {0}}, {net.input({1, 1})}),
                          net.number(3001))});
  const ValueId rows =
      net.add(graph::Gather{0}, {net.weights({4000, 16}), net.reshape(places, {1})});
  expect_same(net.finish({net.add(graph::MatMul{}, {rows, net.weights({16, 8})})}), Precision::fp16,
              5e-3);
}

// In 16 bits the pixels of this row would have no places of their own.
TEST(Lowering, PlacesInAWideImageAreNotRounded) {
  onnx::ModelProto model;
  model.add_opset_import()->set_version(20);
  onnx::GraphProto& graph = *model.mutable_graph();
  const auto add_input = [&](const char* name, const Shape& shape) {
    onnx::ValueInfoProto& input = *graph.add_input();
    input.set_name(name);
    input.mutable_type()->mutable_tensor_type()->set_elem_type(onnx::TensorProto::FLOAT);
    auto& dims = *input.mutable_type()->mutable_tensor_type()->mutable_shape();
    for (const std::int64_t size : shape) dims.add_dim()->set_dim_value(size);
  };
  add_input("x", {1, 8, 1, 8192});
  add_input("grid", {1, 1, 64, 2});
  add_input("weights", {64, 8});
  const auto add_node = [&](const char* op, const char* a, const char* b, const char* output) {
    onnx::NodeProto& node = *graph.add_node();
    node.set_op_type(op);
    node.add_input(a);
    node.add_input(b);
    node.add_output(output);
  };
  add_node("GridSample", "x", "grid", "samples");
  add_node("MatMul", "samples", "weights", "y");
  graph.add_output()->set_name("y");
  const Result<Graph> imported = graph::import_onnx(model, {});
  ASSERT_TRUE(imported) << imported.error().message;
  expect_same(*imported, Precision::fp16, 2e-2);
}

TEST(Lowering, WhatTheDeviceMakesOfAnImageNeedsNoCopy) {
  for (const std::int64_t stride : {1, 2}) {
    Net net;
    const ValueId x = net.input({1, 3, 8, 8});
    const Graph graph = net.finish(
        {net.add(graph::Reduce{graph::ReduceKind::mean, {2, 3}}, {net.conv(x, 16, 3, stride)})});
    const Result<Program> program = lower(graph, {Precision::fp16, {true}});
    ASSERT_TRUE(program) << program.error().message;
    EXPECT_EQ(program->steps.size(), 2U);
    const View& input = program->inputs.front();
    EXPECT_EQ(input.type, DataType::fp16);
    EXPECT_EQ(input.shape, stride == 1 ? (Shape{1, 3, 8, 8}) : (Shape{1, 3, 4, 2, 8}));
    using Strides = std::vector<std::int64_t>;
    EXPECT_EQ(input.strides, stride == 1 ? (Strides{512, 1, 64, 8}) : (Strides{256, 1, 64, 4, 8}));
  }
}

TEST(Lowering, ImagesInBlocksGiveTheSame) {
  Net net;
  const ValueId x = net.input({2, 3, 8, 8});
  const Graph graph = net.finish({net.conv(x, 16, 3, 2)});
  const Result<Program> program = lower(graph, {Precision::fp32, {true}});
  ASSERT_TRUE(program) << program.error().message;
  const Constant image = random_constant(graph.value(graph.inputs[0]).type, 99);
  // What the preprocessing writes: rows in pairs; what lies between is 0.
  Constant rows{{kF32, program->inputs.front().shape}, image.bytes};
  const auto got = run_on_host(*program, std::vector{rows});
  const auto expected = graph::evaluate(graph, std::vector{image});
  ASSERT_TRUE(got && expected);
  const std::vector<double> g = graph::numbers_in(got->front());
  const std::vector<double> e = graph::numbers_in(expected->front());
  for (std::size_t i = 0; i < e.size(); ++i) ASSERT_NEAR(g[i], e[i], 1e-4) << i;
}

TEST(Lowering, WhatNoProductFollowsStaysPrecise) {
  Net net;
  const ValueId x = net.input({1, 8, 4, 4});
  const ValueId hidden = net.unary(UnaryKind::exp, net.conv(x, 8, 1));
  const ValueId logits = net.conv(hidden, 8, 1);
  const ValueId scaled = net.unary(UnaryKind::exp, logits);
  const Program program =
      expect_same(net.finish({net.add(graph::Softmax{1, false}, {scaled})}), Precision::fp16, 5e-3);
  std::vector<DataType> types;
  types.reserve(program.steps.size());
  for (const Step& step : program.steps) types.push_back(step.outputs.front().view.type);
  EXPECT_THAT(types, testing::ElementsAre(DataType::fp16, DataType::fp16, DataType::fp16,
                                          DataType::fp16, DataType::fp32, DataType::fp32));
}

TEST(Lowering, AttentionOfATransformer) {
  Net net;
  const ValueId x = net.input({2, 6, 16});
  const ValueId scale = net.weights({16});
  const ValueId normal = net.add(graph::LayerNorm{2, 1e-5}, {x, scale, net.weights({16})});
  const ValueId qkv =
      net.binary(BinaryKind::add, net.add(graph::MatMul{}, {normal, net.weights({16, 48})}),
                 net.weights({48}));
  const ValueId heads = net.transpose(net.reshape(qkv, {2, 6, 3, 4, 4}), {2, 0, 3, 1, 4});
  const auto head = [&](std::int64_t i) {
    return net.reshape(net.slice(heads, 0, i, 1), {2, 4, 6, 4});
  };
  const ValueId scores = net.add(graph::MatMul{false, true}, {head(0), head(1)});
  const ValueId weights = net.add(graph::Softmax{3, false}, {scores});
  const ValueId mixed = net.add(graph::MatMul{}, {weights, head(2)});
  const ValueId rows = net.reshape(net.transpose(mixed, {0, 2, 1, 3}), {2, 6, 16});
  const ValueId out = net.add(graph::MatMul{}, {rows, net.weights({16, 16})});
  const ValueId sum = net.binary(BinaryKind::add, x, out);
  const ValueId hidden =
      net.unary(UnaryKind::gelu,
                net.binary(BinaryKind::add, net.add(graph::MatMul{}, {sum, net.weights({16, 32})}),
                           net.weights({32})));
  const Graph graph = net.finish({net.add(graph::Reduce{graph::ReduceKind::mean, {1}}, {hidden})});
  expect_same(graph);
  expect_same(graph, Precision::fp16, 5e-3);
  expect_same(graph, Precision::bf16, 4e-2);
}

TEST(Lowering, ElementwiseChainsOfOneShapeAreOneStep) {
  Net net;
  const ValueId x = net.input({2, 3, 4});
  const ValueId y = net.binary(BinaryKind::mul, x, net.weights({3, 1}));
  const ValueId gate = net.unary(UnaryKind::sigmoid, y);
  const ValueId gated = net.binary(BinaryKind::mul, y, gate);  // needs y twice
  const ValueId other = net.unary(UnaryKind::exp, gated);
  const ValueId sum = net.binary(BinaryKind::add, other, gated);
  const Program program = expect_same(net.finish({sum}));
  EXPECT_EQ(program.steps.size(), 1U);
}

TEST(Lowering, WhatIsAlsoAnOutputIsWrittenOnce) {
  Net net;
  const ValueId x = net.input({1, 8, 3, 3});
  const ValueId a = net.unary(UnaryKind::relu, net.conv(x, 8, 1));
  const ValueId b = net.unary(UnaryKind::neg, a);
  const ValueId same = net.reshape(b, {1, 72});
  expect_same(net.finish({a, b, same, net.concat({a, b}, 1)}));
}

TEST(Lowering, SlicesAndShapesThatStridesCannotSayAreCopied) {
  Net net;
  const ValueId x = net.input({4, 6});
  const ValueId turned = net.reshape(net.transpose(x, {1, 0}), {24});
  const ValueId backwards = net.add(graph::Slice{{23}, {-2}, {12}}, {turned});
  const ValueId twice = net.concat({backwards, backwards}, 0);
  expect_same(net.finish({twice, net.add(graph::Expand{{2, 24}}, {turned})}));
}

// Those of a transposed convolution, whose channels are in dimension 0, were not.
TEST(Lowering, WeightsThatAreComputedFitTheChannelsOfTheImage) {
  Net net;
  const ValueId x = net.input({1, 3, 5, 5});
  const ValueId weights = net.unary(UnaryKind::exp, net.reshape(x, {3, 1, 5, 5}));
  const graph::Window window{{5, 5}, {1, 1}, {1, 1}, {0, 0}, {0, 0}};
  const ValueId up = net.add(graph::ConvTranspose{window, {0, 0}, 1}, {x, weights});
  const ValueId down = net.add(graph::Conv{window, 1}, {x, net.reshape(weights, {1, 3, 5, 5})});
  const Graph graph = net.finish({up, down});
  expect_same(graph);
  expect_same(graph, Precision::fp16, 5e-3);
}

TEST(Lowering, WhatIsMadeOfNoElementsIsKnown) {
  Net net;
  const ValueId x = net.input({2, 0, 3});
  const ValueId sum = net.add(graph::Reduce{graph::ReduceKind::sum, {1}}, {x});
  const ValueId product = net.add(graph::Reduce{graph::ReduceKind::prod, {1}}, {x});
  const ValueId matrix = net.add(graph::MatMul{true, false}, {x, x});
  const ValueId joined = net.concat({net.unary(UnaryKind::exp, sum), product, matrix}, 1);
  expect_same(net.finish({joined, product}));
}

TEST(Lowering, QuantisedModelsAreRefused) {
  GraphBuilder builder;
  const ValueId x = builder.add_input("x", {kF32, {4}});
  builder.set_node_name("/quant/QuantizeLinear (QuantizeLinear)");
  const ValueId scale = builder.add_constant(graph::scalar_of(kF32, 0.5));
  const ValueId zero = builder.add_constant(graph::scalar_of(DataType::int8, 0));
  const ValueId q = builder.add(graph::Quantize{DataType::int8, 0}, {x, scale, zero}).value();
  const Graph graph = std::move(builder).finish({q});
  const Result<Program> program = lower(graph, {});
  ASSERT_FALSE(program);
  EXPECT_THAT(program.error().message, testing::AllOf(testing::HasSubstr("/quant/QuantizeLinear"),
                                                      testing::HasSubstr("openvino")));
}

TEST(Lowering, BuffersOfTheArenaStayInsideIt) {
  Net net;
  ValueId x = net.input({1, 8, 8, 8});
  for (int i = 0; i < 6; ++i) x = net.unary(UnaryKind::relu, net.conv(x, 8, 3));
  const Program program = expect_same(net.finish({x}));
  std::size_t sum = 0;
  for (const Buffer& buffer : program.buffers) {
    if (buffer.kind != BufferKind::arena) continue;
    EXPECT_LE(buffer.arena_offset + buffer.bytes, program.arena_bytes);
    sum += buffer.bytes;
  }
  EXPECT_LT(program.arena_bytes, sum / 2);  // they share it
}

}  // namespace
}  // namespace takt::cuda
