// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/kernels/pointwise.h"

#include "backend/cuda/kernels/compiler_fixture.h"
#include "graph/graph.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace takt::cuda {
namespace {

using graph::Binary;
using graph::BinaryKind;
using graph::Unary;
using graph::UnaryKind;

constexpr auto kF16 = DataType::fp16;
constexpr auto kF32 = DataType::fp32;

// y = silu(x * scale) of an image in NHWC, [1,channels,rows,columns].
Pointwise scaled_silu(std::int64_t channels, DataType type, std::size_t alignment) {
  const std::vector<std::int64_t> nhwc{25 * channels, 1, 5 * channels, channels};
  return {{1, channels, 5, 5},
          {{type, nhwc, alignment}, {kF32, {0, 1, 0, 0}, alignment}},
          {{Binary{BinaryKind::mul}, {0, 1}, type}, {Unary{UnaryKind::silu, 1}, {2}, type}},
          {{3, {type, nhwc, alignment}}}};
}

TEST(Pointwise, IsAsWideAsTypesAlignmentAndRowsAllow) {
  EXPECT_EQ(vector_width(scaled_silu(64, kF32, 16)), 4);
  EXPECT_EQ(vector_width(scaled_silu(64, kF16, 16)), 4) << "the scale has four bytes an element";
  EXPECT_EQ(vector_width(scaled_silu(6, kF32, 16)), 2);
  EXPECT_EQ(vector_width(scaled_silu(64, kF32, 8)), 2);
  EXPECT_EQ(vector_width(scaled_silu(64, kF32, 0)), 1);
  EXPECT_EQ(vector_width(scaled_silu(7, kF32, 16)), 1);
}

TEST(Pointwise, ReadsABroadcastNumberOnce) {
  Pointwise pointwise = scaled_silu(64, kF16, 16);
  pointwise.inputs[1].strides = {0, 0, 0, 0};
  EXPECT_EQ(vector_width(pointwise), 8);
}

TEST(Pointwise, StartsAThreadForEachGroupOfElements) {
  const KernelSource kernel = pointwise_kernel(scaled_silu(64, kF32, 16), "k");
  EXPECT_EQ(kernel.name, "takt_k");
  EXPECT_EQ(kernel.threads_x, 256U);
  EXPECT_EQ(kernel.blocks, (25U * 64 / 4 + 255) / 256);
}

// Neighbours of the input aren't the output's: blocks move tiles of both, so that the output is as wide as
// without.
TEST(Pointwise, TurnsTilesOfWhatLiesInAnotherOrder) {
  const Pointwise turned{{80, 8400}, {{kF16, {1, 80}, 256}}, {}, {{0, {kF32, {8400, 1}, 256}}}};
  EXPECT_EQ(vector_width(turned), 4);
  const KernelSource kernel = pointwise_kernel(turned, "k");
  EXPECT_EQ(kernel.blocks, 3U * 263);
  EXPECT_NE(kernel.text.find("__shared__"), std::string::npos);
}

// Whatever infer_types lets through has an expression that the compiler takes. A machine without a GPU can
// compile too.
TEST(Pointwise, EveryOperatorCompilesForTheTypesThatItTakes) {
  TAKT_SKIP_COMPILING_WHERE_SANITIZED();
  const auto nvrtc = project_compiler();
  ASSERT_TRUE(nvrtc) << nvrtc.error().message;
  std::string source = "#include \"takt_kernel.h\"\n";
  int kernels = 0;
  const auto add = [&](std::variant<Unary, Binary, graph::Cast, graph::Select> op,
                       const std::vector<DataType>& types) {
    std::vector<graph::TensorType> inputs;
    Pointwise pointwise{{8}, {}, {}, {}};
    for (const DataType type : types) {
      inputs.push_back({type, {8}});
      pointwise.inputs.push_back({type, {1}, 16});
    }
    const graph::Operator general =
        std::visit([](const auto& one) { return graph::Operator(one); }, op);
    const auto result = graph::infer_types(general, inputs);
    if (!result) return;
    const DataType type = result->front().type;
    std::vector<int> arguments;
    for (std::size_t i = 0; i < types.size(); ++i) arguments.push_back(static_cast<int>(i));
    pointwise.steps.push_back({std::move(op), std::move(arguments), type});
    pointwise.outputs.push_back({static_cast<int>(types.size()), {type, {1}, 16}});
    source += pointwise_kernel(pointwise, "k" + std::to_string(kernels++)).text;
  };
  for (const DataType type : {kF32, kF16, DataType::fp64, DataType::int8, DataType::int64,
                              DataType::uint32, DataType::boolean}) {
    for (int k = 0; k <= static_cast<int>(UnaryKind::is_negative_infinity); ++k) {
      add(Unary{static_cast<UnaryKind>(k), 0.5F, 2.0F}, {type});
    }
    for (int k = 0; k <= static_cast<int>(BinaryKind::logical_xor); ++k) {
      add(Binary{static_cast<BinaryKind>(k)}, {type, type});
    }
    for (int to = 0; to < static_cast<int>(DataType::bytes); ++to) {
      add(graph::Cast{static_cast<DataType>(to)}, {type});
    }
    add(graph::Select{}, {DataType::boolean, type, type});
  }
  EXPECT_GT(kernels, 250);
  const auto cubin = nvrtc->compile(source, "pointwise.cu", kCapabilityMin);
  ASSERT_TRUE(cubin) << cubin.error().message;
}

}  // namespace
}  // namespace takt::cuda
