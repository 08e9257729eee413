// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/compile/views.h"

#include <algorithm>
#include <numeric>

namespace takt::cuda {

DimensionOrder row_order(std::size_t rank) {
  DimensionOrder order(rank);
  std::iota(order.begin(), order.end(), 0);
  return order;
}

DimensionOrder channels_last(std::size_t rank) {
  DimensionOrder order = row_order(rank);
  if (rank > 2) std::rotate(order.begin() + 1, order.begin() + 2, order.end());
  return order;
}

DimensionOrder order_of(const View& view) {
  DimensionOrder order = row_order(view.shape.size());
  // A dimension of size 1 has any stride: it goes with its right neighbour.
  std::vector<std::int64_t> strides = view.strides;
  for (std::size_t i = strides.size(); i-- > 0;) {
    if (view.shape[i] == 1) strides[i] = i + 1 < strides.size() ? strides[i + 1] : 0;
  }
  std::ranges::stable_sort(order, [&](int a, int b) {
    return strides[static_cast<std::size_t>(a)] > strides[static_cast<std::size_t>(b)];
  });
  return order;
}

std::vector<std::int64_t> ordered_strides(const Shape& shape, const DimensionOrder& order) {
  std::vector<std::int64_t> strides(shape.size());
  std::int64_t stride = 1;
  for (std::size_t i = order.size(); i-- > 0;) {
    const auto dimension = static_cast<std::size_t>(order[i]);
    strides[dimension] = stride;
    stride *= std::max<std::int64_t>(1, shape[dimension]);
  }
  return strides;
}

std::vector<std::int64_t> dense_strides(const Shape& shape) {
  return ordered_strides(shape, row_order(shape.size()));
}

bool is_dense(const View& view) {
  std::int64_t stride = 1;
  for (std::size_t i = view.shape.size(); i-- > 0;) {
    if (view.shape[i] != 1 && view.strides[i] != stride) return false;
    stride *= view.shape[i];
  }
  return true;
}

bool is_injective(const View& view) {
  const DimensionOrder order = order_of(view);
  std::int64_t reached = 1;  // elements that the inner dimensions cover
  for (std::size_t i = order.size(); i-- > 0;) {
    const auto dimension = static_cast<std::size_t>(order[i]);
    if (view.shape[dimension] == 1) continue;
    if (view.strides[dimension] < reached) return false;
    reached += (view.shape[dimension] - 1) * view.strides[dimension];
  }
  return true;
}

std::int64_t extent_elements(const View& view) {
  std::int64_t last = 0;
  for (std::size_t i = 0; i < view.shape.size(); ++i) {
    if (view.shape[i] == 0) return 0;
    last += (view.shape[i] - 1) * view.strides[i];
  }
  return last + 1;
}

namespace {

// Neighbouring dimensions that are walked in one go, joined; those of size 1 dropped.
void join_dimensions(const View& view, Shape& sizes, std::vector<std::int64_t>& strides) {
  for (std::size_t i = 0; i < view.shape.size(); ++i) {
    if (view.shape[i] == 1) continue;
    if (!sizes.empty() && strides.back() == view.shape[i] * view.strides[i]) {
      sizes.back() *= view.shape[i];
      strides.back() = view.strides[i];
    } else {
      sizes.push_back(view.shape[i]);
      strides.push_back(view.strides[i]);
    }
  }
}

}  // namespace

std::optional<View> reshaped(const View& view, const Shape& shape) {
  View result = view;
  result.shape = shape;
  result.strides.assign(shape.size(), 0);
  if (std::ranges::find(shape, 0) != shape.end()) {
    result.strides = dense_strides(shape);
    return result;
  }
  Shape sizes;
  std::vector<std::int64_t> strides;
  join_dimensions(view, sizes, strides);
  // Each joined dimension is cut into new ones, from the innermost on.
  std::size_t joined = sizes.size();
  std::int64_t left = 1;  // of the joined dimension that is being cut
  std::int64_t stride = 1;
  for (std::size_t i = shape.size(); i-- > 0;) {
    if (shape[i] == 1) {
      result.strides[i] = stride;
      continue;
    }
    if (left == 1) {
      if (joined == 0) return {};
      left = sizes[--joined];
      stride = strides[joined];
    }
    if (left % shape[i] != 0) return {};
    result.strides[i] = stride;
    stride *= shape[i];
    left /= shape[i];
  }
  if (left != 1 || joined != 0) return {};
  return result;
}

View transposed(const View& view, std::span<const int> permutation) {
  View result = view;
  for (std::size_t i = 0; i < permutation.size(); ++i) {
    const auto from = static_cast<std::size_t>(permutation[i]);
    result.shape[i] = view.shape[from];
    result.strides[i] = view.strides[from];
  }
  return result;
}

View transposed_back(const View& view, std::span<const int> permutation) {
  View result = view;
  for (std::size_t i = 0; i < permutation.size(); ++i) {
    const auto to = static_cast<std::size_t>(permutation[i]);
    result.shape[to] = view.shape[i];
    result.strides[to] = view.strides[i];
  }
  return result;
}

std::optional<View> sliced(const View& view, const graph::Slice& slice) {
  View result = view;
  for (std::size_t i = 0; i < view.shape.size(); ++i) {
    if (slice.steps[i] < 0 && slice.sizes[i] > 1) return {};
    if (slice.sizes[i] > 0) result.offset += slice.starts[i] * view.strides[i];
    result.strides[i] = view.strides[i] * (slice.sizes[i] > 1 ? slice.steps[i] : 1);
  }
  result.shape = slice.sizes;
  return result;
}

View part(const View& view, int axis, std::int64_t begin, std::int64_t size) {
  View result = view;
  const auto at = static_cast<std::size_t>(axis);
  result.offset += begin * view.strides[at];
  result.shape[at] = size;
  return result;
}

View broadcast(const View& view, const Shape& shape) {
  View result = view;
  result.shape = shape;
  result.strides.assign(shape.size(), 0);
  const std::size_t missing = shape.size() - view.shape.size();
  for (std::size_t i = 0; i < view.shape.size(); ++i) {
    if (view.shape[i] == shape[missing + i]) result.strides[missing + i] = view.strides[i];
  }
  return result;
}

}  // namespace takt::cuda
