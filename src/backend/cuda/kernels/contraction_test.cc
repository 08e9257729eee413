// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/kernels/contraction.h"

#include "backend/cuda/device_tests/step_cases.h"
#include "backend/cuda/kernels/compiler_fixture.h"
#include "backend/cuda/kernels/step_code.h"

#include <gtest/gtest.h>

#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace takt::cuda {
namespace {

using graph::Binary;
using graph::BinaryKind;

constexpr auto kF16 = DataType::fp16;
constexpr auto kF32 = DataType::fp32;

Step product(const Shape& a, const Shape& b, DataType type = kF16) {
  return chain_step(StepKind::contraction, {{type, a, {}}, {type, b, {}}},
                    {{graph::MatMul{false, false}, {0, 1}}}, type, {});
}

Step convolution(const Shape& x, const Shape& w, std::int64_t groups, std::int64_t pad) {
  const graph::Window window{{w[2], w[3]}, {1, 1}, {1, 1}, {pad, pad}, {pad, pad}};
  return chain_step(StepKind::contraction,
                    {{kF16, x, channels_innermost(4)}, {kF16, w, channels_innermost(4)}},
                    {{graph::Conv{window, groups}, {0, 1}}}, kF16, channels_innermost(4));
}

TEST(Contraction, BatchesThatShareTheirWeightsAreRows) {
  const Contraction shared = contraction_of(product({6, 5, 32}, {32, 24})).value();
  EXPECT_EQ(shared.rows, (Shape{30}));
  EXPECT_EQ(shared.batch, (Shape{1}));
  const Contraction own = contraction_of(product({6, 5, 32}, {6, 32, 24})).value();
  EXPECT_EQ(own.rows, (Shape{5}));
  EXPECT_EQ(own.batch, (Shape{6}));
}

TEST(Contraction, AKernelOf1x1IsAProduct) {
  const Contraction picks = contraction_of(convolution({2, 16, 7, 7}, {8, 16, 1, 1}, 1, 0)).value();
  EXPECT_FALSE(picks.window.has_value());
  EXPECT_EQ(picks.rows, (Shape{98})) << "of images whose pixels follow one another";
  EXPECT_TRUE(contraction_of(convolution({2, 16, 7, 7}, {8, 16, 1, 1}, 1, 1))->window.has_value())
      << "padding gives results too";
  Step behind = convolution({2, 16, 7, 7}, {8, 16, 1, 1}, 1, 0);
  std::get<graph::Conv>(behind.ops[0].op).window.pads_end = {1, 0};
  behind.outputs[0].view = view_of({kF16, {2, 8, 8, 7}, channels_innermost(4)});
  behind.ops[0].results[0].shape = {2, 8, 8, 7};
  EXPECT_TRUE(contraction_of(behind)->window.has_value()) << "and that behind the last pixel";
}

TEST(Contraction, DepthwiseKernelsReadSeveralChannelsAtOnce) {
  const auto text = [](const Shape& x, std::int64_t kernel) {
    const Step step = convolution(x, {x[1], 1, kernel, kernel}, x[1], kernel / 2);
    return depthwise_kernel(contraction_of(step).value(), "k").text;
  };
  EXPECT_NE(text({1, 64, 96, 96}, 3).find("kWidth = 8;"), std::string::npos);
  EXPECT_NE(text({1, 12, 96, 96}, 3).find("kWidth = 4;"), std::string::npos);
  EXPECT_NE(text({1, 64, 96, 96}, 5).find("const Filter filter"), std::string::npos);
  EXPECT_EQ(text({1, 64, 96, 96}, 7).find("const Filter filter"), std::string::npos)
      << "it has no room in registers";
}

TEST(Contraction, OneChannelForEachOutputIsDepthwise) {
  EXPECT_TRUE(contraction_of(convolution({1, 16, 7, 7}, {16, 1, 3, 3}, 16, 1))->depthwise);
  EXPECT_FALSE(contraction_of(convolution({1, 16, 7, 7}, {32, 1, 3, 3}, 16, 1))->depthwise);
  EXPECT_FALSE(contraction_of(convolution({1, 16, 7, 7}, {16, 16, 3, 3}, 1, 1))->depthwise);
}

TEST(Contraction, FewRowsReadTheWeightsOnce) {
  EXPECT_TRUE(has_few_rows(contraction_of(product({8, 256}, {256, 100})).value()));
  EXPECT_FALSE(has_few_rows(contraction_of(product({9, 256}, {256, 100})).value()));
  EXPECT_FALSE(has_few_rows(contraction_of(product({8, 16}, {16, 100})).value()));
}

TEST(Contraction, GivesTheInputsInTheirOrderAndThenTheOutput) {
  Step step = product({9, 16}, {16, 7}, kF32);
  const StepCode code = contraction_code(step, "k").value();
  ASSERT_EQ(code.calls.size(), 1U);
  EXPECT_EQ(code.calls[0].source.name, "takt_k");
  ASSERT_EQ(code.calls[0].operands.size(), 3U);
  EXPECT_EQ(code.calls[0].operands[1].index, 1);
  EXPECT_EQ(code.calls[0].operands[2].kind, OperandKind::output);
}

TEST(Contraction, RefusesWhatDoesNotFit) {
  const auto refuses = [](const Step& step) {
    const Result<StepCode> code = contraction_code(step, "k");
    return !code && code.error().kind == ErrorKind::invalid_input && !code.error().message.empty();
  };
  const Step good = product({9, 16}, {16, 7});
  EXPECT_FALSE(refuses(good));
  Step step = good;
  step.inputs[1].shape = {15, 7};
  EXPECT_TRUE(refuses(step)) << "sizes";
  step = good;
  step.outputs[0].view.shape = {9, 8};
  EXPECT_TRUE(refuses(step)) << "the output's shape";
  step = good;
  step.inputs[0].strides.pop_back();
  EXPECT_TRUE(refuses(step)) << "a stride is missing";
  step = good;
  step.inputs[0].strides[0] = -16;
  EXPECT_TRUE(refuses(step)) << "a negative stride";
  step = good;
  step.ops[0].arguments = {1, 0};
  EXPECT_TRUE(refuses(step)) << "other inputs than the first";
  step = good;
  step.ops.push_back({Binary{BinaryKind::add}, {2, 9}, step.ops[0].results});
  step.outputs[0].value = 3;
  EXPECT_TRUE(refuses(step)) << "a value that there isn't";
  step = good;
  step.outputs[0].view.type = DataType::int32;
  EXPECT_TRUE(refuses(step)) << "a type of another kind";
  step = good;
  step.ops.clear();
  EXPECT_TRUE(refuses(step)) << "nothing to compute";
}

TEST(Contraction, EveryKernelCompilesForEveryCapability) {
  TAKT_SKIP_COMPILING_WHERE_SANITIZED();
  expect_kernels_compile(contraction_cases(), {kCapabilityMin, {9, 0}});
}

TEST(Contraction, TilingsAreThoseThatTheDeviceHas) {
  const Step small = convolution({1, 256, 14, 14}, {256, 256, 3, 3}, 1, 1);
  const auto splits = [&](const Step& step, ComputeCapability capability) {
    std::set<int> found;
    for (const ProductTiling& tiling : product_tilings(step, {capability, 132, 1}, 200)) {
      found.insert(tiling.splits);
    }
    return found;
  };
  EXPECT_EQ(splits(small, {9, 0}), (std::set{1, 2, 4, 8}));
  EXPECT_EQ(splits(small, {8, 6}), (std::set{1})) << "clusters need 9.0";
  EXPECT_EQ(splits(small, {7, 5}), std::set<int>());
  EXPECT_EQ(splits(convolution({1, 16, 8, 8}, {16, 16, 3, 3}, 1, 1), {9, 0}), (std::set{1, 2, 4}))
      << "the sums have five chunks, or three";
  EXPECT_EQ(splits(convolution({32, 64, 80, 80}, {64, 64, 3, 3}, 1, 1), {9, 0}), (std::set{1}))
      << "there are blocks enough";
  EXPECT_EQ(splits(convolution({1, 12, 8, 8}, {16, 12, 3, 3}, 1, 1), {9, 0}), std::set<int>())
      << "channels don't come in vectors";
  EXPECT_EQ(splits(convolution({1, 16, 8, 8}, {16, 1, 3, 3}, 16, 1), {9, 0}), std::set<int>());
  EXPECT_EQ(splits(product({64, 64}, {64, 64}, kF32), {9, 0}), std::set<int>());
  EXPECT_EQ(splits(product({1 << 20, 2048}, {2048, 64}), {9, 0}), std::set<int>())
      << "elements are counted in 32 bits";
  const auto blocks = [&](int runs_beside) {
    const ProductTiling tiling = product_tilings(small, {{9, 0}, 132, runs_beside}, 1).front();
    return (14 * 14 + tiling.rows - 1) / tiling.rows * (256 / tiling.columns) * tiling.splits;
  };
  EXPECT_GT(blocks(1), blocks(4)) << "fewer where others take their part of the device";
}

TEST(Contraction, TilingsAreKeptAsText) {
  for (const ProductTiling& tiling : all_product_tilings()) {
    EXPECT_EQ(parse_product_tiling(to_string(tiling)), tiling);
  }
  for (const char* const text : {"", "64x64x1x8", "64x64x3x8x32", "064x64x1x8x32", "64x64x1x8x32 ",
                                 "64x64x1x4x16", "128x80x1x4x64"}) {
    EXPECT_EQ(parse_product_tiling(text), std::nullopt) << text;
  }
}

TEST(Contraction, TilingsThatAKernelLacksAreRefused) {
  const Step small = convolution({1, 256, 14, 14}, {256, 256, 3, 3}, 1, 1);
  const auto refused = product_code(small, {64, 64, 3, 8}, {9, 0}, "k");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::invalid_input);
  EXPECT_FALSE(product_code(small, {64, 64, 8, 8}, {8, 0}, "k")) << "a plan from another device";
  EXPECT_FALSE(product_code(product({600, 64}, {64, 80}), {128, 80, 1, 4}, {9, 0}, "k"))
      << "weights across, whose columns change places in powers of two";
}

TEST(Contraction, EveryKernelOnTensorCoresCompiles) {
  TAKT_SKIP_COMPILING_WHERE_SANITIZED();
  std::vector<StepCase> cases = tensor_core_cases();
  cases.resize(all_product_tilings().size());
  std::set<std::string> tilings;
  for (const StepCase& one : cases) tilings.insert(to_string(*one.tiling));
  EXPECT_EQ(tilings.size(), cases.size()) << "they begin with one of each";
  expect_kernels_compile(cases, {{9, 0}});
  std::erase_if(cases, [](const StepCase& one) { return one.tiling->splits > 1; });
  expect_kernels_compile(cases, {{8, 0}});
}

}  // namespace
}  // namespace takt::cuda
