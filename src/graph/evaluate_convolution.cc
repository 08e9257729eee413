// SPDX-License-Identifier: Apache-2.0
#include "graph/elements.h"
#include "graph/evaluate_kernels.h"
#include "graph/strides.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

namespace takt::graph {
namespace {

// A kernel's element and a row of places that it meets: of the side with one element a window (what
// a convolution computes), `length` ones from `window` on; of the other, from `element` on, each a
// stride apart. Places are offsets within a channel.
struct Run {
  std::int64_t tap = 0;
  std::int64_t window = 0;
  std::int64_t element = 0;
  std::int64_t length = 0;
};

struct Runs {
  std::vector<Run> runs;
  std::int64_t step = 1;  // between elements
};

// Of the windows 0..windows-1 those whose element at `offset` from the start lies in 0..size-1.
struct Range {
  std::int64_t first = 0, count = 0;
};
Range windows_inside(std::int64_t windows, std::int64_t size, std::int64_t stride,
                     std::int64_t offset) {
  if (offset >= size) return {};
  const std::int64_t first = offset >= 0 ? 0 : (-offset + stride - 1) / stride;
  const std::int64_t last = (size - 1 - offset) / stride;
  return {first, std::max<std::int64_t>(std::min(last + 1, windows) - first, 0)};
}

// Adds the rows of one element of the kernel, which lies at `index` in it.
void append_runs(const Window& window, const Shape& windows, const Shape& sizes,
                 const std::vector<std::int64_t>& index, std::int64_t tap, std::vector<Run>& runs) {
  const Strides window_strides = dense_strides(windows);
  Strides element_strides = dense_strides(sizes);
  Shape counts;
  Run run{.tap = tap};
  for (std::size_t d = 0; d < index.size(); ++d) {
    const std::int64_t offset = index[d] * window.dilations[d] - window.pads_begin[d];
    const Range range = windows_inside(windows[d], sizes[d], window.strides[d], offset);
    run.window += range.first * window_strides[d];
    run.element += (range.first * window.strides[d] + offset) * element_strides[d];
    element_strides[d] *= window.strides[d];
    counts.push_back(range.count);
  }
  for_each_row(counts, std::array{window_strides, element_strides}, [&](const Row<2>& row) {
    runs.push_back({tap, run.window + row.offsets[0], run.element + row.offsets[1], row.length});
  });
}

Runs runs_of(const Window& window, const Shape& windows, const Shape& sizes) {
  Runs result;
  if (!window.strides.empty()) result.step = window.strides.back();
  std::vector<std::int64_t> index(window.kernel.size(), 0);
  for (std::int64_t tap = 0; tap < product(window.kernel); ++tap) {
    std::int64_t rest = tap;
    for (std::size_t d = index.size(); d-- > 0; rest /= window.kernel[d]) {
      index[d] = rest % window.kernel[d];
    }
    append_runs(window, windows, sizes, index, tap, result.runs);
  }
  return result;
}

Shape spatial(const Shape& shape) {
  return {shape.begin() + 2, shape.end()};
}

// The output before anything is added: the bias of each channel, or 0.
std::vector<double> biases(const TensorType& output, Inputs inputs) {
  std::vector<double> numbers(static_cast<std::size_t>(product(output.shape)), 0.0);
  if (inputs.size() < 3 || numbers.empty()) return numbers;
  const std::vector<double> bias = to_doubles(*inputs[2]);
  const Lanes channels(output.shape, 1);
  const auto plane = static_cast<std::size_t>(channels.inner);
  for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] = bias[i / plane % bias.size()];
  return numbers;
}

// Which channels meet: in each image and group every one of the input with every one of the output.
struct Pair {
  std::int64_t input = 0, output = 0;  // counted through all images
  std::int64_t kernel = 0;             // of the weights
};

// Weights have the output's channels first, those of a ConvTranspose the input's.
template <typename F>
void for_each_pair(const Shape& x, const Shape& y, std::int64_t groups, bool transposed, F f) {
  const std::int64_t inputs = x[1] / groups;
  const std::int64_t outputs = y[1] / groups;
  for (std::int64_t block = 0; block < x[0] * groups; ++block) {
    const std::int64_t group = block % groups;
    for (std::int64_t out = 0; out < outputs; ++out) {
      for (std::int64_t in = 0; in < inputs; ++in) {
        const std::int64_t kernel = transposed ? (group * inputs + in) * outputs + out
                                               : (group * outputs + out) * inputs + in;
        f(Pair{block * inputs + in, block * outputs + out, kernel});
      }
    }
  }
}

void gather(const Runs& runs, const double* kernel, const double* x, double* y) {
  for (const Run& run : runs.runs) {
    const double weight = kernel[run.tap];
    for (std::int64_t i = 0; i < run.length; ++i) {
      y[run.window + i] += weight * x[run.element + i * runs.step];
    }
  }
}

void scatter(const Runs& runs, const double* kernel, const double* x, double* y) {
  for (const Run& run : runs.runs) {
    const double weight = kernel[run.tap];
    for (std::int64_t i = 0; i < run.length; ++i) {
      y[run.element + i * runs.step] += weight * x[run.window + i];
    }
  }
}

// A ConvTranspose has its windows in the output.
Constant convolve(const Window& window, std::int64_t groups, bool transposed, Inputs inputs,
                  const TensorType& type) {
  const Shape& shape = inputs[0]->type.shape;
  const Shape x_sizes = spatial(shape);
  const Shape y_sizes = spatial(type.shape);
  const Runs runs =
      transposed ? runs_of(window, x_sizes, y_sizes) : runs_of(window, y_sizes, x_sizes);
  const std::vector<double> x = to_doubles(*inputs[0]);
  const std::vector<double> weights = to_doubles(*inputs[1]);
  std::vector<double> y = biases(type, inputs);
  for_each_pair(shape, type.shape, groups, transposed, [&](const Pair& pair) {
    const double* kernel = weights.data() + pair.kernel * product(window.kernel);
    const double* source = x.data() + pair.input * product(x_sizes);
    double* target = y.data() + pair.output * product(y_sizes);
    transposed ? scatter(runs, kernel, source, target) : gather(runs, kernel, source, target);
  });
  return from_doubles(type, y);
}

double power_of(double x, double p) {
  const double size = std::abs(x);
  if (p == 1) return size;
  return p == 2 ? size * size : std::pow(size, p);
}

double pooled(const Pool& op, double so_far, double x) {
  switch (op.kind) {
    case PoolKind::max:
      return x > so_far || std::isnan(x) ? x : so_far;
    case PoolKind::average:
      return so_far + x;
    case PoolKind::lp:
      return so_far + power_of(x, op.p);
  }
  std::unreachable();
}

// How many elements each window's average is of.
std::vector<double> divisors(const Pool& op, const Shape& sizes) {
  Window window = op.window;
  Shape counted = sizes;
  if (op.count_padding) {
    for (std::size_t d = 0; d < counted.size(); ++d) {
      counted[d] += window.pads_begin[d] + window.pads_end[d];
      window.pads_begin[d] = 0;
    }
  }
  std::vector<double> counts(static_cast<std::size_t>(product(op.sizes)), 0.0);
  for (const Run& run : runs_of(window, op.sizes, counted).runs) {
    for (std::int64_t i = 0; i < run.length; ++i) {
      counts[static_cast<std::size_t>(run.window + i)] += 1;
    }
  }
  return counts;
}

void finish(const Pool& op, const Shape& sizes, std::vector<double>& y) {
  if (op.kind == PoolKind::max) return;
  if (op.kind == PoolKind::lp) {
    for (double& number : y) number = op.p == 2 ? std::sqrt(number) : std::pow(number, 1 / op.p);
    return;
  }
  const std::vector<double> counts = divisors(op, sizes);
  for (std::size_t i = 0; i < y.size(); ++i) y[i] /= counts[i % counts.size()];
}

}  // namespace

Constants compute(const Conv& op, Inputs inputs, Types outputs) {
  return only(convolve(op.window, op.groups, false, inputs, outputs[0]));
}

Constants compute(const ConvTranspose& op, Inputs inputs, Types outputs) {
  return only(convolve(op.window, op.groups, true, inputs, outputs[0]));
}

Constants compute(const Pool& op, Inputs inputs, Types outputs) {
  const Shape sizes = spatial(inputs[0]->type.shape);
  const std::vector<double> x = to_doubles(*inputs[0]);
  constexpr double kLowest = -std::numeric_limits<double>::infinity();
  std::vector<double> y(static_cast<std::size_t>(product(outputs[0].shape)),
                        op.kind == PoolKind::max ? kLowest : 0.0);
  const Runs runs = runs_of(op.window, op.sizes, sizes);
  const std::int64_t planes = outputs[0].shape[0] * outputs[0].shape[1];
  for (std::int64_t plane = 0; plane < planes; ++plane) {
    const double* source = x.data() + plane * product(sizes);
    double* target = y.data() + plane * product(op.sizes);
    for (const Run& run : runs.runs) {
      for (std::int64_t i = 0; i < run.length; ++i) {
        double& number = target[run.window + i];
        number = pooled(op, number, source[run.element + i * runs.step]);
      }
    }
  }
  finish(op, sizes, y);
  return only(from_doubles(outputs[0], y));
}

}  // namespace takt::graph
