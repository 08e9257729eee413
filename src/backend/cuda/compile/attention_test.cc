// SPDX-License-Identifier: Apache-2.0
// Attention as exporters write it: found, and lowered to what the graph computes.
#include "backend/cuda/compile/attention.h"

#include "backend/cuda/compile/fusion.h"
#include "backend/cuda/compile/lowering_fixture.h"
#include "backend/cuda/kernels/step_code.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <utility>
#include <vector>

namespace takt::cuda {
namespace {

using graph::BinaryKind;
using graph::Graph;
using graph::MatMul;
using graph::Softmax;
using graph::ValueId;

constexpr ComputeCapability kHopper{9, 0};

struct Heads {
  ValueId query, key, value;
};

// A layer's queries, keys and values, [batch,heads,tokens,size], as views of what one product makes.
Heads heads_of(Net& net, const Shape& shape) {
  const std::int64_t width = shape[1] * shape[3];
  const ValueId x = net.input({shape[0], shape[2], width});
  const ValueId qkv = net.add(MatMul{}, {x, net.weights({width, 3 * width})});
  const ValueId parts =
      net.transpose(net.reshape(qkv, {shape[0], shape[2], 3, shape[1], shape[3]}), {2, 0, 3, 1, 4});
  const auto part = [&](std::int64_t i) { return net.reshape(net.slice(parts, 0, i, 1), shape); };
  return {part(0), part(1), part(2)};
}

ValueId scores_of(Net& net, const Heads& heads) {
  return net.add(MatMul{}, {heads.query, net.transpose(heads.key, {0, 1, 3, 2})});
}

ValueId mixed(Net& net, ValueId scores, ValueId value) {
  const auto last = static_cast<int>(net.shape(scores).size()) - 1;
  return net.add(MatMul{}, {net.add(Softmax{last, false}, {scores}), value});
}

// Back to [batch,tokens,width], and the product behind it.
ValueId projected(Net& net, ValueId heads) {
  const Shape shape = net.shape(heads);
  const std::int64_t width = shape[1] * shape[3];
  const ValueId rows = net.reshape(net.transpose(heads, {0, 2, 1, 3}), {shape[0], shape[2], width});
  return net.add(MatMul{}, {rows, net.weights({width, width})});
}

// In both types of 16 bits, and that takt has the kernels. Returns what FP16 makes.
Program expect_attention(const Graph& graph, std::size_t steps) {
  expect_same(graph, Precision::fp32);
  const Program in_bf16 = expect_same(graph, Precision::bf16, 4e-2);
  EXPECT_EQ(count(in_bf16, StepKind::attention), steps);
  Program program = expect_same(graph, Precision::fp16, 5e-3);
  EXPECT_EQ(count(program, StepKind::attention), steps);
  for (const Step& step : program.steps) {
    if (step.kind != StepKind::attention) continue;
    const Result<StepCode> code = step_code(step, "attention");
    EXPECT_TRUE(code) << code.error().message;
  }
  return program;
}

std::size_t attentions(const Graph& graph, DataType type = DataType::fp16,
                       ComputeCapability capability = kHopper) {
  const std::vector<Group> groups = fuse(graph, type, capability);
  return static_cast<std::size_t>(std::ranges::count(groups, StepKind::attention, &Group::kind));
}

TEST(Attention, OfATransformerIsOneStepOnViewsOfWhatMadeIt) {
  Net net;
  const Heads heads = heads_of(net, {2, 3, 7, 16});
  const ValueId scaled = net.binary(BinaryKind::div, scores_of(net, heads), net.number(4));
  const Graph graph = net.finish({projected(net, mixed(net, scaled, heads.value))});
  const Program program = expect_attention(graph, 1);
  EXPECT_EQ(copies(program), 2U) << "of the input into 16 bits, and of the output out of them";
  EXPECT_EQ(program.steps.size(), 5U);
  const auto step = std::ranges::find(program.steps, StepKind::attention, &Step::kind);
  EXPECT_EQ(step->inputs[0].buffer, step->inputs[2].buffer) << "queries and values of one tensor";
  EXPECT_EQ(step->outputs[0].view.strides[1], 16) << "heads side by side";
}

TEST(Attention, TakesThePositionsAndTheMaskOfSwinsWindows) {
  Net net;
  const Shape windows{2, 4, 3, 9, 9};  // images, windows, heads
  const Heads heads = heads_of(net, {8, 3, 9, 16});
  const ValueId query = net.binary(BinaryKind::mul, heads.query, net.number(0.25));
  const ValueId scores = scores_of(net, {query, heads.key, heads.value});
  const ValueId placed = net.binary(BinaryKind::add, scores, net.weights({1, 3, 9, 9}));
  const ValueId masked =
      net.binary(BinaryKind::add, net.weights({1, 4, 1, 9, 9}), net.reshape(placed, windows));
  const ValueId flat = net.reshape(masked, {8, 3, 9, 9});
  const Graph graph = net.finish({projected(net, mixed(net, flat, heads.value))});
  const Program program = expect_attention(graph, 1);
  const auto step = std::ranges::find(program.steps, StepKind::attention, &Step::kind);
  EXPECT_EQ(step->inputs[3].shape, windows);
  EXPECT_EQ(step->inputs[4].strides[0], 0) << "one mask for all images";
  EXPECT_EQ(step->inputs[4].strides[2], 0) << "and all heads";
}

TEST(Attention, TakesAFactorOfEachHead) {
  Net net;
  const Heads heads = heads_of(net, {2, 3, 7, 16});
  const ValueId scaled =
      net.binary(BinaryKind::mul, net.weights({3, 1, 1}, 1), scores_of(net, heads));
  expect_attention(net.finish({mixed(net, scaled, heads.value)}), 1);
}

// As detectors do: numbers of a pixel are channels of an image, and values stand left of their weights.
TEST(Attention, OfPixelsTakesWeightsThatAreTransposed) {
  Net net;
  const ValueId image = net.conv(net.input({2, 16, 4, 5}), 2 * 64, 1);
  const ValueId parts = net.reshape(image, {2, 2, 64, 20});
  const ValueId query = net.transpose(net.slice(parts, 2, 0, 16), {0, 1, 3, 2});
  const ValueId key = net.slice(parts, 2, 16, 16);
  const ValueId value = net.slice(parts, 2, 32, 32);
  const ValueId scores =
      net.binary(BinaryKind::mul, net.add(MatMul{}, {query, key}), net.number(0.25));
  const ValueId weights = net.transpose(net.add(Softmax{3, false}, {scores}), {0, 1, 3, 2});
  const ValueId pixels = net.reshape(net.add(MatMul{}, {value, weights}), {2, 64, 4, 5});
  const Graph graph = net.finish({net.conv(pixels, 8, 1)});
  const Program program = expect_attention(graph, 1);
  EXPECT_EQ(copies(program), 2U) << "of the input and the output";
}

TEST(Attention, OfOneHeadWithATransposedKeyAndKeysOfAnotherNumber) {
  Net net;
  const ValueId x = net.input({5, 24});
  const ValueId memory = net.weights({9, 24});
  const ValueId scores = net.add(MatMul{false, true}, {x, memory});
  expect_attention(net.finish({mixed(net, scores, net.weights({9, 32}))}), 1);
}

TEST(Attention, OfHeadsThatAreBatchesTakesAMaskOfImages) {
  Net net;
  const ValueId x = net.input({6, 7, 16});
  const ValueId query = net.add(MatMul{}, {x, net.weights({16, 16})});
  const ValueId scores = net.add(MatMul{false, true}, {query, x});
  const ValueId apart = net.reshape(scores, {2, 3, 7, 7});
  const ValueId masked = net.binary(BinaryKind::add, apart, net.weights({2, 1, 1, 7}));
  const ValueId flat = net.reshape(masked, {6, 7, 7});
  expect_attention(net.finish({mixed(net, flat, query)}), 1);
}

TEST(Attention, NeedsSixteenBitsAndSizesThatTheKernelHas) {
  const auto graph_of = [](std::int64_t size) {
    Net net;
    const Heads heads = heads_of(net, {1, 2, 5, size});
    return net.finish({mixed(net, scores_of(net, heads), heads.value)});
  };
  EXPECT_EQ(attentions(graph_of(16)), 1U);
  EXPECT_EQ(attentions(graph_of(16), DataType::fp32), 0U);
  EXPECT_EQ(attentions(graph_of(16), DataType::bf16, {7, 5}), 0U);
  EXPECT_EQ(attentions(graph_of(20)), 0U);
  EXPECT_EQ(attentions(graph_of(136)), 0U);
}

TEST(Attention, LeavesWhatOthersNeedOrWhatIsSomethingElse) {
  Net net;
  const Heads heads = heads_of(net, {1, 2, 5, 16});
  const auto softmax = [&](int axis, bool log, ValueId scores) {
    return net.add(MatMul{}, {net.add(Softmax{axis, log}, {scores}), heads.value});
  };
  std::vector<ValueId> outputs;
  outputs.push_back(scores_of(net, heads));
  outputs.push_back(mixed(net, outputs.front(), heads.value));  // scores that are a result
  const ValueId weights = net.add(Softmax{3, false}, {scores_of(net, heads)});
  outputs.push_back(weights);
  outputs.push_back(net.add(MatMul{}, {weights, heads.value}));
  outputs.push_back(softmax(3, true, scores_of(net, heads)));
  outputs.push_back(softmax(2, false, scores_of(net, heads)));
  const ValueId biased = net.binary(BinaryKind::add, scores_of(net, heads), net.weights({5, 5}));
  outputs.push_back(mixed(net, net.binary(BinaryKind::mul, biased, net.number(2)), heads.value));
  const ValueId each_key = net.binary(BinaryKind::mul, scores_of(net, heads), net.weights({1, 5}));
  outputs.push_back(mixed(net, each_key, heads.value));
  const ValueId inverse = net.binary(BinaryKind::div, net.number(2), scores_of(net, heads));
  outputs.push_back(mixed(net, inverse, heads.value));
  const ValueId transposed =
      net.transpose(net.add(Softmax{3, false}, {scores_of(net, heads)}), {0, 1, 3, 2});
  outputs.push_back(net.add(MatMul{}, {transposed, heads.value}));
  EXPECT_EQ(attentions(net.finish(std::move(outputs))), 0U);
}

}  // namespace
}  // namespace takt::cuda
