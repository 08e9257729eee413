// SPDX-License-Identifier: Apache-2.0
#include "graph/elements.h"
#include "graph/evaluate_kernels.h"
#include "graph/strides.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <span>
#include <utility>
#include <vector>

namespace takt::graph {
namespace {

// What products of Ts are summed in: integers without a sign in 64 bits, so that the result wraps
// around when it is cast back.
template <typename T>
using Sum = std::conditional_t<kIsFloat<T>, double, std::uint64_t>;

template <typename T>
std::vector<Sum<T>> to_sums(const Constant& constant) {
  std::vector<Sum<T>> numbers;
  numbers.reserve(elements<T>(constant).size());
  for (const T element : elements<T>(constant)) {
    numbers.push_back(static_cast<Sum<T>>(load(element)));
  }
  return numbers;
}

// A stack of matrices as one operand of a product.
struct Matrices {
  std::int64_t rows = 0, columns = 0;
  std::int64_t row_step = 0, column_step = 0;
  Shape batch;

  Matrices(const Shape& shape, bool transposed) : batch(shape.begin(), shape.end() - 2) {
    rows = shape[shape.size() - 2];
    columns = row_step = shape.back();
    column_step = 1;
    if (transposed) {
      std::swap(rows, columns);
      std::swap(row_step, column_step);
    }
  }

  // Of the stack broadcast to `to`, in elements.
  [[nodiscard]] Strides batch_strides(const Shape& to) const {
    Strides strides = broadcast_strides(batch, to);
    for (std::int64_t& stride : strides) stride *= rows * columns;
    return strides;
  }
};

template <typename S>
void multiply(const Matrices& a, const Matrices& b, const S* left, const S* right, S* result) {
  for (std::int64_t row = 0; row < a.rows; ++row) {
    S* sums = result + row * b.columns;
    for (std::int64_t k = 0; k < a.columns; ++k) {
      const S factor = left[row * a.row_step + k * a.column_step];
      const S* other = right + k * b.row_step;
      for (std::int64_t i = 0; i < b.columns; ++i) sums[i] += factor * other[i * b.column_step];
    }
  }
}

template <typename T>
Constant matrix_product(const MatMul& op, Inputs inputs, const TensorType& type) {
  const Matrices a(inputs[0]->type.shape, op.transpose_a);
  const Matrices b(inputs[1]->type.shape, op.transpose_b);
  const std::vector<Sum<T>> left = to_sums<T>(*inputs[0]);
  const std::vector<Sum<T>> right = to_sums<T>(*inputs[1]);
  Constant output = zeros(type);
  std::vector<Sum<T>> sums(elements<T>(output).size());
  const Shape batch(type.shape.begin(), type.shape.end() - 2);
  const std::array strides{a.batch_strides(batch), b.batch_strides(batch)};
  Sum<T>* result = sums.data();
  for_each_row(batch, strides, [&](const Row<2>& row) {
    for (std::int64_t i = 0; i < row.length; ++i) {
      multiply(a, b, left.data() + row.offsets[0] + i * row.steps[0],
               right.data() + row.offsets[1] + i * row.steps[1], result);
      result += a.rows * b.columns;
    }
  });
  std::ranges::transform(sums, elements<T>(output).begin(),
                         [](Sum<T> sum) { return store<T>(static_cast<Number<T>>(sum)); });
  return output;
}

// All elements of `constant` broadcast to `shape`.
std::vector<double> broadcast_doubles(const Constant& constant, const Shape& shape) {
  const std::vector<double> numbers = to_doubles(constant);
  std::vector<double> result;
  const std::array strides{broadcast_strides(constant.type.shape, shape)};
  for_each_row(shape, strides, [&](const Row<1>& row) {
    for (std::int64_t i = 0; i < row.length; ++i) {
      result.push_back(numbers[static_cast<std::size_t>(row.offsets[0] + i * row.steps[0])]);
    }
  });
  return result;
}

// To a mean of 0 and a variance of 1.
void normalise(std::span<double> block, double epsilon) {
  const auto count = static_cast<double>(block.size());
  double sum = 0;
  for (const double x : block) sum += x;
  const double mean = sum / count;
  double squares = 0;
  for (const double x : block) squares += (x - mean) * (x - mean);
  const double factor = 1 / std::sqrt(squares / count + epsilon);
  for (double& x : block) x = (x - mean) * factor;
}

void normalise_blocks(std::vector<double>& numbers, std::size_t block, double epsilon) {
  for (std::size_t i = 0; i < numbers.size(); i += block) {
    normalise(std::span(numbers).subspan(i, block), epsilon);
  }
}

void softmax(std::span<double> lane, bool log) {
  const double highest = *std::ranges::max_element(lane);
  double sum = 0;
  for (const double x : lane) sum += std::exp(x - highest);
  const double log_sum = std::log(sum);
  for (double& x : lane) x = log ? x - highest - log_sum : std::exp(x - highest) / sum;
}

// Combines each element of `input` into its output's `so_far` by f(so_far, x, output's index).
template <typename T, typename A, typename F>
std::vector<A> fold(const Constant& input, const Shape& output, A initial, F f) {
  std::vector<A> results(static_cast<std::size_t>(product(output)), initial);
  const T* source = elements<T>(input).data();
  const std::array strides{broadcast_strides(output, input.type.shape)};
  for_each_row(input.type.shape, strides, [&](const Row<1>& row) {
    for (std::int64_t i = 0; i < row.length; ++i) {
      const auto index = static_cast<std::size_t>(row.offsets[0] + i * row.steps[0]);
      f(results[index], load(*source++), index);
    }
  });
  return results;
}

template <typename N>
void keep_larger(N& so_far, N x) {
  if (x > so_far || x != x) so_far = x;  // a NaN stays
}
template <typename N>
void keep_smaller(N& so_far, N x) {
  if (x < so_far || x != x) so_far = x;
}

// What a maximum begins with; a minimum with its opposite.
template <typename N>
N lowest() {
  using Limits = std::numeric_limits<N>;
  return Limits::has_infinity ? -Limits::infinity() : Limits::lowest();
}
template <typename N>
N highest() {
  using Limits = std::numeric_limits<N>;
  return Limits::has_infinity ? Limits::infinity() : Limits::max();
}

// std::vector<bool> has no elements to refer to.
template <typename T>
using Extreme = std::conditional_t<kIsBoolean<T>, std::uint8_t, Number<T>>;

template <typename T>
std::vector<Extreme<T>> extremes(const Constant& input, const Shape& output, bool maximum) {
  using E = Extreme<T>;
  if (maximum) {
    return fold<T>(input, output, lowest<E>(), [](E& y, E x, std::size_t) { keep_larger(y, x); });
  }
  return fold<T>(input, output, highest<E>(), [](E& y, E x, std::size_t) { keep_smaller(y, x); });
}

// log(sum(exp(x))) without an overflow: the largest x is taken out first.
template <typename T>
std::vector<double> log_sums_of_exponentials(const Constant& input, const Shape& output) {
  std::vector<double> shifts =
      fold<T>(input, output, lowest<double>(),
              [](double& y, auto x, std::size_t) { keep_larger(y, static_cast<double>(x)); });
  for (double& shift : shifts) shift = std::isfinite(shift) ? shift : 0;
  std::vector<double> sums = fold<T>(input, output, 0.0, [&](double& y, auto x, std::size_t index) {
    y += std::exp(static_cast<double>(x) - shifts[index]);
  });
  for (std::size_t i = 0; i < sums.size(); ++i) sums[i] = std::log(sums[i]) + shifts[i];
  return sums;
}

// Sums and products. `S` is what they are computed in.
template <typename T, typename S>
std::vector<S> totals(ReduceKind kind, const Constant& input, const Shape& output) {
  using N = Number<T>;
  switch (kind) {
    case ReduceKind::prod:
      return fold<T>(input, output, S{1}, [](S& y, N x, std::size_t) { y *= static_cast<S>(x); });
    case ReduceKind::l1:
      return fold<T>(input, output, S{0}, [](S& y, N x, std::size_t) {
        const auto number = static_cast<S>(x);
        y += x < N{0} ? S{0} - number : number;
      });
    case ReduceKind::l2:
    case ReduceKind::sum_square:
      return fold<T>(input, output, S{0},
                     [](S& y, N x, std::size_t) { y += static_cast<S>(x) * static_cast<S>(x); });
    default:
      return fold<T>(input, output, S{0}, [](S& y, N x, std::size_t) { y += static_cast<S>(x); });
  }
}

// In double: floating point, and what has no exact result in integers.
template <typename T>
std::vector<double> reduce_doubles(ReduceKind kind, const Constant& input, const Shape& output) {
  if (kind == ReduceKind::log_sum_exp) return log_sums_of_exponentials<T>(input, output);
  std::vector<double> numbers = totals<T, double>(kind, input, output);
  const double count = static_cast<double>(elements<T>(input).size()) /
                       static_cast<double>(std::max<std::size_t>(numbers.size(), 1));
  for (double& number : numbers) {
    if (kind == ReduceKind::mean) number /= count;
    if (kind == ReduceKind::l2) number = std::sqrt(number);
    if (kind == ReduceKind::log_sum) number = std::log(number);
  }
  return numbers;
}

// Wraps around. A mean is cut off towards zero.
template <typename T>
Constants reduce_integers(ReduceKind kind, const Constant& input, const TensorType& type) {
  Constant output = zeros(type);
  const std::span<T> target = elements<T>(output);
  const std::vector<std::uint64_t> sums = totals<T, std::uint64_t>(kind, input, type.shape);
  if (kind != ReduceKind::mean) {
    std::ranges::transform(sums, target.begin(),
                           [](std::uint64_t sum) { return static_cast<T>(sum); });
    return only(std::move(output));
  }
  if (target.empty()) return only(std::move(output));
  const std::size_t count = elements<T>(input).size() / target.size();
  if (count == 0) {
    return fail(ErrorKind::invalid_input, "integer division by zero: the mean of no elements");
  }
  for (std::size_t i = 0; i < target.size(); ++i) {
    if constexpr (std::is_signed_v<T>) {
      target[i] =
          static_cast<T>(static_cast<std::int64_t>(sums[i]) / static_cast<std::int64_t>(count));
    } else {
      target[i] = static_cast<T>(sums[i] / count);
    }
  }
  return only(std::move(output));
}

bool has_exact_integers(ReduceKind kind) {
  return kind != ReduceKind::l2 && kind != ReduceKind::log_sum && kind != ReduceKind::log_sum_exp;
}

}  // namespace

Constants compute(const MatMul& op, Inputs inputs, Types outputs) {
  return with_type(outputs[0].type, [&]<typename T>(std::type_identity<T>) {
    return only(matrix_product<T>(op, inputs, outputs[0]));
  });
}

Constants compute(const LayerNorm& op, Inputs inputs, Types outputs) {
  const Shape& shape = inputs[0]->type.shape;
  const Shape block(shape.begin() + op.axis, shape.end());
  std::vector<double> numbers = to_doubles(*inputs[0]);
  if (numbers.empty()) return only(zeros(outputs[0]));
  const std::vector<double> scale = broadcast_doubles(*inputs[1], block);
  const std::vector<double> bias = inputs.size() > 2 ? broadcast_doubles(*inputs[2], block)
                                                     : std::vector<double>(scale.size(), 0.0);
  normalise_blocks(numbers, scale.size(), op.epsilon);
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    numbers[i] = numbers[i] * scale[i % scale.size()] + bias[i % scale.size()];
  }
  return only(from_doubles(outputs[0], numbers));
}

Constants compute(const GroupNorm& op, Inputs inputs, Types outputs) {
  const Lanes channels(inputs[0]->type.shape, 1);
  std::vector<double> numbers = to_doubles(*inputs[0]);
  if (numbers.empty()) return only(zeros(outputs[0]));
  const std::vector<double> scale = to_doubles(*inputs[1]);
  const std::vector<double> bias = to_doubles(*inputs[2]);
  const auto plane = static_cast<std::size_t>(channels.inner);
  const auto group = static_cast<std::size_t>(channels.length / op.groups);
  normalise_blocks(numbers, group * plane, op.epsilon);
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    const std::size_t channel = i / plane % scale.size();
    numbers[i] = numbers[i] * scale[channel] + bias[channel];
  }
  return only(from_doubles(outputs[0], numbers));
}

Constants compute(const LocalResponseNorm& op, Inputs inputs, Types outputs) {
  const Lanes channels(inputs[0]->type.shape, 1);
  const std::vector<double> x = to_doubles(*inputs[0]);
  std::vector<double> y(x.size());
  for (std::int64_t lane = 0; lane < channels.count(); ++lane) {
    const auto at = [&](std::int64_t channel) {
      return static_cast<std::size_t>(channels.begin(lane) + channel * channels.inner);
    };
    for (std::int64_t channel = 0; channel < channels.length; ++channel) {
      const std::int64_t first = std::max<std::int64_t>(channel - (op.size - 1) / 2, 0);
      const std::int64_t last = std::min(channel + op.size / 2, channels.length - 1);
      double squares = 0;
      for (std::int64_t c = first; c <= last; ++c) squares += x[at(c)] * x[at(c)];
      const double base = op.bias + op.alpha / static_cast<double>(op.size) * squares;
      y[at(channel)] = x[at(channel)] / std::pow(base, op.beta);
    }
  }
  return only(from_doubles(outputs[0], y));
}

Constants compute(const Softmax& op, Inputs inputs, Types outputs) {
  std::vector<double> numbers = to_doubles(*inputs[0]);
  if (numbers.empty()) return only(zeros(outputs[0]));
  const Lanes lanes(inputs[0]->type.shape, op.axis);
  std::vector<double> values(static_cast<std::size_t>(lanes.length));
  for (std::int64_t lane = 0; lane < lanes.count(); ++lane) {
    double* first = numbers.data() + lanes.begin(lane);
    for (std::int64_t i = 0; i < lanes.length; ++i) {
      values[static_cast<std::size_t>(i)] = first[i * lanes.inner];
    }
    softmax(values, op.log);
    for (std::int64_t i = 0; i < lanes.length; ++i) {
      first[i * lanes.inner] = values[static_cast<std::size_t>(i)];
    }
  }
  return only(from_doubles(outputs[0], numbers));
}

Constants compute(const Reduce& op, Inputs inputs, Types outputs) {
  const Constant& input = *inputs[0];
  const TensorType& type = outputs[0];
  return with_type(type.type, [&]<typename T>(std::type_identity<T>) -> Constants {
    if (op.kind == ReduceKind::max || op.kind == ReduceKind::min) {
      Constant output = zeros(type);
      std::ranges::transform(
          extremes<T>(input, type.shape, op.kind == ReduceKind::max), elements<T>(output).begin(),
          [](Extreme<T> extreme) { return store<T>(static_cast<Number<T>>(extreme)); });
      return only(std::move(output));
    }
    if constexpr (kIsInteger<T>) {
      if (has_exact_integers(op.kind)) return reduce_integers<T>(op.kind, input, type);
    }
    return only(from_doubles(type, reduce_doubles<T>(op.kind, input, type.shape)));
  });
}

}  // namespace takt::graph
