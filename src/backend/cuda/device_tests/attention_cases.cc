// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/compile/views.h"
#include "backend/cuda/device_tests/step_cases.h"

#include <utility>

namespace takt::cuda {
namespace {

using graph::Binary;
using graph::BinaryKind;

constexpr auto kF16 = DataType::fp16;
constexpr auto kF32 = DataType::fp32;

enum class Heads : std::uint8_t { apart, of_tokens, of_channels };
enum class Factor : std::uint8_t { none, mul, div };

struct Case {
  std::string name;
  Shape batch;
  std::int64_t queries = 1;
  std::int64_t keys = 1;
  std::int64_t key_size = 64;
  std::int64_t value_size = 64;
  DataType type = kF16;
  Heads heads = Heads::of_tokens;
  Factor factor = Factor::mul;
  std::vector<Stored> biases = {};
  DataType result = kF16;
};

// [batch...,head,token,number] as one product leaves queries, keys and values: apart; the heads of a token side by
// side, between those of the two others; or token by token behind each other, as images channels first have them.
Layout layout_of(Heads heads, std::size_t rank, std::int64_t gap, bool transposed) {
  std::vector<int> order;
  for (std::size_t i = 0; i < rank; ++i) order.push_back(static_cast<int>(i));
  const int token = transposed ? order.back() : order[rank - 2];
  const int number = transposed ? order[rank - 2] : order.back();
  order.resize(rank - 2);
  if (heads == Heads::of_tokens && rank > 2) {
    order.insert(order.end() - 1, token);
    order.push_back(number);
  } else if (heads == Heads::of_channels) {
    order.insert(order.end(), {number, token});
  } else {
    order.insert(order.end(), {token, number});
  }
  return {std::move(order), gap};
}

Shape with(Shape batch, std::int64_t rows, std::int64_t columns) {
  batch.insert(batch.end(), {rows, columns});
  return batch;
}

StepCase case_of(const Case& one) {
  const std::size_t rank = one.batch.size() + 2;
  const auto stored = [&](Shape shape, std::int64_t gap, bool transposed) {
    return Stored{one.type, std::move(shape), layout_of(one.heads, rank, gap, transposed)};
  };
  const std::int64_t gap = one.heads == Heads::apart ? 0 : 8;
  std::vector<Stored> inputs{stored(with(one.batch, one.queries, one.key_size), gap, false),
                             stored(with(one.batch, one.key_size, one.keys), gap, true),
                             stored(with(one.batch, one.keys, one.value_size), gap, false)};
  const auto terms = static_cast<int>(one.biases.size()) + (one.factor == Factor::none ? 0 : 1);
  int next = 3;
  int scores = next + terms;
  std::vector<Link> links{{graph::MatMul{}, {0, 1}}};
  if (one.factor != Factor::none) {
    const auto kind = one.factor == Factor::mul ? BinaryKind::mul : BinaryKind::div;
    inputs.push_back({kF32, Shape(rank, 1), {}});
    links.push_back({Binary{kind}, {scores++, next++}});
  }
  for (const Stored& bias : one.biases) {
    inputs.push_back(bias);
    links.push_back({Binary{BinaryKind::add}, {scores++, next++}});
  }
  links.push_back({graph::Softmax{static_cast<int>(rank) - 1, false}, {scores}});
  links.push_back({graph::MatMul{}, {scores + 1, 2}});
  Step step = chain_step(StepKind::attention, inputs, links, one.result,
                         layout_of(one.heads, rank, gap, false));
  for (std::size_t i = 3; i < step.inputs.size(); ++i) {
    step.inputs[i] = broadcast(step.inputs[i], with(one.batch, one.queries, one.keys));
  }
  return {one.name, std::move(step)};
}

}  // namespace

std::vector<StepCase> attention_cases(DataType type) {
  using enum Heads;
  const Stored positions{kF32, {1, 4, 49, 49}, {}};
  const Stored windows{kF32, {6, 1, 49, 49}, {}};
  std::vector<Case> cases{
      {"of a ViT", {2, 3}, 197, 197},
      {"of Swin's windows", {6, 4}, 49, 49, 32, 32, kF16, of_tokens, Factor::none, {positions}},
      {"of Swin's shifted windows",
       {6, 4},
       49,
       49,
       32,
       32,
       kF16,
       of_tokens,
       Factor::mul,
       {positions, windows}},
      {"of windows of several images",
       {2, 6, 4},
       49,
       49,
       32,
       32,
       kF16,
       of_tokens,
       Factor::none,
       {positions, windows}},
      {"of a detector's pixels", {2, 4}, 100, 100, 32, 64, kF16, of_channels},
      {"of few queries", {3, 2}, 5, 130, 64, 64, kF16, apart},
      {"of one query", {3, 2}, 1, 77, 64, 64, kF16, apart, Factor::div},
      {"of one key", {3, 2}, 70, 1, 16, 24, kF16, apart, Factor::none},
      {"of heads of 40", {1, 8}, 65, 33, 40, 40},
      {"of heads of 24 and 72", {2, 2}, 31, 64, 24, 72, kF16, apart},
      {"of heads of 128", {1, 2}, 130, 129, 128, 128, kF16, of_tokens, Factor::div},
      {"of one head", {}, 33, 95, 80, 16, kF16, apart},
      {"of heads without images", {5}, 64, 64, 96, 96, kF16, apart, Factor::none},
      // Its weight is 1, so that nothing is rounded on the way to 32 bits.
      {"of one key into FP32", {2, 3}, 20, 1, 48, 48, kF16, of_tokens, Factor::mul, {}, kF32},
      {"with a bias of each score",
       {2, 3},
       20,
       50,
       48,
       48,
       kF16,
       of_tokens,
       Factor::mul,
       {{kF16, {2, 3, 20, 50}, {}}}},
      {"with a mask of keys",
       {2, 3},
       20,
       150,
       48,
       48,
       kF16,
       of_channels,
       Factor::mul,
       {{kF16, {2, 1, 1, 150}, {}}}},
      {"with a mask of queries",
       {2, 3},
       20,
       50,
       48,
       48,
       kF16,
       of_tokens,
       Factor::div,
       {{kF16, {20, 1}, {}}, {kF32, {2, 3, 20, 50}, {{0, 1, 3, 2}, 0}}}}};
  std::vector<StepCase> steps;
  for (Case& one : cases) {
    one.type = type;
    if (one.result == kF16) one.result = type;
    steps.push_back(case_of(one));
  }
  return steps;
}

}  // namespace takt::cuda
