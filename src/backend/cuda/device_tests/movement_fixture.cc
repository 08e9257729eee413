// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/device_tests/movement_fixture.h"

#include "graph/constants.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <span>
#include <utility>

namespace takt::cuda {
namespace {

using graph::Constant;
using graph::TensorType;

constexpr std::byte kUntouched{0xA5};

// Of each of the view's elements, row by row.
std::vector<std::int64_t> offsets_of(const View& view) {
  std::vector<std::int64_t> offsets{view.offset};
  for (std::size_t dim = 0; dim < view.shape.size(); ++dim) {
    std::vector<std::int64_t> next;
    for (const std::int64_t offset : offsets) {
      for (std::int64_t i = 0; i < view.shape[dim]; ++i) {
        next.push_back(offset + i * view.strides[dim]);
      }
    }
    offsets = std::move(next);
  }
  return offsets;
}

std::vector<std::byte> buffer_for(const View& view) {
  const std::vector<std::int64_t> offsets = offsets_of(view);
  const std::int64_t last = offsets.empty() ? 0 : *std::ranges::max_element(offsets);
  return std::vector<std::byte>(static_cast<std::size_t>(last + 1) * element_bytes(view.type),
                                kUntouched);
}

std::vector<std::byte> stored_as(const Constant& constant, const View& view) {
  std::vector<std::byte> buffer = buffer_for(view);
  const std::size_t width = element_bytes(view.type);
  std::size_t from = 0;
  for (const std::int64_t offset : offsets_of(view)) {
    std::memcpy(&buffer[static_cast<std::size_t>(offset) * width], &constant.bytes[from], width);
    from += width;
  }
  return buffer;
}

// Bytes between the elements must be as they were.
Constant taken_from(std::vector<std::byte> buffer, const View& view) {
  Constant constant{{view.type, view.shape}, {}};
  const std::size_t width = element_bytes(view.type);
  for (const std::int64_t offset : offsets_of(view)) {
    const auto element = std::span(buffer).subspan(static_cast<std::size_t>(offset) * width, width);
    constant.bytes.insert(constant.bytes.end(), element.begin(), element.end());
  }
  for (const std::int64_t offset : offsets_of(view)) {
    std::memset(&buffer[static_cast<std::size_t>(offset) * width], static_cast<int>(kUntouched),
                width);
  }
  EXPECT_TRUE(std::ranges::all_of(buffer, [](std::byte byte) { return byte == kUntouched; }))
      << "written beside " << to_string(view);
  return constant;
}

Constant as_type(const Constant& constant, DataType type) {
  if (constant.type.type == type) return constant;
  return graph::constant_of(type, constant.type.shape,
                            std::span<const double>(graph::numbers_in(constant)));
}

double tolerance(DataType type) {
  if (type == DataType::fp16) return 2e-3;
  return is_floating(type) ? 1e-5 : 0;
}

void expect_near(const Constant& got, const Constant& expected, const std::string& what) {
  const std::vector<double> g = graph::numbers_in(got);
  std::vector<double> e = graph::numbers_in(expected);
  ASSERT_GE(g.size(), e.size()) << what;
  e.resize(g.size(), -1);
  for (std::size_t i = 0; i < e.size(); ++i) {
    if (g[i] == e[i] || (std::isnan(e[i]) && std::isnan(g[i]))) continue;
    ASSERT_NEAR(g[i], e[i], tolerance(got.type.type) * std::max(1.0, std::abs(e[i])))
        << what << ", element " << i;
  }
}

// Named `name`, with what the buffers hold before.
Result<StepRun> run_of(CodeOf code_of, const Step& step, const std::string& name,
                       const std::vector<Constant>& inputs) {
  Result<StepCode> code = code_of(step, name);
  if (!code) return std::unexpected(std::move(code).error());
  StepRun run{step, *std::move(code), {}};
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    run.buffers.push_back(stored_as(inputs[i], step.inputs[i]));
  }
  for (const StepOutput& output : step.outputs) run.buffers.push_back(buffer_for(output.view));
  return run;
}

std::vector<Constant> outputs_in(const StepRun& run) {
  std::vector<Constant> outputs;
  const std::size_t inputs = run.step.inputs.size();
  for (std::size_t i = 0; i < run.step.outputs.size(); ++i) {
    outputs.push_back(taken_from(run.buffers[inputs + i], run.step.outputs[i].view));
  }
  return outputs;
}

}  // namespace

View Storage::view_of(const TensorType& type, int buffer) const {
  View view{buffer, 0, is_floating(type.type) ? floats : type.type, type.shape, {}};
  view.strides = dense_strides(type.shape);
  if (layout == TensorLayout::dense || type.shape.size() < 2) return view;
  const std::int64_t gap = layout == TensorLayout::gapped ? 8 : 0;
  view.offset = gap;
  std::int64_t stride = type.shape[1] + gap;
  view.strides[1] = 1;
  for (std::size_t dim = type.shape.size(); dim-- > 0;) {
    if (dim == 1) continue;
    view.strides[dim] = stride;
    stride *= type.shape[dim];
  }
  return view;
}

Constant random_numbers(const TensorType& type, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal(0, 2);
  std::uniform_int_distribution<int> whole(1, 5);
  std::vector<double> numbers(*element_count(type.shape));
  for (double& number : numbers) number = is_floating(type.type) ? normal(random) : whole(random);
  return graph::constant_of(type.type, type.shape, std::span<const double>(numbers));
}

Constant integers(DataType type, const Shape& shape, const std::vector<std::int64_t>& numbers) {
  return graph::constant_of(type, shape, std::span<const std::int64_t>(numbers));
}

void StepTest::SetUp() {
  auto device = open_test_device();
  if (!device && device.error().kind == ErrorKind::unavailable) {
    GTEST_SKIP() << device.error().message;
  }
  TAKT_ASSERT_OK(device);
  device_ = *std::move(device);
}

void StepTest::TearDown() {
  if (runs_.empty() || HasFatalFailure()) return;
  TAKT_ASSERT_OK(device_->run(runs_));
  for (std::size_t i = 0; i < runs_.size(); ++i) {
    const Step& step = runs_[i].step;
    const std::vector<Constant> got = outputs_in(runs_[i]);
    for (std::size_t output = 0; output < got.size(); ++output) {
      std::string what =
          graph::describe(step.ops[0].op) + " to " + to_string(step.outputs[output].view);
      for (const View& view : step.inputs) what += " from " + to_string(view);
      expect_near(got[output], expected_[i][output], what);
      if (HasFatalFailure()) return;
    }
  }
}

void StepTest::expect_reference(CodeOf code_of, const graph::Operator& op,
                                const std::vector<Constant>& inputs, const Storage& in,
                                const Storage& out) {
  Step step{"test", StepKind::single, {}, {{op, {}, {}}}, {}};
  std::vector<Constant> stored;
  std::vector<Constant> exact;
  std::vector<TensorType> types;
  for (const Constant& input : inputs) {
    const auto place = static_cast<int>(step.inputs.size());
    step.inputs.push_back(in.view_of(input.type, place));
    step.ops[0].arguments.push_back(place);
    stored.push_back(as_type(input, step.inputs.back().type));
    exact.push_back(as_type(stored.back(), input.type.type));
    types.push_back(input.type);
  }
  const auto results = graph::infer_types(op, types);
  TAKT_ASSERT_OK(results);
  step.ops[0].results = *results;
  for (const TensorType& result : *results) {
    const auto value = static_cast<int>(step.inputs.size() + step.outputs.size());
    step.outputs.push_back({value, out.view_of(result, value)});
  }
  std::vector<const Constant*> places;
  for (const Constant& input : exact) places.push_back(&input);
  const auto expected = graph::evaluate(op, places);
  TAKT_ASSERT_OK(expected);
  auto run = run_of(code_of, step, "step" + std::to_string(runs_.size()), stored);
  TAKT_ASSERT_OK(run);
  runs_.push_back(*std::move(run));
  expected_.push_back(*expected);
}

void StepTest::expect_reference(CodeOf code_of, const graph::Operator& op,
                                const std::vector<Constant>& inputs) {
  constexpr auto kF32 = DataType::fp32;
  constexpr auto kF16 = DataType::fp16;
  std::vector<std::pair<Storage, Storage>> ways{
      {{TensorLayout::dense, kF32}, {TensorLayout::dense, kF32}},
      {{TensorLayout::gapped, kF16}, {TensorLayout::gapped, kF32}},
      {{TensorLayout::dense, kF32}, {TensorLayout::channels_last, kF16}},
      {{TensorLayout::channels_last, kF16}, {TensorLayout::channels_last, kF16}},
      {{TensorLayout::channels_last, DataType::fp64}, {TensorLayout::dense, kF32}}};
  // Of integers only the layouts differ.
  if (!is_floating(inputs[0].type.type)) ways.resize(2);
  for (const auto& [in, out] : ways) {
    expect_reference(code_of, op, inputs, in, out);
    if (HasFatalFailure()) return;
  }
}

Result<std::vector<Constant>> StepTest::outputs_of(CodeOf code_of, const Step& step,
                                                   const std::vector<Constant>& inputs) {
  Result<StepRun> run = run_of(code_of, step, "step", inputs);
  if (!run) return std::unexpected(std::move(run).error());
  std::vector<StepRun> runs{*std::move(run)};
  if (Result<void> done = device_->run(runs); !done) {
    return std::unexpected(std::move(done).error());
  }
  return outputs_in(runs.front());
}

}  // namespace takt::cuda
