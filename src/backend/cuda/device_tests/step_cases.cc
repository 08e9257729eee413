// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/device_tests/step_cases.h"

#include "graph/constants.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <random>
#include <utility>

namespace takt::cuda {
namespace {

using graph::Constant;
using graph::TensorType;

TensorType graph_type(const View& view) {
  return {view.type, view.shape};
}

std::int64_t elements_of(const Shape& shape) {
  return std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>());
}

// Where each element lies in the view's buffer, row by row.
std::vector<std::size_t> places_of(const View& view) {
  std::vector<std::size_t> places(static_cast<std::size_t>(elements_of(view.shape)));
  for (std::size_t i = 0; i < places.size(); ++i) {
    auto rest = static_cast<std::int64_t>(i);
    std::int64_t place = view.offset;
    for (std::size_t dim = view.shape.size(); dim-- > 0; rest /= view.shape[dim]) {
      place += rest % view.shape[dim] * view.strides[dim];
    }
    places[i] = static_cast<std::size_t>(place);
  }
  return places;
}

// Small numbers that every type has, so that integers don't overflow where FP32 would not.
Constant random_constant(const TensorType& type, std::mt19937& random) {
  std::normal_distribution<double> normal(0, 1);
  std::uniform_int_distribution<int> whole(1, 5);
  std::vector<double> numbers(static_cast<std::size_t>(elements_of(type.shape)));
  for (double& number : numbers) number = is_floating(type.type) ? normal(random) : whole(random);
  if (type.type == DataType::boolean) {
    for (double& number : numbers) number = number > 3 ? 1 : 0;
  }
  return graph::constant_of(type.type, type.shape, std::span<const double>(numbers));
}

Constant gathered(const View& view, const std::vector<std::byte>& buffer) {
  const std::size_t size = element_bytes(view.type);
  Constant constant{graph_type(view), {}};
  for (const std::size_t place : places_of(view)) {
    const auto first = buffer.begin() + static_cast<std::ptrdiff_t>(place * size);
    constant.bytes.insert(constant.bytes.end(), first, first + static_cast<std::ptrdiff_t>(size));
  }
  return constant;
}

// Floating point becomes FP64.
Constant widened(const Constant& constant) {
  if (!is_floating(constant.type.type)) return constant;
  const std::vector<double> numbers = graph::numbers_in(constant);
  return graph::constant_of(DataType::fp64, constant.type.shape, std::span<const double>(numbers));
}

// Every value of the step: the inputs, then what the operators compute.
Result<std::vector<Constant>> values_of(const Step& step,
                                        const std::vector<std::vector<std::byte>>& inputs) {
  std::vector<Constant> values;
  for (std::size_t i = 0; i < step.inputs.size(); ++i) {
    values.push_back(widened(gathered(step.inputs[i], inputs[i])));
  }
  for (const StepOp& op : step.ops) {
    std::vector<const Constant*> arguments;
    for (const int argument : op.arguments) {
      arguments.push_back(&values[static_cast<std::size_t>(argument)]);
    }
    const auto results = graph::evaluate(op.op, arguments);
    if (!results) return std::unexpected(results.error());
    for (const Constant& result : *results) values.push_back(widened(result));
  }
  return values;
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

std::string difference_of(const View& view, const std::vector<std::byte>& buffer,
                          const Constant& expected) {
  const std::vector<double> got = graph::numbers_in(gathered(view, buffer));
  const std::vector<double> wanted = graph::numbers_in(expected);
  // Sums of numbers of both signs are compared with the size of what is summed.
  double most = 1;
  for (const double number : wanted) {
    if (std::isfinite(number)) most = std::max(most, std::abs(number));
  }
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    if (got[i] == wanted[i] || (std::isnan(got[i]) && std::isnan(wanted[i]))) continue;
    if (std::abs(got[i] - wanted[i]) <= tolerance(view.type) * most) continue;
    return fmt::format("element {} of {}: {}, but {} was expected", i, to_string(view), got[i],
                       wanted[i]);
  }
  std::vector<bool> written(buffer.size(), false);
  const std::size_t size = element_bytes(view.type);
  for (const std::size_t place : places_of(view)) {
    for (std::size_t byte = 0; byte < size; ++byte) written[place * size + byte] = true;
  }
  for (std::size_t i = 0; i < buffer.size(); ++i) {
    if (!written[i] && buffer[i] != kUnwritten) {
      return fmt::format("byte {} beside {} was written", i, to_string(view));
    }
  }
  return "";
}

std::vector<TensorType> result_types(const graph::Operator& op,
                                     const std::vector<TensorType>& arguments) {
  return graph::infer_types(op, arguments).value();
}

// Of stored types that differ, as only the graph's must be one.
TensorType as_graph(const TensorType& type) {
  return {is_floating(type.type) && type.type != DataType::fp64 ? DataType::fp32 : type.type,
          type.shape};
}

}  // namespace

Layout channels_innermost(std::size_t rank, std::int64_t gap) {
  Layout layout{{0}, gap};
  for (std::size_t dim = 2; dim < rank; ++dim) layout.order.push_back(static_cast<int>(dim));
  layout.order.push_back(1);
  return layout;
}

View view_of(const Stored& tensor) {
  View view{0, tensor.layout.gap, tensor.type, tensor.shape, {}};
  view.strides.resize(tensor.shape.size());
  std::vector<int> order = tensor.layout.order;
  if (order.empty()) {
    order.resize(tensor.shape.size());
    std::iota(order.begin(), order.end(), 0);
  }
  std::int64_t stride = 1;
  for (std::size_t i = order.size(); i-- > 0;) {
    const auto dim = static_cast<std::size_t>(order[i]);
    view.strides[dim] = stride;
    stride *= std::max<std::int64_t>(tensor.shape[dim], 1);
    if (i + 1 == order.size()) stride += tensor.layout.gap;
  }
  return view;
}

Step chain_step(StepKind kind, const std::vector<Stored>& inputs, const std::vector<Link>& links,
                DataType type, const Layout& layout, const std::vector<int>& outputs) {
  Step step{"test", kind, {}, {}, {}};
  std::vector<TensorType> values;
  for (const Stored& input : inputs) {
    step.inputs.push_back(view_of(input));
    values.push_back(as_graph({input.type, input.shape}));
  }
  for (const Link& link : links) {
    std::vector<TensorType> arguments;
    for (const int argument : link.arguments) {
      arguments.push_back(values[static_cast<std::size_t>(argument)]);
    }
    const std::vector<TensorType> results = result_types(link.op, arguments);
    for (const TensorType& result : results) values.push_back(as_graph(result));
    step.ops.push_back({link.op, link.arguments, results});
  }
  std::vector<int> given = outputs;
  if (given.empty()) given.push_back(static_cast<int>(values.size()) - 1);
  for (const int value : given) {
    const TensorType& result = values[static_cast<std::size_t>(value)];
    const bool rounds = is_floating(result.type) && is_floating(type);
    step.outputs.push_back(
        {value, view_of({links.empty() || rounds ? type : result.type, result.shape, layout})});
  }
  return step;
}

Step single_step(graph::Operator op, const std::vector<Stored>& inputs, DataType type,
                 const Layout& layout) {
  std::vector<int> arguments(inputs.size());
  std::iota(arguments.begin(), arguments.end(), 0);
  return chain_step(StepKind::single, inputs, {{std::move(op), std::move(arguments)}}, type,
                    layout);
}

std::size_t buffer_bytes(const View& view) {
  std::int64_t end = view.offset + 1;
  for (std::size_t dim = 0; dim < view.shape.size(); ++dim) {
    end += std::max<std::int64_t>(view.shape[dim] - 1, 0) * view.strides[dim];
  }
  return static_cast<std::size_t>(end + view.offset) * element_bytes(view.type);
}

std::vector<std::vector<std::byte>> input_bytes(const Step& step, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<std::vector<std::byte>> buffers;
  for (const View& view : step.inputs) {
    const Constant constant = random_constant(graph_type(view), random);
    std::vector<std::byte> buffer(buffer_bytes(view), std::byte{0xff});
    const std::size_t size = element_bytes(view.type);
    std::size_t next = 0;
    for (const std::size_t place : places_of(view)) {
      std::memcpy(buffer.data() + place * size, constant.bytes.data() + next, size);
      next += size;
    }
    buffers.push_back(std::move(buffer));
  }
  return buffers;
}

std::string difference(const Step& step, const std::vector<std::vector<std::byte>>& inputs,
                       const std::vector<std::vector<std::byte>>& outputs) {
  const Result<std::vector<Constant>> values = values_of(step, inputs);
  if (!values) return values.error().message;
  for (std::size_t i = 0; i < step.outputs.size(); ++i) {
    const Constant& value = (*values)[static_cast<std::size_t>(step.outputs[i].value)];
    const View& view = step.outputs[i].view;
    const Constant* const place = &value;
    const auto converted = graph::evaluate(graph::Cast{view.type}, {&place, 1});
    if (!converted) return converted.error().message;
    std::string found = difference_of(view, outputs[i], converted->front());
    if (!found.empty()) return found;
  }
  return "";
}

}  // namespace takt::cuda
