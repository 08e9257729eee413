// SPDX-License-Identifier: Apache-2.0
// Online softmax over tiles of keys (Dao et al., FlashAttention-2, arXiv:2307.08691, algorithm 1).
#include "backend/cuda/kernels/attention.h"

#include "backend/cuda/kernels/index_space.h"
#include "backend/cuda/kernels/pointwise_expressions.h"
#include "backend/cuda/kernels/step_code.h"
#include "backend/cuda/kernels/step_views.h"
#include "graph/operators.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string_view>
#include <utility>
#include <variant>

namespace takt::cuda {
namespace {

constexpr std::int64_t kSizeMin = 16;  // of keys and values
constexpr std::int64_t kSizeMax = 128;
constexpr std::int64_t kSizeMultiple = 8;
constexpr ComputeCapability kBf16Min{8, 0};

constexpr std::int64_t kFragment = 16;  // rows, and depth, of a product of tensor cores
constexpr std::int64_t kWarpsMax = 4;   // of a block; each has 16 queries
constexpr std::int64_t kKeysMax = 64;   // of a tile, which lies in shared memory with its values
constexpr std::size_t kMatrices = 3;    // the first inputs: query, key, value

// What a step of StepKind::attention says.
struct Attention {
  Shape batch;  // the leading dimensions
  std::int64_t queries = 0;
  std::int64_t keys = 0;
  std::int64_t key_size = 0;
  std::int64_t value_size = 0;
  std::optional<std::size_t> factor;  // inputs of the step
  bool divides = false;
  std::vector<std::size_t> biases;
};

std::int64_t tiles(std::int64_t size, std::int64_t tile) {
  return (size + tile - 1) / tile;
}

// Numbers behind a row of a tile let eight rows lie in different banks.
constexpr std::string_view kParts = R"cuda(
constexpr unsigned kGap = 8u;
constexpr float kLog2E = 1.4426950408889634f;

__device__ __forceinline__ float infinity() { return __uint_as_float(0x7f800000u); }

__device__ __forceinline__ unsigned pair_of(Element first, Element second) {
  return static_cast<unsigned>(first.bits) | static_cast<unsigned>(second.bits) << 16;
}

// Two numbers of a query side by side; 0 beyond its end, and of queries that there aren't.
__device__ __forceinline__ unsigned query_pair(const Element* query, unsigned row, unsigned column) {
  if (row >= kQueries || column >= kKeySize) return 0u;
  const Element* const at = query + row * kQueryRow + column * kQueryColumn;
  if constexpr (kQueryWidth > 1) return *reinterpret_cast<const unsigned*>(at);
  return pair_of(at[0], at[kQueryColumn]);
}

// The rows of a tile, of keys or values, with 0 beyond their ends. Neighbouring threads read along a row
// where its numbers lie side by side, otherwise across.
template <unsigned size, unsigned padded, unsigned width, unsigned long long row_step,
          unsigned long long column_step>
__device__ __forceinline__ void load_tile(Element (&to)[kTileKeys][padded + kGap],
                                          const Element* from, unsigned begin) {
  constexpr unsigned kSlotsOfRow = padded / width;
  for (unsigned slot = threadIdx.x; slot < kTileKeys * kSlotsOfRow; slot += kThreads) {
    const bool along = column_step == 1u;
    const unsigned row = along ? slot / kSlotsOfRow : slot % kTileKeys;
    const unsigned column = (along ? slot % kSlotsOfRow : slot / kTileKeys) * width;
    takt::Elements<Element, width> elements = {};
    if (begin + row < kKeys && column < size) {
      elements = *reinterpret_cast<const takt::Elements<Element, width>*>(
          from + (begin + row) * row_step + column * column_step);
    }
    *reinterpret_cast<takt::Elements<Element, width>*>(&to[row][column]) = elements;
  }
}

__device__ __forceinline__ void write_pair(Output* to, unsigned row, unsigned column, float first,
                                           float second) {
  if (row >= kQueries || column >= kValueSize) return;
  Output* const at = to + row * kOutputRow + column * kOutputColumn;
  const takt::Elements<Output, 2> pair = {
      {takt::from_float<Output>(first), takt::from_float<Output>(second)}};
  if constexpr (kOutputWidth > 1) {
    *reinterpret_cast<takt::Elements<Output, 2>*>(at) = pair;
  } else {
    at[0] = pair.at[0];
    at[kOutputColumn] = pair.at[1];
  }
}
)cuda";

// A warp has 16 queries; a thread has rows `first` and 8 behind of each fragment. `most` is the largest score of
// a row so far, `sums` a thread's part of the sum of exp(score - most).
constexpr std::string_view kBody = R"cuda(
  const unsigned lane = threadIdx.x % 32u;
  const unsigned first =
      blockIdx.x % kQueryTiles * kTileQueries + threadIdx.x / 32u * 16u + lane / 4u;
  const unsigned column = lane % 4u * 2u;
  __shared__ __align__(16) Element keys[kTileKeys][kKeyPadded + kGap];
  __shared__ __align__(16) Element values[kTileKeys][kValuePadded + kGap];
  unsigned query[kKeyPadded / 16u][4];
#pragma unroll
  for (unsigned d = 0; d < kKeyPadded / 16u; ++d) {
#pragma unroll
    for (unsigned i = 0; i < 4u; ++i) {
      query[d][i] = query_pair(in0 + query_batch(z), first + i % 2u * 8u,
                               d * 16u + column + i / 2u * 8u);
    }
  }
  float most[2] = {-infinity(), -infinity()};
  float sums[2] = {0.0f, 0.0f};
  float results[kValuePadded / 8u][4] = {};
  for (unsigned begin = 0; begin < kKeys; begin += kTileKeys) {
    __syncthreads();
    load_tile<kKeySize, kKeyPadded, kKeyWidth, kKeyRow, kKeyColumn>(keys, in1 + key_batch(z), begin);
    load_tile<kValueSize, kValuePadded, kValueWidth, kValueRow, kValueColumn>(
        values, in2 + value_batch(z), begin);
    __syncthreads();
    float scores[kTileKeys / 8u][4] = {};
#pragma unroll
    for (unsigned d = 0; d < kKeyPadded / 16u; ++d) {
#pragma unroll
      for (unsigned n = 0; n < kTileKeys / 8u; n += 2u) {
        unsigned b[4];
        takt::load_matrices(b, &keys[(n + lane / 16u) * 8u + lane % 8u][d * 16u + lane / 8u % 2u * 8u]);
        takt::multiply<Element>(scores[n], query[d], b[0], b[1]);
        takt::multiply<Element>(scores[n + 1u], query[d], b[2], b[3]);
      }
    }
    float larger[2] = {most[0], most[1]};
#pragma unroll
    for (unsigned n = 0; n < kTileKeys / 8u; ++n) {
#pragma unroll
      for (unsigned c = 0; c < 4u; ++c) {
        const unsigned row = first + c / 2u * 8u;
        const unsigned key = begin + n * 8u + column + c % 2u;
        float& score = scores[n][c];
        score = key < kKeys ? with_terms(score, terms, row < kQueries ? row : kQueries - 1u, key)
                            : -infinity();
        larger[c / 2u] = fmaxf(larger[c / 2u], score);
      }
    }
    float base[2];
#pragma unroll
    for (unsigned i = 0; i < 2u; ++i) {
      larger[i] = fmaxf(larger[i], takt::of_lane(larger[i], 1));
      larger[i] = fmaxf(larger[i], takt::of_lane(larger[i], 2));
      // Masks may leave nothing of all scores until now.
      base[i] = larger[i] == -infinity() ? 0.0f : larger[i];
      const float smaller = exp2f((most[i] - base[i]) * kLog2E);
      most[i] = larger[i];
      sums[i] *= smaller;
#pragma unroll
      for (unsigned e = 0; e < kValuePadded / 8u; ++e) {
        results[e][2u * i] *= smaller;
        results[e][2u * i + 1u] *= smaller;
      }
    }
#pragma unroll
    for (unsigned k = 0; k < kTileKeys / 16u; ++k) {
      unsigned weights[4];
#pragma unroll
      for (unsigned i = 0; i < 4u; ++i) {
        const unsigned row = i % 2u;
        const float* const pair = &scores[2u * k + i / 2u][2u * row];
        const float left = exp2f((pair[0] - base[row]) * kLog2E);
        const float right = exp2f((pair[1] - base[row]) * kLog2E);
        sums[row] += left + right;
        weights[i] =
            pair_of(takt::from_float<Element>(left), takt::from_float<Element>(right));
      }
#pragma unroll
      for (unsigned e = 0; e < kValuePadded / 8u; e += 2u) {
        unsigned b[4];
        takt::load_transposed(b, &values[k * 16u + lane % 16u][(e + lane / 16u) * 8u]);
        takt::multiply<Element>(results[e], weights, b[0], b[1]);
        takt::multiply<Element>(results[e + 1u], weights, b[2], b[3]);
      }
    }
  }
#pragma unroll
  for (unsigned i = 0; i < 2u; ++i) {
    sums[i] += takt::of_lane(sums[i], 1);
    sums[i] += takt::of_lane(sums[i], 2);
#pragma unroll
    for (unsigned e = 0; e < kValuePadded / 8u; ++e) {
      write_pair(out + output_batch(z), first + i * 8u, e * 8u + column,
                 results[e][2u * i] / sums[i], results[e][2u * i + 1u] / sums[i]);
    }
  }
}
)cuda";

bool is_factor(const StepOp& op) {
  const auto* const binary = std::get_if<graph::Binary>(&op.op);
  return binary != nullptr &&
         (binary->kind == graph::BinaryKind::mul || binary->kind == graph::BinaryKind::div);
}

bool is_sum(const StepOp& op) {
  const auto* const binary = std::get_if<graph::Binary>(&op.op);
  return binary != nullptr && binary->kind == graph::BinaryKind::add;
}

bool is_product(const StepOp& op, std::vector<int> arguments) {
  const auto* const product = std::get_if<graph::MatMul>(&op.op);
  return product != nullptr && !product->transpose_a && !product->transpose_b &&
         op.arguments == arguments;
}

// The operators as StepKind::attention says; inputs are taken in their order.
bool read_operators(const Step& step, Attention& attention) {
  const auto inputs = static_cast<int>(step.inputs.size());
  const std::vector<StepOp>& ops = step.ops;
  if (ops.size() != step.inputs.size() || inputs < static_cast<int>(kMatrices)) return false;
  if (!is_product(ops.front(), {0, 1})) return false;
  std::size_t next = kMatrices;
  for (std::size_t i = 1; i + 2 < ops.size(); ++i, ++next) {
    const int scores = inputs + static_cast<int>(i) - 1;
    if (ops[i].arguments != std::vector{scores, static_cast<int>(next)}) return false;
    if (i == 1 && is_factor(ops[i])) {
      attention.factor = next;
      attention.divides = std::get<graph::Binary>(ops[i].op).kind == graph::BinaryKind::div;
    } else if (is_sum(ops[i])) {
      attention.biases.push_back(next);
    } else {
      return false;
    }
  }
  const StepOp& softmax = ops.end()[-2];
  const auto* const weights = std::get_if<graph::Softmax>(&softmax.op);
  const int last = inputs + static_cast<int>(ops.size()) - 1;
  return weights != nullptr && !weights->log &&
         weights->axis == static_cast<int>(step.inputs.front().shape.size()) - 1 &&
         softmax.arguments == std::vector{last - 2} && is_product(ops.back(), {last - 1, 2}) &&
         step.outputs.size() == 1 && step.outputs.front().value == last;
}

Result<void> check_shapes(const Step& step, const Attention& attention) {
  const auto with = [&](std::int64_t rows, std::int64_t columns) {
    Shape shape = attention.batch;
    shape.insert(shape.end(), {rows, columns});
    return shape;
  };
  const Shape scores = with(attention.queries, attention.keys);
  std::vector<Shape> expected{with(attention.queries, attention.key_size),
                              with(attention.key_size, attention.keys),
                              with(attention.keys, attention.value_size)};
  expected.resize(step.inputs.size(), scores);
  const auto check = [](const View& view, const Shape& shape) -> Result<void> {
    if (view.shape == shape) return {};
    return refuse(fmt::format("a tensor of {} in attention; expected {}",
                              takt::to_string(view.shape), takt::to_string(shape)));
  };
  for (std::size_t i = 0; i < step.inputs.size(); ++i) {
    if (auto checked = check(step.inputs[i], expected[i]); !checked) return checked;
  }
  return check(step.outputs[0].view, with(attention.queries, attention.value_size));
}

Result<void> check_types(const Step& step) {
  const DataType type = step.inputs[0].type;
  const auto is_16_or_32 = [](const View& view) {
    return view.type == DataType::fp16 || view.type == DataType::bf16 ||
           view.type == DataType::fp32;
  };
  bool fits = is_16_or_32(step.outputs[0].view);
  for (std::size_t i = 0; i < step.inputs.size(); ++i) {
    fits = fits && (i < kMatrices ? step.inputs[i].type == type : is_16_or_32(step.inputs[i]));
  }
  if (fits) return {};
  return refuse(
      "attention of other types than FP16 or BF16 with factor, biases and result of up "
      "to 32 bits; make a step of each operator");
}

Result<Attention> attention_of(const Step& step) {
  if (auto checked = check_views(step); !checked) return std::unexpected(checked.error());
  Attention attention;
  if (!read_operators(step, attention)) {
    return refuse(
        "operators that aren't attention: two products with a factor, biases and softmax "
        "between them");
  }
  const bool are_matrices =
      std::all_of(step.inputs.begin(), step.inputs.begin() + static_cast<std::ptrdiff_t>(kMatrices),
                  [](const View& view) { return view.shape.size() >= 2; });
  if (!are_matrices) return refuse("attention of tensors of fewer than two dimensions");
  const Shape& query = step.inputs[0].shape;
  attention.batch.assign(query.begin(), query.end() - 2);
  attention.queries = query.end()[-2];
  attention.key_size = query.back();
  attention.keys = step.inputs[1].shape.back();
  attention.value_size = step.inputs[2].shape.back();
  if (auto checked = check_shapes(step, attention); !checked) {
    return std::unexpected(checked.error());
  }
  if (auto checked = check_types(step); !checked) return std::unexpected(checked.error());
  if (attention.factor) {
    const View& factor = step.inputs[*attention.factor];
    const auto differs = [&](std::size_t axis) {
      return factor.shape[axis] != 1 && factor.strides[axis] != 0;
    };
    if (differs(query.size() - 1) || differs(query.size() - 2)) {
      return refuse(
          "a factor that differs among the scores of a head; make a step of each operator");
    }
  }
  // What a device can is asked by whoever makes steps.
  if (!attention_supported(step.inputs[0].type, kBf16Min, attention.key_size,
                           attention.value_size)) {
    return refuse(
        fmt::format("attention of {} with keys of {} numbers and values of {}; expected "
                    "FP16 or BF16, and multiples of {} from {} to {}",
                    takt::to_string(step.inputs[0].type), attention.key_size, attention.value_size,
                    kSizeMultiple, kSizeMin, kSizeMax));
  }
  return attention;
}

// Elements that move together along the last dimension but `back`, up to `most`.
int width_of(const View& view, std::size_t back, int most) {
  const std::size_t axis = view.shape.size() - 1 - back;
  if (view.strides[axis] != 1) return 1;
  const auto allows = [&](std::int64_t width) {
    const std::size_t bytes = element_bytes(view.type) * static_cast<std::size_t>(width);
    bool fits = bytes <= kAccessBytesMax && alignment_bytes(view) % bytes == 0;
    for (std::size_t i = 0; i < view.shape.size(); ++i) {
      const std::int64_t divided = i == axis ? view.shape[i] : view.strides[i];
      fits = fits && (divided % width == 0 || (i != axis && view.shape[i] == 1));
    }
    return fits;
  };
  for (int width = most; width > 1; width /= 2) {
    if (allows(width)) return width;
  }
  return 1;
}

std::string number(std::string_view name, std::int64_t value) {
  return fmt::format("constexpr unsigned {} = {}u;\n", name, value);
}

// Strides of a matrix whose rows are queries, keys or values of them: "k<Name>Row", "k<Name>Column".
std::string matrix_text(std::string_view name, std::int64_t row, std::int64_t column, int width) {
  return fmt::format(
      "constexpr unsigned long long k{0}Row = {1}ull;\n"
      "constexpr unsigned long long k{0}Column = {2}ull;\nconstexpr unsigned k{0}Width = {3}u;\n",
      name, row, column, width);
}

// Where the tensor's part of batch z begins, in elements.
std::string batch_text(std::string_view function, const View& view, const Shape& batch) {
  std::string sum = "0ull";
  std::int64_t inner = product(batch);
  for (std::size_t i = 0; i < batch.size(); ++i) {
    inner /= batch[i];
    if (batch[i] == 1 || view.strides[i] == 0) continue;
    sum += fmt::format(" + z / {}u % {}u * {}ull", inner, batch[i], view.strides[i]);
  }
  return fmt::format(
      "__device__ __forceinline__ unsigned long long {}(unsigned z) {{ return {}; }}\n", function,
      sum);
}

struct Tiles {
  std::int64_t warps = 1;
  std::int64_t keys = kFragment;
  std::int64_t of_queries = 1;  // how many
};

Tiles tiles_of(const Attention& attention) {
  Tiles result;
  result.warps = std::min(kWarpsMax, tiles(attention.queries, kFragment));
  result.keys = std::min(kKeysMax, tiles(attention.keys, kFragment) * kFragment);
  result.of_queries = tiles(attention.queries, result.warps * kFragment);
  return result;
}

std::string sizes_text(const Attention& attention, const Tiles& tile) {
  return number("kQueries", attention.queries) + number("kKeys", attention.keys) +
         number("kKeySize", attention.key_size) + number("kValueSize", attention.value_size) +
         number("kKeyPadded", tiles(attention.key_size, kFragment) * kFragment) +
         number("kValuePadded", tiles(attention.value_size, kFragment) * kFragment) +
         number("kThreads", tile.warps * 32) + number("kTileQueries", tile.warps * kFragment) +
         number("kQueryTiles", tile.of_queries) + number("kTileKeys", tile.keys);
}

std::string strides_text(const Step& step, const Attention& attention) {
  const auto along = [](const View& view) { return view.strides.end()[-1]; };
  const auto across = [](const View& view) { return view.strides.end()[-2]; };
  const View& q = step.inputs[0];
  const View& k = step.inputs[1];  // a column is a key
  const View& v = step.inputs[2];
  const View& y = step.outputs[0].view;
  return matrix_text("Query", across(q), along(q), width_of(q, 0, 2)) +
         matrix_text("Key", along(k), across(k), width_of(k, 1, 8)) +
         matrix_text("Value", across(v), along(v), width_of(v, 0, 8)) +
         matrix_text("Output", across(y), along(y), width_of(y, 0, 2)) +
         batch_text("query_batch", q, attention.batch) +
         batch_text("key_batch", k, attention.batch) +
         batch_text("value_batch", v, attention.batch) +
         batch_text("output_batch", y, attention.batch);
}

// What happens to a score: "Terms" has the factor of a batch and where its biases begin.
std::string terms_text(const Step& step, const Attention& attention) {
  std::string members;
  std::string sum = attention.factor ? "score * terms.factor" : "score";
  if (attention.factor) members += "  float factor;\n";
  for (const std::size_t input : attention.biases) {
    const View& view = step.inputs[input];
    members += fmt::format("  const {}* bias{};\n", stored_type(view.type), input);
    sum += fmt::format(" + takt::to_float(terms.bias{}[row * {}ull + key * {}ull])", input,
                       view.strides.end()[-2], view.strides.end()[-1]);
  }
  std::string text = fmt::format(
      "struct Terms {{\n{}}};\n"
      "__device__ __forceinline__ float with_terms(float score, const Terms& terms, unsigned row,\n"
      "                                            unsigned key) {{\n  return {};\n}}\n",
      members, sum);
  for (std::size_t i = kMatrices; i < step.inputs.size(); ++i) {
    text += batch_text(fmt::format("batch_of{}", i), step.inputs[i], attention.batch);
  }
  return text;
}

std::string terms_of_batch(const Attention& attention) {
  std::string members;
  if (attention.factor) {
    const std::string number =
        fmt::format("takt::to_float(in{0}[batch_of{0}(z)])", *attention.factor);
    members += (attention.divides ? "1.0f / " : "") + number + ", ";
  }
  for (const std::size_t input : attention.biases) {
    members += fmt::format("in{0} + batch_of{0}(z), ", input);
  }
  return members;
}

std::string head_text(const Step& step, const Attention& attention, const Tiles& tile,
                      const std::string& name) {
  std::string parameters;
  for (std::size_t i = 0; i < step.inputs.size(); ++i) {
    parameters += fmt::format("const {}* __restrict__ in{}, ", stored_type(step.inputs[i].type), i);
  }
  return fmt::format(
      "extern \"C\" __global__ void __launch_bounds__({}) {}({}{}_parts::Output* out) {{\n"
      "  using namespace {}_parts;\n  const unsigned z = blockIdx.x / kQueryTiles;\n"
      "  const Terms terms{{{}}};",
      tile.warps * 32, name, parameters, name, name, terms_of_batch(attention));
}

KernelSource attention_kernel(const Step& step, const Attention& attention,
                              const std::string& name) {
  const Tiles tile = tiles_of(attention);
  const std::string kernel = kernel_name(name);
  const DataType type = step.inputs[0].type;
  std::string text = fmt::format("namespace {}_parts {{\nusing Element = {};\nusing Output = {};\n",
                                 kernel, stored_type(type), stored_type(step.outputs[0].view.type));
  text += sizes_text(attention, tile) + strides_text(step, attention) + terms_text(step, attention);
  text += kParts;
  text += "}\n" + head_text(step, attention, tile, kernel);
  text += kBody;
  const auto blocks = static_cast<unsigned>(tile.of_queries * product(attention.batch));
  return {kernel, std::move(text), blocks, static_cast<unsigned>(tile.warps * 32), 1};
}

}  // namespace

bool attention_supported(DataType type, ComputeCapability capability, std::int64_t key_size,
                         std::int64_t value_size) {
  const auto fits = [](std::int64_t size) {
    return size >= kSizeMin && size <= kSizeMax && size % kSizeMultiple == 0;
  };
  const bool has_products =
      type == DataType::fp16 || (type == DataType::bf16 && capability >= kBf16Min);
  return has_products && fits(key_size) && fits(value_size);
}

Result<StepCode> attention_code(const Step& step, const std::string& name) {
  const Result<Attention> attention = attention_of(step);
  if (!attention) return std::unexpected(attention.error());
  if (is_empty(step.outputs[0].view)) return StepCode{};
  if (attention->keys == 0) return refuse("attention to no keys");
  KernelCall call{attention_kernel(step, *attention, name), {}};
  for (std::size_t i = 0; i < step.inputs.size(); ++i) {
    call.operands.push_back({OperandKind::input, static_cast<int>(i), 0});
  }
  call.operands.push_back({OperandKind::output, 0, 0});
  return StepCode{{std::move(call)}, 0};
}

}  // namespace takt::cuda
