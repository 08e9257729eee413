// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/cudnn_problem.h"

#include "backend/cuda/compile/views.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace takt::cuda {
namespace {

using graph::Binary;
using graph::BinaryKind;
using graph::Unary;
using graph::UnaryKind;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr auto kF16 = DataType::fp16;

View image(const Shape& shape) {
  return {0, 0, kF16, shape, ordered_strides(shape, channels_last(shape.size()))};
}
View rows(const Shape& shape) {
  return {0, 0, kF16, shape, ordered_strides(shape, row_order(shape.size()))};
}

// Each of `rest` takes the result before it, a Binary the next input too.
Step step_of(std::vector<View> inputs, std::size_t operands, View output, graph::Operator product,
             const std::vector<graph::Operator>& rest = {}) {
  Step step{"test", StepKind::contraction, std::move(inputs), {}, {}};
  std::vector<int> arguments = {0, 1};
  if (operands == 3) arguments.push_back(2);
  step.ops.push_back({std::move(product), arguments, {}});
  int next = static_cast<int>(operands);
  int last = static_cast<int>(step.inputs.size());
  for (const graph::Operator& op : rest) {
    arguments = {last++};
    if (std::holds_alternative<Binary>(op)) arguments.insert(arguments.begin(), next++);
    step.ops.push_back({op, arguments, {}});
  }
  step.outputs.push_back({last, std::move(output)});
  return step;
}

graph::Conv conv(std::vector<std::int64_t> kernel) {
  const std::vector<std::int64_t> ones(kernel.size(), 1);
  const std::vector<std::int64_t> zeros(kernel.size(), 0);
  return {{std::move(kernel), ones, ones, zeros, zeros}, 1};
}

CudnnProblem problem_of(const Step& step) {
  const Result<CudnnProblem> problem = cudnn_problem(step);
  EXPECT_TRUE(problem) << problem.error().message;
  return problem.value_or(CudnnProblem{});
}

std::string refusal_of(const Step& step) {
  const Result<CudnnProblem> problem = cudnn_problem(step);
  EXPECT_FALSE(problem);
  return problem ? std::string() : problem.error().message;
}

TEST(CudnnProblem, ABiasIsAnAdditionAndResultsFollowOneAnother) {
  const CudnnProblem problem = problem_of(step_of(
      {image({1, 8, 5, 5}), image({16, 8, 3, 3}), rows({16}), image({1, 16, 3, 3})}, 3,
      image({1, 16, 3, 3}), conv({3, 3}), {Binary{BinaryKind::add}, Unary{UnaryKind::relu, 0, 0}}));
  EXPECT_EQ(problem.product, CudnnProduct::convolution);
  EXPECT_THAT(problem.inputs.at(2).sizes, ElementsAre(1, 16, 1, 1));
  EXPECT_THAT(problem.inputs.at(2).strides, ElementsAre(16, 1, 16, 16));
  ASSERT_EQ(problem.pointwise.size(), 3U);
  EXPECT_EQ(problem.pointwise[1].arguments[0].index, 1);
  EXPECT_EQ(problem.pointwise[1].arguments[1].source, CudnnSource::input);
  EXPECT_EQ(problem.pointwise[1].arguments[1].index, 3);
  EXPECT_EQ(problem.pointwise[2].kind, CudnnPointwiseKind::relu);
}

TEST(CudnnProblem, OneDimensionIsAnImageOfOneRow) {
  const CudnnProblem problem = problem_of(
      step_of({image({2, 8, 9}), image({16, 8, 3}), rows({16})}, 3, image({2, 16, 7}), conv({3})));
  EXPECT_THAT(problem.inputs.at(0).sizes, ElementsAre(2, 8, 1, 9));
  EXPECT_THAT(problem.inputs.at(0).strides, ElementsAre(72, 1, 72, 8));
  EXPECT_THAT(problem.inputs.at(1).sizes, ElementsAre(16, 8, 1, 3));
  EXPECT_THAT(problem.inputs.at(2).sizes, ElementsAre(1, 16, 1, 1));
  EXPECT_THAT(problem.output.sizes, ElementsAre(2, 16, 1, 7));
  EXPECT_THAT(problem.window.kernel, ElementsAre(1, 3));
}

TEST(CudnnProblem, TheLayoutShowsInDimensionsOfOneElement) {
  const CudnnProblem problem = problem_of(
      step_of({rows({2, 8, 1, 1}), rows({16, 8, 1, 1})}, 2, rows({2, 16, 1, 1}), conv({1, 1})));
  EXPECT_THAT(problem.inputs.at(0).strides, ElementsAre(8, 1, 8, 8));
  EXPECT_THAT(problem.output.strides, ElementsAre(16, 1, 16, 16));
}

TEST(CudnnProblem, SlicesKeepTheirStridesAndTellTheirAlignment) {
  const View wide = image({1, 24, 4, 4});
  const CudnnProblem problem = problem_of(
      step_of({part(wide, 1, 4, 8), image({16, 8, 1, 1})}, 2, image({1, 16, 4, 4}), conv({1, 1})));
  EXPECT_THAT(problem.inputs.at(0).strides, ElementsAre(384, 1, 96, 24));
  EXPECT_EQ(problem.inputs.at(0).alignment, 8U);
  EXPECT_EQ(problem.output.alignment, 16U);
}

TEST(CudnnProblem, ABatchOfLeftSidesIsOneProduct) {
  const CudnnProblem problem =
      problem_of(step_of({rows({2, 3, 8}), rows({5, 8}), broadcast(rows({5}), {2, 3, 5})}, 2,
                         rows({2, 3, 5}), graph::MatMul{false, true}, {Binary{BinaryKind::add}}));
  EXPECT_THAT(problem.inputs.at(0).sizes, ElementsAre(1, 6, 8));
  EXPECT_THAT(problem.inputs.at(1).sizes, ElementsAre(1, 8, 5));
  EXPECT_THAT(problem.inputs.at(1).strides, ElementsAre(40, 1, 8));
  EXPECT_THAT(problem.inputs.at(2).sizes, ElementsAre(1, 1, 5));
  EXPECT_THAT(problem.output.sizes, ElementsAre(1, 6, 5));
}

TEST(CudnnProblem, BatchesAreOneDimensionAndMayBeBroadcast) {
  const CudnnProblem problem = problem_of(
      step_of({rows({3, 8}), rows({2, 4, 8, 5})}, 2, rows({2, 4, 3, 5}), graph::MatMul{}));
  EXPECT_THAT(problem.inputs.at(0).sizes, ElementsAre(1, 3, 8));
  EXPECT_THAT(problem.inputs.at(1).sizes, ElementsAre(8, 8, 5));
  EXPECT_THAT(problem.output.sizes, ElementsAre(8, 3, 5));
}

TEST(CudnnProblem, HardSwishIsComposed) {
  const CudnnProblem problem =
      problem_of(step_of({image({1, 8, 4, 4}), image({16, 8, 1, 1})}, 2, image({1, 16, 4, 4}),
                         conv({1, 1}), {Unary{UnaryKind::hard_swish, 0, 0}}));
  EXPECT_THAT(problem.scalars, ElementsAre(1.0F / 6, 0.5F));
  ASSERT_EQ(problem.pointwise.size(), 4U);
  EXPECT_EQ(problem.pointwise[2].high, 1);
  EXPECT_EQ(problem.pointwise[3].kind, CudnnPointwiseKind::mul);
  EXPECT_EQ(problem.pointwise[3].arguments[0].index, 3);
  EXPECT_EQ(problem.pointwise[3].arguments[1].index, 0);
}

TEST(CudnnProblem, OnlyResultsWithoutAGapEndInAnIdentity) {
  const std::vector<View> inputs = {image({2, 8, 4, 4}), image({16, 8, 1, 1})};
  const View output = image({2, 16, 4, 4});
  const CudnnProblem whole = problem_of(step_of(inputs, 2, output, conv({1, 1})));
  const auto extended = with_identity(whole);
  ASSERT_TRUE(extended.has_value());
  ASSERT_EQ(extended->pointwise.size(), 1U);
  EXPECT_EQ(extended->pointwise[0].kind, CudnnPointwiseKind::identity);
  EXPECT_FALSE(with_identity(*extended).has_value());

  View rows_of_wider = output;
  rows_of_wider.strides[0] += 16;
  for (const View& gap : {rows_of_wider, part(image({2, 24, 4, 4}), 1, 0, 16)}) {
    EXPECT_FALSE(with_identity(problem_of(step_of(inputs, 2, gap, conv({1, 1})))).has_value());
  }
  // Of one image the stride between images says nothing.
  const std::vector<View> single = {image({1, 8, 4, 4}), image({16, 8, 1, 1})};
  View one = image({1, 16, 4, 4});
  one.strides[0] += 16;
  EXPECT_TRUE(with_identity(problem_of(step_of(single, 2, one, conv({1, 1})))).has_value());
  const View slice = part(image({1, 24, 4, 4}), 1, 0, 16);
  EXPECT_FALSE(with_identity(problem_of(step_of(single, 2, slice, conv({1, 1})))).has_value());
  View matrices = rows({4, 3, 5});
  matrices.strides[0] += 5;
  EXPECT_TRUE(with_identity(problem_of(step_of({rows({4, 3, 8}), rows({4, 8, 5})}, 2, matrices,
                                               graph::MatMul{})))
                  .has_value());
}

TEST(CudnnProblem, WhatItHasNoWordsForIsRefusedWithAReason) {
  const std::vector<View> inputs = {image({1, 8, 4, 4}), image({16, 8, 1, 1})};
  const View output = image({1, 16, 4, 4});
  EXPECT_THAT(refusal_of(step_of(inputs, 2, output, conv({1, 1}), {Unary{UnaryKind::erf, 0, 0}})),
              HasSubstr("erf"));
  View other = output;
  other.type = DataType::fp64;
  EXPECT_THAT(refusal_of(step_of(inputs, 2, other, conv({1, 1}))), HasSubstr("FP64"));
  EXPECT_THAT(refusal_of(step_of(inputs, 2, output, graph::Softmax{})), HasSubstr("Softmax"));
  EXPECT_THAT(refusal_of({}), HasSubstr("no contraction"));
  Step intermediate = step_of(inputs, 2, output, conv({1, 1}), {Unary{UnaryKind::relu, 0, 0}});
  intermediate.outputs.front().value = 2;
  EXPECT_THAT(refusal_of(intermediate), HasSubstr("last operator"));
}

}  // namespace
}  // namespace takt::cuda
