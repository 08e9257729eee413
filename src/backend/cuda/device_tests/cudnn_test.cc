// SPDX-License-Identifier: Apache-2.0
// cuDNN's plans beside the reference evaluator. What cuDNN has no engine for is told and not judged; what it
// computes must be right.
#include "backend/cuda/cudnn.h"

#include "backend/cuda/compile/plan_search.h"
#include "backend/cuda/compile/views.h"
#include "backend/cuda/device_tests/gpu_fixture.h"
#include "backend/cuda/memory.h"
#include "backend/cuda/stream.h"
#include "core/half.h"
#include "graph/constants.h"
#include "graph/graph.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace takt::cuda {
namespace {

using graph::Binary;
using graph::BinaryKind;
using graph::Constant;
using graph::TensorType;
using graph::Unary;
using graph::UnaryKind;

constexpr auto kF16 = DataType::fp16;
constexpr auto kF32 = DataType::fp32;

Constant random_constant(const TensorType& type, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal(0, 1);
  std::vector<double> numbers(*element_count(type.shape));
  for (double& number : numbers) number = normal(random);
  return graph::constant_of(type.type, type.shape, std::span<const double>(numbers));
}

// Dense, channels innermost where there are images.
View view_of(DataType type, const Shape& shape) {
  return {0, 0, type, shape, ordered_strides(shape, channels_last(shape.size()))};
}
View row_view(DataType type, const Shape& shape) {
  return {0, 0, type, shape, ordered_strides(shape, row_order(shape.size()))};
}
// Channels [begin, begin + shape[1]) of a buffer with so many.
View slice_of(DataType type, const Shape& shape, std::int64_t begin, std::int64_t channels) {
  Shape whole = shape;
  whole[1] = channels;
  return part(view_of(type, whole), 1, begin, shape[1]);
}

graph::Window window(std::vector<std::int64_t> kernel, std::int64_t stride = 1,
                     std::int64_t pad = 0, std::int64_t dilation = 1) {
  const std::size_t rank = kernel.size();
  return {std::move(kernel), std::vector(rank, stride), std::vector(rank, dilation),
          std::vector(rank, pad), std::vector(rank, pad)};
}

struct Case {
  std::string name;
  Step step;
  bool tf32 = false;
};

// A contraction of these inputs; the output is a new dense tensor, or `output`.
Step contraction(std::vector<View> inputs, graph::Operator product, std::size_t operands,
                 std::vector<graph::Operator> rest = {}, std::optional<View> output = {}) {
  Step step{"test", StepKind::contraction, std::move(inputs), {}, {}};
  std::vector<TensorType> types;
  // Everything is computed in FP32, whatever it is stored in.
  for (const View& view : step.inputs) types.push_back({kF32, view.shape});
  std::vector<int> arguments;
  for (std::size_t i = 0; i < operands; ++i) arguments.push_back(static_cast<int>(i));
  int next = static_cast<int>(operands);  // the next input that no operator has taken
  rest.insert(rest.begin(), std::move(product));
  for (graph::Operator& op : rest) {
    if (!step.ops.empty()) {
      arguments = {static_cast<int>(types.size()) - 1};
      if (std::holds_alternative<Binary>(op)) arguments.push_back(next++);
    }
    std::vector<TensorType> of;
    for (const int argument : arguments) of.push_back(types[static_cast<std::size_t>(argument)]);
    auto results = graph::infer_types(op, of);
    EXPECT_TRUE(results) << results.error().message;
    types.push_back(results->front());
    step.ops.push_back({std::move(op), arguments, *std::move(results)});
  }
  const TensorType& last = types.back();
  const bool matrices = std::holds_alternative<graph::MatMul>(step.ops.front().op);
  const DataType stored = step.inputs.front().type;
  View result =
      output.value_or(matrices ? row_view(stored, last.shape) : view_of(stored, last.shape));
  step.outputs.push_back({static_cast<int>(types.size()) - 1, std::move(result)});
  return step;
}

Constant cast(const Constant& constant, DataType type) {
  const std::array<const Constant*, 1> inputs{&constant};
  return std::move(graph::evaluate(graph::Cast{type}, inputs).value().front());
}

// What the step computes of these inputs.
Constant reference(const Step& step, const std::vector<Constant>& inputs) {
  std::vector<Constant> values;
  for (const Constant& input : inputs) values.push_back(cast(input, kF32));
  for (const StepOp& op : step.ops) {
    std::vector<const Constant*> arguments;
    for (const int argument : op.arguments) {
      arguments.push_back(&values[static_cast<std::size_t>(argument)]);
    }
    auto results = graph::evaluate(op.op, arguments);
    EXPECT_TRUE(results) << results.error().message;
    values.push_back(std::move(results->front()));
  }
  return cast(values.back(), step.outputs.front().view.type);
}

// Calls with each element's place in the dense constant and in the view's buffer, in bytes.
void for_each_element(const View& view, const std::function<void(std::size_t, std::size_t)>& call) {
  const std::size_t size = element_bytes(view.type);
  const std::size_t count = *element_count(view.shape);
  for (std::size_t dense = 0; dense < count; ++dense) {
    std::int64_t place = view.offset;
    auto rest = static_cast<std::int64_t>(dense);
    for (std::size_t i = view.shape.size(); i-- > 0; rest /= view.shape[i]) {
      place += rest % view.shape[i] * view.strides[i];
    }
    call(dense * size, static_cast<std::size_t>(place) * size);
  }
}

std::size_t buffer_bytes(const View& view) {
  return static_cast<std::size_t>(view.offset + extent_elements(view)) * element_bytes(view.type);
}

LibrarySearch test_search() {
  return library_search(folders_of_environment(), std::filesystem::read_symlink("/proc/self/exe"));
}

class GpuCudnn : public GpuTest {
 protected:
  void SetUp() override {
    GpuTest::SetUp();
    if (!context_) return;
    Result<Cudnn> cudnn = Cudnn::open(test_search(), gpu_->driver->version() / 1000);
    if (!cudnn) GTEST_SKIP() << cudnn.error().message;
    Result<Stream> stream = Stream::create(context_);
    TAKT_ASSERT_OK(stream);
    stream_.emplace(*std::move(stream));
    Result<CudnnHandle> handle = CudnnHandle::create(*cudnn, *stream_);
    TAKT_ASSERT_OK(handle);
    handle_.emplace(*std::move(handle));
  }

  CudnnPlans plans_of(const Case& test) {
    CudnnSearch search;
    search.tf32 = test.tf32;
    Result<CudnnPlans> plans = cudnn_plans(*handle_, test.step, search);
    EXPECT_TRUE(plans) << test.name << ": " << plans.error().message;
    if (!plans) return {};
    EXPECT_EQ(plans->plans.empty(), !plans->refusal.empty()) << test.name;
    std::string names;
    for (const CudnnPlan& plan : plans->plans) names += " " + plan.name();
    print_measurement(fmt::format("cudnn {}: {} plans{}", test.name, plans->plans.size(),
                                  plans->plans.empty() ? "; " + plans->refusal : names));
    return *std::move(plans);
  }

  // The output's buffer after the plan ran on these inputs; it begins full of 0x7b.
  Result<std::vector<std::byte>> run(const CudnnPlan& plan, const Step& step,
                                     const std::vector<Constant>& inputs) {
    std::vector<DeviceMemory> buffers;
    std::vector<std::uint64_t> addresses;
    const auto put = [&](const View& view, const std::vector<std::byte>& bytes) -> Result<void> {
      Result<DeviceMemory> memory = DeviceMemory::allocate(context_, bytes.size());
      if (!memory) return std::unexpected(memory.error());
      addresses.push_back(memory->span().address +
                          static_cast<std::uint64_t>(view.offset) * element_bytes(view.type));
      buffers.push_back(*std::move(memory));
      return copy_to_device(buffers.back().span(), bytes, *stream_);
    };
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      std::vector<std::byte> bytes(buffer_bytes(step.inputs[i]));
      for_each_element(step.inputs[i], [&](std::size_t from, std::size_t to) {
        std::memcpy(&bytes[to], &inputs[i].bytes[from], element_bytes(inputs[i].type.type));
      });
      if (Result<void> done = put(step.inputs[i], bytes); !done) {
        return std::unexpected(done.error());
      }
    }
    const View& output = step.outputs.front().view;
    std::vector<std::byte> result(buffer_bytes(output), std::byte{0x7b});
    if (Result<void> done = put(output, result); !done) return std::unexpected(done.error());
    Result<DeviceMemory> workspace =
        DeviceMemory::allocate(context_, std::max<std::size_t>(1, plan.workspace_bytes()));
    if (!workspace) return std::unexpected(workspace.error());
    Result<void> done = plan.run(*handle_, addresses, workspace->span());
    if (done) done = copy_to_host(result, buffers.back().span(), *stream_);
    if (done) done = stream_->synchronize();
    if (!done) return std::unexpected(done.error());
    return result;
  }

  std::vector<Constant> inputs_for(const Step& step) {
    std::vector<Constant> inputs;
    for (const View& view : step.inputs) {
      inputs.push_back(
          random_constant({view.type, view.shape}, 7U + static_cast<unsigned>(inputs.size())));
    }
    return inputs;
  }

  // What lies in the output's view as expected, and nothing written beside it.
  void expect_result(const Case& test, const std::string& plan, std::vector<std::byte> buffer,
                     const Constant& expected) {
    const View& view = test.step.outputs.front().view;
    Constant got{expected.type, std::vector<std::byte>(expected.bytes.size())};
    const std::size_t size = element_bytes(view.type);
    for_each_element(view, [&](std::size_t dense, std::size_t place) {
      std::memcpy(&got.bytes[dense], &buffer[place], size);
      std::fill_n(buffer.begin() + static_cast<std::ptrdiff_t>(place), size, std::byte{0x7b});
    });
    EXPECT_TRUE(std::ranges::all_of(buffer, [](std::byte b) { return b == std::byte{0x7b}; }))
        << test.name << " by " << plan << " wrote beside its output";
    const std::vector<double> g = graph::numbers_in(got);
    const std::vector<double> e = graph::numbers_in(expected);
    // Sums of products of numbers around 1: the error grows with the sum.
    double scale = 1;
    for (const double number : e) scale = std::max(scale, std::abs(number));
    const double tolerance = scale * (view.type != kF32 ? 4e-3 : test.tf32 ? 2e-3 : 2e-5);
    for (std::size_t i = 0; i < e.size(); ++i) {
      ASSERT_NEAR(g[i], e[i], tolerance) << test.name << " by " << plan << ", element " << i;
    }
  }

  void expect_right(const Case& test) {
    const CudnnPlans plans = plans_of(test);
    if (plans.plans.empty()) return;
    const std::vector<Constant> inputs = inputs_for(test.step);
    const Constant expected = reference(test.step, inputs);
    for (const CudnnPlan& plan : plans.plans) {
      const Result<std::vector<std::byte>> buffer = run(plan, test.step, inputs);
      ASSERT_TRUE(buffer) << test.name << ": " << buffer.error().message;
      expect_result(test, plan.name(), *buffer, expected);
    }
  }

  std::optional<Stream> stream_;
  std::optional<CudnnHandle> handle_;
};

constexpr std::int64_t kC = 32, kM = 64, kSize = 14;
const Shape kInput = {2, kC, kSize, kSize};
const Shape kOutput = {2, kM, kSize, kSize};

View image() {
  return view_of(kF16, kInput);
}
View filter() {
  return view_of(kF16, {kM, kC, 3, 3});
}
View bias(std::int64_t channels = kM, DataType type = kF16) {
  return row_view(type, {channels});
}
graph::Conv conv3x3() {
  return {window({3, 3}, 1, 1), 1};
}

Step conv_with(std::vector<graph::Operator> rest, std::vector<View> more = {}) {
  std::vector<View> inputs = {image(), filter(), bias()};
  inputs.insert(inputs.end(), more.begin(), more.end());
  return contraction(std::move(inputs), conv3x3(), 3, std::move(rest));
}

const Unary kRelu{UnaryKind::relu, 0, 0};
const Unary kSilu{UnaryKind::silu, 1, 0};
const Binary kAdd{BinaryKind::add};

TEST_F(GpuCudnn, ConvolutionsWithWhatFollowsThemAreRight) {
  expect_right({"conv", contraction({image(), filter()}, conv3x3(), 2)});
  expect_right({"conv bias", conv_with({})});
  expect_right({"conv bias residual", conv_with({kAdd}, {view_of(kF16, kOutput)})});
  expect_right({"conv bias residual relu", conv_with({kAdd, kRelu}, {view_of(kF16, kOutput)})});
  expect_right({"conv bias silu residual", conv_with({kSilu, kAdd}, {view_of(kF16, kOutput)})});
  expect_right({"conv relu without bias", contraction({image(), filter()}, conv3x3(), 2, {kRelu})});
  expect_right({"conv bias in fp32", contraction({image(), filter(), bias(kM, kF32)}, conv3x3(), 3,
                                                 {kRelu}, view_of(kF16, kOutput))});
}

TEST_F(GpuCudnn, EachActivationIsRight) {
  for (const Unary& unary :
       {kRelu, kSilu, Unary{UnaryKind::leaky_relu, 0.1F, 0}, Unary{UnaryKind::clip, 0, 6},
        Unary{UnaryKind::clip, -1, 2}, Unary{UnaryKind::sigmoid, 0, 0},
        Unary{UnaryKind::tanh, 0, 0}, Unary{UnaryKind::silu, 1.7F, 0}, Unary{UnaryKind::gelu, 0, 0},
        Unary{UnaryKind::gelu_tanh, 0, 0}, Unary{UnaryKind::elu, 0.5F, 0},
        Unary{UnaryKind::softplus, 0, 0}, Unary{UnaryKind::hard_sigmoid, 0.2F, 0.5F},
        Unary{UnaryKind::hard_swish, 0, 0}}) {
    expect_right(
        {fmt::format("conv bias {} {} {}", graph::to_string(unary.kind), unary.alpha, unary.beta),
         conv_with({unary})});
  }
}

TEST_F(GpuCudnn, SlicesOfWiderTensorsAreReadAndWritten) {
  const View input = slice_of(kF16, kInput, 16, 96);
  const View output = slice_of(kF16, kOutput, 32, 128);
  const std::vector<graph::Operator> relu = {kRelu};
  expect_right(
      {"conv to a slice", contraction({image(), filter(), bias()}, conv3x3(), 3, relu, output)});
  expect_right({"conv of a slice", contraction({input, filter(), bias()}, conv3x3(), 3, relu)});
  expect_right({"conv of a slice to a slice",
                contraction({input, filter(), bias()}, conv3x3(), 3, relu, output)});
  expect_right({"conv 1x1 of a slice to a slice",
                contraction({input, view_of(kF16, {kM, kC, 1, 1}), bias()},
                            graph::Conv{window({1, 1}), 1}, 3, relu, output)});
}

// Between the images lies what other operators write: rows of a wider tensor, as detectors join them. Ready-made
// engines refused this, and nothing is fused here that would have the others asked.
TEST_F(GpuCudnn, ProductsWithoutAnActivationAreWrittenToRowsOfWiderTensors) {
  constexpr std::int64_t kChannels = 80, kSide = 40, kRows = 8400, kBefore = 6400;
  const View input = view_of(kF16, {2, kChannels, kSide, kSide});
  const View weights = view_of(kF16, {kChannels, kChannels, 1, 1});
  const graph::Conv conv1x1{window({1, 1}), 1};
  View output = input;
  output.offset = kBefore * kChannels;
  output.strides[0] = kRows * kChannels;
  expect_right({"conv 1x1 to rows", contraction({input, weights}, conv1x1, 2, {}, output)});
  expect_right({"conv 1x1 bias to rows",
                contraction({input, weights, bias(kChannels)}, conv1x1, 3, {}, output)});

  View doubled = view_of(kF16, {2, kM, 2 * kSize, 2 * kSize});
  doubled.strides[0] += kM * kSize;
  const graph::ConvTranspose two{window({2, 2}, 2), {0, 0}, 1};
  expect_right(
      {"transposed 2x2 bias to rows",
       contraction({image(), view_of(kF16, {kC, kM, 2, 2}), bias()}, two, 3, {}, doubled)});

  View matrices = row_view(kF16, {4, 24, 32});
  matrices.strides[0] += 8 * 32;
  expect_right(
      {"matmul bias to rows",
       contraction({row_view(kF16, {4, 24, 64}), row_view(kF16, {4, 64, 32}), row_view(kF16, {32})},
                   graph::MatMul{}, 2, {kAdd}, matrices)});
}

TEST_F(GpuCudnn, BothKindsOfPlansShareTheirNumber) {
  for (const Case& test : {Case{"shared plain", contraction({image(), filter()}, conv3x3(), 2)},
                           Case{"shared bias", conv_with({})}}) {
    const auto is_plain = [](const CudnnPlan& plan) { return !plan.name().ends_with(" identity"); };
    const CudnnPlans plans = plans_of(test);
    EXPECT_LE(std::ssize(plans.plans), CudnnSearch().plans_max) << test.name;
    EXPECT_LE(std::ranges::count_if(plans.plans, is_plain), CudnnSearch().plans_max / 2)
        << test.name;
    EXPECT_TRUE(std::ranges::is_partitioned(plans.plans, is_plain)) << test.name;
  }
}

TEST_F(GpuCudnn, PlansMadeBesideEachOtherAreThoseOfEachStepAlone) {
  std::vector<Step> steps;
  for (const std::int64_t channels : {8, 16, 24, 32, 40, 48, 56, 64}) {
    steps.push_back(
        contraction({image(), view_of(kF16, {channels, kC, 3, 3}), row_view(kF16, {channels})},
                    conv3x3(), 3, {kSilu}));
  }
  std::vector<const Step*> pointers;
  for (const Step& step : steps) pointers.push_back(&step);
  const CudnnSearch search;
  Result<std::vector<FormPlans>> found = find_plans(*handle_, pointers, search);
  TAKT_ASSERT_OK(found);
  ASSERT_EQ(found->size(), steps.size());
  for (std::size_t i = 0; i < steps.size(); ++i) {
    const auto whole = (*found)[i].find(ContractionForm::whole);
    ASSERT_NE(whole, (*found)[i].end()) << "step " << i;
    TAKT_ASSERT_OK(whole->second);
    const Result<CudnnPlans> alone = cudnn_plans(*handle_, steps[i], search);
    TAKT_ASSERT_OK(alone);
    const std::vector<Constant> inputs = inputs_for(steps[i]);
    const Constant expected = reference(steps[i], inputs);
    ASSERT_EQ(whole->second->plans.size(), alone->plans.size()) << "step " << i;
    for (std::size_t k = 0; k < alone->plans.size(); ++k) {
      const CudnnPlan& plan = whole->second->plans[k];
      EXPECT_EQ(plan.name(), alone->plans[k].name());
      // The threads and handles that made it have gone.
      const Result<std::vector<std::byte>> buffer = run(plan, steps[i], inputs);
      TAKT_ASSERT_OK(buffer);
      expect_result({"beside", steps[i]}, plan.name(), *buffer, expected);
    }
  }
}

TEST_F(GpuCudnn, WindowsOfEveryKindAreRight) {
  const auto of = [](std::vector<View> inputs, const graph::Operator& op) {
    return contraction(std::move(inputs), op, 3, {kRelu});
  };
  using graph::Conv;
  expect_right(
      {"1x1", of({image(), view_of(kF16, {kM, kC, 1, 1}), bias()}, Conv{window({1, 1}), 1})});
  expect_right({"3x3 stride 2", of({image(), filter(), bias()}, Conv{window({3, 3}, 2, 1), 1})});
  expect_right({"3x3 dilated", of({image(), filter(), bias()}, Conv{window({3, 3}, 1, 2, 2), 1})});
  expect_right({"grouped", of({image(), view_of(kF16, {kM, kC / 4, 3, 3}), bias()},
                              Conv{window({3, 3}, 1, 1), 4})});
  expect_right({"depthwise", of({image(), view_of(kF16, {kC, 1, 3, 3}), bias(kC)},
                                Conv{window({3, 3}, 1, 1), kC})});
  expect_right(
      {"3 channels", of({view_of(kF16, {2, 3, 32, 32}), view_of(kF16, {kM, 3, 7, 7}), bias()},
                        Conv{window({7, 7}, 2, 3), 1})});
  graph::Window uneven = window({3, 3}, 2);
  uneven.pads_end = {1, 1};
  expect_right({"uneven padding", of({image(), filter(), bias()}, Conv{uneven, 1})});
  expect_right({"1D", of({view_of(kF16, {2, kC, 40}), view_of(kF16, {kM, kC, 5}), bias()},
                         Conv{window({5}, 1, 2), 1})});
  expect_right(
      {"3D", of({view_of(kF16, {1, kC, 6, 8, 8}), view_of(kF16, {kM, kC, 3, 3, 3}), bias()},
                Conv{window({3, 3, 3}, 1, 1), 1})});
  expect_right(
      {"row by row", contraction({row_view(kF16, kInput), row_view(kF16, {kM, kC, 3, 3}), bias()},
                                 conv3x3(), 3, {kRelu}, row_view(kF16, kOutput))});
}

TEST_F(GpuCudnn, TransposedConvolutionsAreRight) {
  using graph::ConvTranspose;
  const auto weights = [](std::int64_t size) { return view_of(kF16, {kC, kM, size, size}); };
  const ConvTranspose two{window({2, 2}, 2), {0, 0}, 1};
  expect_right({"transposed 2x2 stride 2", contraction({image(), weights(2)}, two, 2)});
  expect_right({"transposed 2x2 stride 2 bias relu",
                contraction({image(), weights(2), bias()}, two, 3, {kRelu})});
  expect_right(
      {"transposed 3x3 stride 2 output padding",
       contraction({image(), weights(3)}, ConvTranspose{window({3, 3}, 2, 1), {1, 1}, 1}, 2)});
  expect_right({"transposed grouped", contraction({image(), view_of(kF16, {kC, kM / 4, 2, 2})},
                                                  ConvTranspose{window({2, 2}, 2), {0, 0}, 4}, 2)});
}

TEST_F(GpuCudnn, OtherTypesAreRight) {
  for (const bool tf32 : {false, true}) {
    const std::string name = tf32 ? "tf32" : "fp32";
    const auto of = [&](const Shape& weights, const graph::Window& of_window) {
      return contraction({view_of(kF32, kInput), view_of(kF32, weights), bias(kM, kF32)},
                         graph::Conv{of_window, 1}, 3, {kRelu});
    };
    expect_right({name + " 3x3", of({kM, kC, 3, 3}, window({3, 3}, 1, 1)), tf32});
    expect_right({name + " 1x1", of({kM, kC, 1, 1}, window({1, 1})), tf32});
    expect_right({name + " plain",
                  contraction({view_of(kF32, kInput), view_of(kF32, {kM, kC, 3, 3})}, conv3x3(), 2),
                  tf32});
    expect_right(
        {name + " matmul",
         contraction({row_view(kF32, {48, 64}), row_view(kF32, {64, 32})}, graph::MatMul{}, 2),
         tf32});
  }
  constexpr auto kBf16 = DataType::bf16;
  Case bf16{"bf16",
            contraction({view_of(kBf16, kInput), view_of(kBf16, {kM, kC, 3, 3}), bias(kM, kBf16)},
                        conv3x3(), 3, {kRelu})};
  // Eight bits: the reference rounds after every operator.
  const CudnnPlans plans = plans_of(bf16);
  for (const CudnnPlan& plan : plans.plans) {
    const auto buffer = run(plan, bf16.step, inputs_for(bf16.step));
    EXPECT_TRUE(buffer) << buffer.error().message;
  }
}

TEST_F(GpuCudnn, MatrixProductsAreRight) {
  const Unary gelu{UnaryKind::gelu, 0, 0};
  const auto of = [&](View a, View b, graph::MatMul op) {
    const std::int64_t columns = b.shape[b.shape.size() - (op.transpose_b ? 2 : 1)];
    return contraction({std::move(a), std::move(b), row_view(kF16, {columns})}, op, 2,
                       {kAdd, gelu});
  };
  expect_right({"matmul", contraction({row_view(kF16, {48, 64}), row_view(kF16, {64, 32})},
                                      graph::MatMul{}, 2)});
  expect_right({"matmul bias gelu", of(row_view(kF16, {48, 64}), row_view(kF16, {64, 32}), {})});
  expect_right(
      {"matmul rows of a batch", of(row_view(kF16, {2, 24, 64}), row_view(kF16, {64, 32}), {})});
  expect_right({"matmul transposed b",
                of(row_view(kF16, {48, 64}), row_view(kF16, {32, 64}), {false, true})});
  expect_right({"matmul transposed a",
                of(row_view(kF16, {64, 48}), row_view(kF16, {64, 32}), {true, false})});
  expect_right({"matmul batches",
                contraction({row_view(kF16, {2, 4, 24, 64}), row_view(kF16, {2, 4, 64, 32})},
                            graph::MatMul{}, 2)});
  expect_right(
      {"matmul one left side",
       contraction({row_view(kF16, {24, 64}), row_view(kF16, {4, 64, 32})}, graph::MatMul{}, 2)});
}

TEST_F(GpuCudnn, ARestoredPlanIsTheSameAndComputesTheSame) {
  for (const Case& test :
       {Case{"restored bias", conv_with({})}, Case{"restored relu", conv_with({kRelu})},
        Case{"restored hard swish", conv_with({Unary{UnaryKind::hard_swish, 0, 0}})}}) {
    const std::vector<Constant> inputs = inputs_for(test.step);
    for (const CudnnPlan& plan : plans_of(test).plans) {
      const auto bytes = plan.serialize();
      if (!bytes) {
        print_measurement(fmt::format("cudnn {}: {} isn't kept: {}", test.name, plan.name(),
                                      bytes.error().message));
        continue;
      }
      const Result<CudnnPlan> restored = CudnnPlan::restore(*handle_, *bytes);
      TAKT_ASSERT_OK(restored);
      // The name may list a knob more, at its default.
      EXPECT_EQ(restored->name().substr(0, restored->name().find('_')),
                plan.name().substr(0, plan.name().find('_')));
      EXPECT_EQ(restored->name().ends_with(" identity"), plan.name().ends_with(" identity"));
      EXPECT_EQ(restored->workspace_bytes(), plan.workspace_bytes());
      const auto first = run(plan, test.step, inputs);
      TAKT_ASSERT_OK(first);
      const auto second = run(*restored, test.step, inputs);
      TAKT_ASSERT_OK(second);
      EXPECT_EQ(*first, *second) << plan.name();
      EXPECT_FALSE(CudnnPlan::restore(*handle_, std::span(*bytes).first(bytes->size() / 2)));
    }
  }
  for (const std::size_t size : {0U, 7U, 100U}) {
    const std::vector<std::byte> junk(size, std::byte{1});
    const Result<CudnnPlan> restored = CudnnPlan::restore(*handle_, junk);
    ASSERT_FALSE(restored);
    EXPECT_EQ(restored.error().kind, ErrorKind::invalid_input);
  }
}

TEST_F(GpuCudnn, ARefusalSaysWhy) {
  const CudnnPlans plans = plans_of({"erf", conv_with({Unary{UnaryKind::erf, 0, 0}})});
  EXPECT_TRUE(plans.plans.empty());
  EXPECT_THAT(plans.refusal, testing::HasSubstr("erf"));
}

TEST_F(GpuCudnn, WhatRunIsGivenIsChecked) {
  const CudnnPlans plans = plans_of({"checked", conv_with({kRelu})});
  if (plans.plans.empty()) GTEST_SKIP() << plans.refusal;
  const Result<void> ran = plans.plans.front().run(*handle_, {}, {});
  ASSERT_FALSE(ran);
  EXPECT_EQ(ran.error().kind, ErrorKind::internal);
}

}  // namespace
}  // namespace takt::cuda
