// SPDX-License-Identifier: Apache-2.0
#include "graph/elements.h"
#include "graph/evaluate_kernels.h"
#include "graph/strides.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

namespace takt::graph {
namespace {

template <typename N>
bool is_nan(N x) {
  return x != x;
}

// NaN counts as larger than everything else.
template <typename N>
bool is_less(N a, N b) {
  return a < b || (!is_nan(a) && is_nan(b));
}

// Whether `x` takes the place of the best so far. A NaN is the best whichever is looked for, as
// numpy has it.
template <typename N>
bool is_better(const ArgReduce& op, N x, N best) {
  if (is_nan(x) || is_nan(best)) return is_nan(x) && (op.last_of_equals || !is_nan(best));
  if (x == best) return op.last_of_equals;
  return op.maximum ? x > best : x < best;
}

template <typename T>
std::int64_t best_of_lane(const ArgReduce& op, const T* first, const Lanes& lanes) {
  std::int64_t best = 0;
  for (std::int64_t i = 1; i < lanes.length; ++i) {
    if (is_better(op, load(first[i * lanes.inner]), load(first[best * lanes.inner]))) best = i;
  }
  return best;
}

// The first k positions in the order of their elements.
template <typename T>
std::vector<std::int64_t> ranking(const TopK& op, const T* first, const Lanes& lanes) {
  std::vector<std::int64_t> order(static_cast<std::size_t>(lanes.length));
  std::iota(order.begin(), order.end(), 0);
  const auto comes_first = [&](std::int64_t a, std::int64_t b) {
    const auto x = load(first[a * lanes.inner]);
    const auto y = load(first[b * lanes.inner]);
    if (is_less(x, y)) return !op.largest;
    return is_less(y, x) ? op.largest : a < b;
  };
  std::partial_sort(order.begin(), order.begin() + op.k, order.end(), comes_first);
  order.resize(static_cast<std::size_t>(op.k));
  return order;
}

struct Box {
  double x1 = 0, y1 = 0, x2 = 0, y2 = 0;

  [[nodiscard]] double area() const { return (x2 - x1) * (y2 - y1); }
};

Box box_of(std::span<const double> numbers, bool centers) {
  if (centers) {
    const double half_width = numbers[2] / 2;
    const double half_height = numbers[3] / 2;
    return {numbers[0] - half_width, numbers[1] - half_height, numbers[0] + half_width,
            numbers[1] + half_height};
  }
  const auto [y1, y2] = std::minmax(numbers[0], numbers[2]);
  const auto [x1, x2] = std::minmax(numbers[1], numbers[3]);
  return {x1, y1, x2, y2};
}

// Intersection over union; 0 of boxes without an area.
double overlap(const Box& a, const Box& b) {
  const double width = std::min(a.x2, b.x2) - std::max(a.x1, b.x1);
  const double height = std::min(a.y2, b.y2) - std::max(a.y1, b.y1);
  if (!(width > 0 && height > 0 && a.area() > 0 && b.area() > 0)) return 0;
  const double intersection = width * height;
  return intersection / (a.area() + b.area() - intersection);
}

// Boxes by falling score; of equal ones the first comes first.
std::vector<std::size_t> candidates(const NonMaxSuppression& op, std::span<const double> scores) {
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < scores.size(); ++i) {
    if (std::isnan(scores[i])) continue;  // has no place in an order
    const bool counts =
        !op.has_score_threshold || scores[i] > static_cast<double>(op.score_threshold);
    if (counts) order.push_back(i);
  }
  std::ranges::stable_sort(order,
                           [&](std::size_t a, std::size_t b) { return scores[a] > scores[b]; });
  return order;
}

// Of one class of one image.
std::vector<std::size_t> select_boxes(const NonMaxSuppression& op, std::span<const Box> boxes,
                                      std::span<const double> scores) {
  std::vector<std::size_t> selected;
  for (const std::size_t candidate : candidates(op, scores)) {
    if (static_cast<std::int64_t>(selected.size()) >= op.boxes_max) break;
    const bool suppressed = std::ranges::any_of(selected, [&](std::size_t other) {
      return overlap(boxes[candidate], boxes[other]) > static_cast<double>(op.iou_threshold);
    });
    if (!suppressed) selected.push_back(candidate);
  }
  return selected;
}

std::vector<Box> to_boxes(const Constant& constant, bool centers) {
  const std::vector<double> numbers = to_doubles(constant);
  std::vector<Box> boxes;
  for (std::size_t i = 0; i < numbers.size(); i += 4) {
    boxes.push_back(box_of(std::span(numbers).subspan(i, 4), centers));
  }
  return boxes;
}

Constant rows_of(std::span<const std::int64_t> numbers) {
  Constant rows = zeros({DataType::int64, {static_cast<std::int64_t>(numbers.size() / 3), 3}});
  std::ranges::copy(numbers, elements<std::int64_t>(rows).begin());
  return rows;
}

}  // namespace

Constants compute(const ArgReduce& op, Inputs inputs, Types outputs) {
  const Lanes lanes(inputs[0]->type.shape, op.axis);
  Constant output = zeros(outputs[0]);
  with_type(inputs[0]->type.type, [&]<typename T>(std::type_identity<T>) {
    const T* source = elements<T>(*inputs[0]).data();
    std::int64_t* target = elements<std::int64_t>(output).data();
    for (std::int64_t lane = 0; lane < lanes.count(); ++lane) {
      target[lane] = best_of_lane(op, source + lanes.begin(lane), lanes);
    }
  });
  return only(std::move(output));
}

Constants compute(const TopK& op, Inputs inputs, Types outputs) {
  const Lanes lanes(inputs[0]->type.shape, op.axis);
  std::vector<Constant> results{zeros(outputs[0]), zeros(outputs[1])};
  const Lanes best(outputs[0].shape, op.axis);
  with_type(inputs[0]->type.type, [&]<typename T>(std::type_identity<T>) {
    const T* source = elements<T>(*inputs[0]).data();
    T* values = elements<T>(results[0]).data();
    std::int64_t* indices = elements<std::int64_t>(results[1]).data();
    for (std::int64_t lane = 0; lane < lanes.count(); ++lane) {
      const T* first = source + lanes.begin(lane);
      std::int64_t place = best.begin(lane);
      for (const std::int64_t index : ranking(op, first, lanes)) {
        values[place] = first[index * lanes.inner];
        indices[place] = index;
        place += best.inner;
      }
    }
  });
  return results;
}

Constants compute(const NonMaxSuppression& op, Inputs inputs, Types) {
  const std::vector<Box> boxes = to_boxes(*inputs[0], op.centers);
  const std::vector<double> scores = to_doubles(*inputs[1]);
  const Shape& shape = inputs[1]->type.shape;  // images, classes, boxes
  const auto count = static_cast<std::size_t>(shape[2]);
  std::vector<std::int64_t> rows;
  for (std::int64_t lane = 0; lane < shape[0] * shape[1]; ++lane) {
    const std::int64_t image = lane / shape[1];
    const auto of_image = std::span(boxes).subspan(static_cast<std::size_t>(image) * count, count);
    const auto of_class = std::span(scores).subspan(static_cast<std::size_t>(lane) * count, count);
    for (const std::size_t box : select_boxes(op, of_image, of_class)) {
      rows.insert(rows.end(), {image, lane % shape[1], static_cast<std::int64_t>(box)});
    }
  }
  return only(rows_of(rows));
}

}  // namespace takt::graph
