// SPDX-License-Identifier: Apache-2.0
// Generated kernels beside the reference evaluator.
#include "backend/cuda/device_tests/gpu_fixture.h"
#include "backend/cuda/kernels/pointwise.h"
#include "backend/cuda/kernels/rows.h"
#include "backend/cuda/kernels/windows.h"
#include "backend/cuda/memory.h"
#include "backend/cuda/stream.h"
#include "core/half.h"
#include "graph/constants.h"
#include "graph/graph.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace takt::cuda {
namespace {

using graph::Binary;
using graph::BinaryKind;
using graph::Constant;
using graph::ReduceKind;
using graph::TensorType;
using graph::Unary;
using graph::UnaryKind;

constexpr auto kF16 = DataType::fp16;
constexpr auto kF32 = DataType::fp32;

// Numbers that every type has; small, so that integers don't overflow where FP32 would not.
Constant random_constant(const TensorType& type, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal(0, 2);
  std::uniform_int_distribution<int> whole(1, 5);
  std::vector<double> numbers(static_cast<std::size_t>(*element_count(type.shape)));
  for (double& number : numbers) number = is_floating(type.type) ? normal(random) : whole(random);
  if (type.type == DataType::boolean) {
    for (double& number : numbers) number = number > 3 ? 1 : 0;
  }
  return graph::constant_of(type.type, type.shape, std::span<const double>(numbers));
}

std::vector<std::int64_t> dense(const Shape& shape) {
  std::vector<std::int64_t> strides(shape.size());
  std::int64_t stride = 1;
  for (std::size_t i = shape.size(); i-- > 0; stride *= shape[i]) strides[i] = stride;
  return strides;
}

Access access_of(const TensorType& type) {
  return {type.type, dense(type.shape), 256};
}

double tolerance(DataType type) {
  switch (type) {
    case DataType::fp16:
      return 2e-3;
    case DataType::bf16:
      return 1.6e-2;
    case DataType::fp32:
      return 1e-5;
    case DataType::fp64:
      return 1e-12;
    default:
      return 0;
  }
}

class GpuKernels : public GpuTest {
 protected:
  // The outputs' buffers after the kernel; they begin as zeros.
  std::vector<Constant> run(const KernelSource& source, const std::vector<Constant>& inputs,
                            const std::vector<TensorType>& outputs) {
    std::vector<Constant> results;
    for (const TensorType& type : outputs) {
      results.push_back({type, std::vector<std::byte>(*byte_size(type.type, type.shape))});
    }
    const Result<void> ran = try_run(source, inputs, results);
    EXPECT_TRUE(ran) << ran.error().message << "\n" << source.text;
    return results;
  }

  static void expect_near(const Constant& got, const Constant& expected, const std::string& what) {
    ASSERT_EQ(got.type, expected.type) << what;
    const std::vector<double> g = graph::numbers_in(got);
    const std::vector<double> e = graph::numbers_in(expected);
    for (std::size_t i = 0; i < e.size(); ++i) {
      if (std::isnan(e[i]) && std::isnan(g[i])) continue;
      if (g[i] == e[i]) continue;
      ASSERT_NEAR(g[i], e[i], tolerance(got.type.type) * std::max(1.0, std::abs(e[i])))
          << what << ", element " << i;
    }
  }

 private:
  Result<void> try_run(const KernelSource& source, const std::vector<Constant>& inputs,
                       std::vector<Constant>& outputs) {
    Result<Kernel> kernel = build("#include \"takt_kernel.h\"\n" + source.text, source.name);
    if (!kernel) return std::unexpected(std::move(kernel).error());
    Result<Stream> stream = Stream::create(context_);
    if (!stream) return std::unexpected(std::move(stream).error());
    std::vector<DeviceMemory> buffers;
    std::vector<std::uint64_t> addresses;
    const auto add = [&](const Constant& constant) -> Result<void> {
      auto memory =
          DeviceMemory::allocate(context_, std::max<std::size_t>(1, constant.bytes.size()));
      if (!memory) return std::unexpected(std::move(memory).error());
      addresses.push_back(memory->span().address);
      buffers.push_back(std::move(*memory));
      return copy_to_device(buffers.back().span(), constant.bytes, *stream);
    };
    for (const Constant& input : inputs) {
      if (Result<void> added = add(input); !added) return added;
    }
    for (const Constant& output : outputs) {
      if (Result<void> added = add(output); !added) return added;
    }
    const LaunchShape shape{{source.blocks, 1, 1}, {source.threads_x, source.threads_y, 1}, 0};
    if (Result<void> launched = kernel->launch_with_addresses(*stream, shape, addresses);
        !launched) {
      return launched;
    }
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      const Result<void> copied =
          copy_to_host(outputs[i].bytes, buffers[inputs.size() + i].span(), *stream);
      if (!copied) return copied;
    }
    return stream->synchronize();
  }
};

// Of one operator on dense inputs of one shape.
Pointwise pointwise_of(std::variant<Unary, Binary, graph::Cast, graph::Select> op,
                       const std::vector<TensorType>& inputs, const TensorType& output) {
  Pointwise pointwise{output.shape, {}, {}, {}};
  std::vector<int> arguments;
  for (const TensorType& input : inputs) {
    arguments.push_back(static_cast<int>(arguments.size()));
    pointwise.inputs.push_back(access_of(input));
  }
  pointwise.steps.push_back({std::move(op), std::move(arguments), output.type});
  pointwise.outputs.push_back({static_cast<int>(inputs.size()), access_of(output)});
  return pointwise;
}

graph::Operator general(const std::variant<Unary, Binary, graph::Cast, graph::Select>& op) {
  return std::visit([](const auto& one) { return graph::Operator(one); }, op);
}

constexpr std::array kTypes{DataType::fp32,  DataType::fp16,  DataType::bf16,
                            DataType::fp64,  DataType::int32, DataType::int64,
                            DataType::uint8, DataType::int8,  DataType::boolean};

TEST_F(GpuKernels, EveryElementwiseOperatorComputesWhatItsDefinitionSays) {
  int compared = 0;
  const auto compare = [&](std::variant<Unary, Binary, graph::Cast, graph::Select> op,
                           const std::vector<DataType>& types) {
    std::vector<TensorType> input_types;
    std::vector<Constant> inputs;
    std::vector<const Constant*> places;
    for (const DataType type : types) {
      input_types.push_back({type, {3, 40}});
      inputs.push_back(
          random_constant(input_types.back(), static_cast<unsigned>(inputs.size() + 1)));
    }
    for (const Constant& input : inputs) places.push_back(&input);
    const auto output_types = graph::infer_types(general(op), input_types);
    if (!output_types) return;
    const auto expected = graph::evaluate(general(op), places);
    ASSERT_TRUE(expected) << expected.error().message;
    const std::string what =
        graph::describe(general(op)) + " of " + std::string(to_string(types.front()));
    const KernelSource source =
        pointwise_kernel(pointwise_of(std::move(op), input_types, output_types->front()), "k");
    expect_near(run(source, inputs, *output_types).front(), expected->front(), what);
    ++compared;
  };
  for (const DataType type : kTypes) {
    for (int k = 0; k <= static_cast<int>(UnaryKind::is_negative_infinity); ++k) {
      compare(Unary{static_cast<UnaryKind>(k), 0.5F, 2.0F}, {type});
    }
    for (int k = 0; k <= static_cast<int>(BinaryKind::logical_xor); ++k) {
      compare(Binary{static_cast<BinaryKind>(k)}, {type, type});
    }
    for (const DataType to : kTypes) compare(graph::Cast{to}, {type});
    compare(graph::Select{}, {DataType::boolean, type, type});
  }
  EXPECT_GT(compared, 300);
}

// The numbers at which C++ leaves open what happens, and the hardware's answer differs from the definition.
std::vector<double> edges(DataType type) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  if (is_floating(type)) {
    return {std::numeric_limits<double>::quiet_NaN(),
            kInfinity,
            -kInfinity,
            0,
            -0.0,
            0.5,
            -2.5,
            5,
            3,
            -3,
            70000,
            1e10,
            -1e10,
            2147483648.0,
            255.5,
            -1};
  }
  if (type == DataType::boolean) return {0, 1};
  const bool is_signed =
      type == DataType::int8 || type == DataType::int32 || type == DataType::int64;
  const int bits = static_cast<int>(8 * element_bytes(type)) - (is_signed ? 1 : 0);
  const double most = bits > 53 ? std::ldexp(1, 62) : std::ldexp(1, bits) - 1;
  std::vector<double> numbers{1,  2,  3,  5,    7,        31,
                              33, 63, 39, most, most - 1, std::floor(most / 2) + 1};
  if (is_signed) numbers.insert(numbers.end(), {-1, -2, -7, -most, -most - 1});
  return numbers;
}

TEST_F(GpuKernels, EdgesAreComputedAsTheirDefinitionSays) {
  // Each number with each.
  const auto paired = [](DataType type, bool second) {
    const std::vector<double> numbers = edges(type);
    std::vector<double> pairs;
    for (const double first : numbers) {
      for (const double other : numbers) pairs.push_back(second ? other : first);
    }
    const auto count = static_cast<std::int64_t>(pairs.size());
    return graph::constant_of(type, {count}, std::span<const double>(pairs));
  };
  const auto compare = [&](std::variant<Unary, Binary, graph::Cast, graph::Select> op,
                           const std::vector<Constant>& inputs) {
    std::vector<TensorType> types;
    std::vector<const Constant*> places;
    for (const Constant& input : inputs) {
      types.push_back(input.type);
      places.push_back(&input);
    }
    const auto output_types = graph::infer_types(general(op), types);
    if (!output_types) return;
    const auto expected = graph::evaluate(general(op), places);
    if (!expected) return;  // such as 0 to a negative power
    const std::string what = graph::describe(general(op)) + " of " + to_string(types.front());
    const KernelSource source =
        pointwise_kernel(pointwise_of(std::move(op), types, output_types->front()), "k");
    expect_near(run(source, inputs, *output_types).front(), expected->front(), what);
  };
  const std::vector<UnaryKind> exact{UnaryKind::abs,
                                     UnaryKind::neg,
                                     UnaryKind::sign,
                                     UnaryKind::relu,
                                     UnaryKind::floor,
                                     UnaryKind::ceil,
                                     UnaryKind::round,
                                     UnaryKind::is_nan,
                                     UnaryKind::bitwise_not,
                                     UnaryKind::shrink,
                                     UnaryKind::is_positive_infinity,
                                     UnaryKind::is_negative_infinity};
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const DataType type : kTypes) {
    const Constant first = paired(type, false);
    const Constant second = paired(type, true);
    for (const UnaryKind kind : exact) compare(Unary{kind, 0.5F, -5.0F}, {first});
    compare(Unary{UnaryKind::clip, 0, kInfinity}, {first});
    compare(Unary{UnaryKind::clip, -kInfinity, 3}, {first});
    compare(Unary{UnaryKind::clip, 5, 3}, {first});
    for (int k = 0; k <= static_cast<int>(BinaryKind::logical_xor); ++k) {
      const auto kind = static_cast<BinaryKind>(k);
      if (kind == BinaryKind::pow && is_floating(type)) continue;
      compare(Binary{kind}, {first, second});
    }
    for (const DataType to : kTypes) compare(graph::Cast{to}, {first});
  }
}

// y = silu(x * scale + shift) + x, from the channels 8 to 16 of an image in NHWC into others of a larger one.
TEST_F(GpuKernels, AChainReadsAndWritesSlicesOfChannels) {
  const std::int64_t height = 5;
  const std::int64_t width = 7;
  const TensorType image{kF16, {1, height, width, 24}};
  const TensorType wide{kF16, {1, height, width, 32}};
  const Constant x = random_constant(image, 1);
  const Constant scale = random_constant({kF32, {8}}, 2);
  const Constant shift = random_constant({kF32, {8}}, 3);
  Pointwise chain{{1, 8, height, width}, {}, {}, {}};
  chain.inputs = {{kF16, {height * width * 24, 1, width * 24, 24}, 256},
                  {kF32, {0, 1, 0, 0}, 256},
                  {kF32, {0, 1, 0, 0}, 256}};
  chain.steps = {{Binary{BinaryKind::mul}, {0, 1}, kF32},
                 {Binary{BinaryKind::add}, {3, 2}, kF32},
                 {Unary{UnaryKind::silu, 1}, {4}, kF32},
                 {Binary{BinaryKind::add}, {5, 0}, kF32}};
  chain.outputs = {{6, {kF16, {height * width * 32, 1, width * 32, 32}, 256}}};
  const Constant y = run(pointwise_kernel(chain, "chain"), {x, scale, shift}, {wide}).front();
  const std::vector<double> from = graph::numbers_in(x);
  const std::vector<double> to = graph::numbers_in(y);
  const std::vector<double> a = graph::numbers_in(scale);
  const std::vector<double> b = graph::numbers_in(shift);
  for (std::int64_t pixel = 0; pixel < height * width; ++pixel) {
    for (std::int64_t c = 0; c < 32; ++c) {
      double expected = 0;
      if (c < 8) {
        const double value = from[static_cast<std::size_t>(pixel * 24 + c)];
        const double inner =
            value * a[static_cast<std::size_t>(c)] + b[static_cast<std::size_t>(c)];
        expected = inner / (1 + std::exp(-inner)) + value;
      }
      ASSERT_NEAR(to[static_cast<std::size_t>(pixel * 32 + c)], expected,
                  2e-3 * std::max(1.0, std::abs(expected)));
    }
  }
}

TEST_F(GpuKernels, ATransposedCopyMovesEachElementToItsPlace) {
  const TensorType from{kF32, {2, 3, 9, 5}};
  const TensorType to{kF16, {2, 9, 5, 3}};
  const Constant x = random_constant(from, 1);
  Pointwise copy{from.shape, {access_of(from)}, {}, {{0, {kF16, {135, 1, 15, 3}, 256}}}};
  const Constant* const input = &x;
  const auto moved = graph::evaluate(graph::Transpose{{0, 2, 3, 1}}, {&input, 1}).value();
  const Constant* const transposed = &moved.front();
  const auto expected = graph::evaluate(graph::Cast{kF16}, {&transposed, 1}).value();
  expect_near(run(pointwise_kernel(copy, "copy"), {x}, {to}).front(), expected.front(), "copy");
}

struct RowCase {
  Shape shape;
  std::vector<int> axes;
};

// The space in which the axes of a dense tensor are the rows' inner dimensions, and the accesses to the
// tensor and to a result in which those have size 1.
struct DenseRows {
  RowSpace space;
  Access input;
  Access result;
  Access same;  // as the input, of another type
};

DenseRows rows_of(const RowCase& one, DataType in, DataType out) {
  DenseRows rows;
  Shape reduced = one.shape;
  for (const int axis : one.axes) reduced[static_cast<std::size_t>(axis)] = 1;
  const std::vector<std::int64_t> from = dense(one.shape);
  const std::vector<std::int64_t> to = dense(reduced);
  rows.input = {in, {}, 256};
  rows.result = {out, {}, 256};
  for (const bool inner : {false, true}) {
    for (std::size_t dim = 0; dim < one.shape.size(); ++dim) {
      if ((std::ranges::find(one.axes, static_cast<int>(dim)) != one.axes.end()) != inner) continue;
      (inner ? rows.space.inner : rows.space.outer).push_back(one.shape[dim]);
      rows.input.strides.push_back(from[dim]);
      rows.result.strides.push_back(inner ? 0 : to[dim]);
    }
  }
  rows.same = rows.input;
  rows.same.type = out;
  return rows;
}

const std::vector<RowCase> kRowCases{
    {{4, 1000}, {1}},       {{1000, 4}, {0}}, {{2, 64, 7, 7}, {2, 3}}, {{2, 7, 7, 64}, {1, 2}},
    {{3, 5, 2}, {0, 1, 2}}, {{70, 3}, {1}},   {{2, 3, 300}, {0, 2}},   {{1, 33}, {0}}};

TEST_F(GpuKernels, ReductionsAreThoseOfTheReference) {
  for (const RowCase& one : kRowCases) {
    for (const DataType type : {kF32, kF16, DataType::int32}) {
      for (int k = 0; k <= static_cast<int>(ReduceKind::sum_square); ++k) {
        const auto kind = static_cast<ReduceKind>(k);
        const bool narrow =
            type == kF16 && (kind == ReduceKind::prod || kind == ReduceKind::sum_square);
        const bool whole =
            type == DataType::int32 &&
            (kind == ReduceKind::prod || kind == ReduceKind::log_sum_exp ||
             kind == ReduceKind::mean || kind == ReduceKind::log_sum || kind == ReduceKind::l2);
        if (narrow || whole || (type == kF32 && kind == ReduceKind::prod)) continue;  // overflows
        const Constant x = random_constant({type, one.shape}, 5);
        const Constant* const input = &x;
        const auto expected = graph::evaluate(graph::Reduce{kind, one.axes}, {&input, 1});
        ASSERT_TRUE(expected) << expected.error().message;
        const DenseRows rows = rows_of(one, type, type);
        const KernelSource source = reduce_kernel({rows.space, kind, rows.input, rows.result}, "k");
        const Constant got = run(source, {x}, {expected->front().type}).front();
        const std::vector<double> g = graph::numbers_in(got);
        const std::vector<double> e = graph::numbers_in(expected->front());
        const double each = std::accumulate(e.begin(), e.end(), 1.0, [](double most, double value) {
          return std::isnan(value) ? most : std::max(most, std::abs(value));
        });
        for (std::size_t i = 0; i < e.size(); ++i) {
          if (std::isnan(e[i]) && std::isnan(g[i])) continue;
          // Sums of numbers of both signs are compared with the size of what is summed.
          ASSERT_NEAR(g[i], e[i], 4 * tolerance(type) * each)
              << to_string(kind) << " of " << to_string(x.type) << ", element " << i << "\n"
              << source.text;
        }
      }
    }
  }
}

TEST_F(GpuKernels, TheLargestAndTheSmallestAreFoundWhereTheyAre) {
  for (const RowCase& one : kRowCases) {
    if (one.axes.size() != 1) continue;
    for (const DataType type : {kF32, DataType::int32}) {  // integers have many equals
      for (const int way : {0, 1, 2, 3}) {
        const graph::ArgReduce op{way % 2 == 0, one.axes.front(), way / 2 == 0};
        const Constant x = random_constant({type, one.shape}, 9);
        const Constant* const input = &x;
        const auto expected = graph::evaluate(op, {&input, 1});
        ASSERT_TRUE(expected) << expected.error().message;
        const DenseRows rows = rows_of(one, type, DataType::int64);
        const KernelSource source = arg_reduce_kernel(
            {rows.space, op.maximum, op.last_of_equals, rows.input, rows.result}, "k");
        expect_near(run(source, {x}, {expected->front().type}).front(), expected->front(),
                    to_string(x.type) + source.text);
      }
    }
  }
}

TEST_F(GpuKernels, SoftmaxIsThatOfTheReference) {
  for (const RowCase& one : kRowCases) {
    if (one.axes.size() != 1) continue;
    for (const DataType type : {kF32, kF16}) {
      for (const bool log : {false, true}) {
        const Constant x = random_constant({type, one.shape}, 11);
        const Constant* const input = &x;
        const auto expected = graph::evaluate(graph::Softmax{one.axes.front(), log}, {&input, 1});
        ASSERT_TRUE(expected) << expected.error().message;
        const DenseRows rows = rows_of(one, type, type);
        const KernelSource source = softmax_kernel({rows.space, log, rows.input, rows.same}, "k");
        expect_near(run(source, {x}, {x.type}).front(), expected->front(), to_string(x.type));
      }
    }
  }
}

TEST_F(GpuKernels, NormalisationsAreThoseOfTheReference) {
  const TensorType type{kF16, {3, 7, 96}};
  const Constant x = random_constant(type, 1);
  const Constant scale = random_constant({kF16, {96}}, 2);
  const Constant bias = random_constant({kF16, {96}}, 3);
  const std::vector<const Constant*> inputs{&x, &scale, &bias};
  const auto expected = graph::evaluate(graph::LayerNorm{2, 1e-5}, inputs);
  ASSERT_TRUE(expected) << expected.error().message;
  const Access along{kF16, {0, 0, 1}, 256};
  const NormalizeRows rows{{{3, 7}, {96}}, 1e-5, access_of(type), along, along, access_of(type)};
  const Constant got = run(normalize_kernel(rows, "k"), {x, scale, bias}, {type}).front();
  expect_near(got, expected->front(), "LayerNorm");
}

Constant transposed(const Constant& from, std::vector<int> permutation) {
  const Constant* const input = &from;
  return graph::evaluate(graph::Transpose{std::move(permutation)}, {&input, 1}).value().front();
}

// Groups of channels of images in NHWC.
TEST_F(GpuKernels, GroupNormIsANormalisationOfOtherRows) {
  const std::int64_t pixels = 30;
  const TensorType nchw{kF32, {2, 8, 5, 6}};
  const Constant x = random_constant(nchw, 1);
  const Constant scale = random_constant({kF32, {8}}, 2);
  const Constant bias = random_constant({kF32, {8}}, 3);
  const std::vector<const Constant*> inputs{&x, &scale, &bias};
  const auto expected = graph::evaluate(graph::GroupNorm{4, 1e-5}, inputs);
  ASSERT_TRUE(expected) << expected.error().message;
  const auto to_nhwc = [](const Constant& from) { return transposed(from, {0, 2, 3, 1}); };
  // Rows are (image, group), their elements (channel of the group, row, column).
  const Access image{kF32, {pixels * 8, 2, 1, 6 * 8, 8}, 256};
  const Access along{kF32, {0, 2, 1, 0, 0}, 256};
  const NormalizeRows rows{{{2, 4}, {2, 5, 6}}, 1e-5, image, along, along, image};
  const Constant got =
      run(normalize_kernel(rows, "k"), {to_nhwc(x), scale, bias}, {to_nhwc(x).type}).front();
  expect_near(got, to_nhwc(expected->front()), "GroupNorm");
}

// NHWC as an access to [N,C,H,W].
Access channels_last(DataType type, const Shape& nchw) {
  return {type, {nchw[1] * nchw[2] * nchw[3], 1, nchw[3] * nchw[1], nchw[1]}, 256};
}

TEST_F(GpuKernels, PoolsAreThoseOfTheReferenceInBothLayouts) {
  using graph::PoolKind;
  const graph::Window overlapping{{3, 3}, {2, 2}, {1, 1}, {1, 1}, {1, 1}};
  const graph::Window dilated{{2, 3}, {1, 2}, {2, 1}, {0, 1}, {1, 0}};
  struct Case {
    graph::Pool op;
    Shape shape;
  };
  const std::vector<Case> cases{
      {{PoolKind::max, overlapping, {6, 5}, false, 2}, {2, 16, 11, 10}},
      {{PoolKind::max, dilated, {10, 5}, false, 2}, {1, 5, 11, 11}},
      {{PoolKind::average, overlapping, {6, 5}, false, 2}, {2, 16, 11, 10}},
      // The last windows hang over the padding's end.
      {{PoolKind::average, overlapping, {6, 6}, true, 2}, {2, 16, 11, 10}},
      {{PoolKind::lp, overlapping, {6, 5}, false, 3}, {1, 8, 11, 10}},
  };
  for (const Case& one : cases) {
    for (const DataType type : {kF32, kF16}) {
      const Constant x = random_constant({type, one.shape}, 3);
      const Constant* const input = &x;
      const auto expected = graph::evaluate(one.op, {&input, 1});
      ASSERT_TRUE(expected) << expected.error().message;
      const TensorType& out = expected->front().type;
      const std::string what = graph::describe(one.op) + " of " + to_string(x.type);
      const PoolWindows rows{one.op, one.shape, access_of(x.type), access_of(out)};
      expect_near(run(pool_kernel(rows, "k"), {x}, {out}).front(), expected->front(), what);
      const PoolWindows last{one.op, one.shape, channels_last(type, one.shape),
                             channels_last(type, out.shape)};
      const Constant nhwc = transposed(expected->front(), {0, 2, 3, 1});
      expect_near(run(pool_kernel(last, "k"), {transposed(x, {0, 2, 3, 1})}, {nhwc.type}).front(),
                  nhwc, what + " in NHWC");
    }
  }
}

}  // namespace
}  // namespace takt::cuda
