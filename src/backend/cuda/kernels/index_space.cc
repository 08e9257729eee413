// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/kernels/index_space.h"

#include <algorithm>
#include <functional>
#include <numeric>
#include <utility>

namespace takt::cuda {
namespace {

void keep_dimensions(IndexSpace& space, const std::vector<std::size_t>& kept) {
  const auto take = [&kept](std::vector<std::int64_t>& values) {
    std::vector<std::int64_t> taken;
    for (const std::size_t dim : kept) taken.push_back(values[dim]);
    values = std::move(taken);
  };
  take(space.shape);
  for (auto& strides : space.strides) take(strides);
}

// By the last tensor's strides, the widest outermost; where those are equal, by the other tensors'.
std::vector<std::size_t> by_stride(const IndexSpace& space) {
  std::vector<std::size_t> order;
  for (std::size_t dim = 0; dim < space.shape.size(); ++dim) {
    if (space.shape[dim] != 1) order.push_back(dim);
  }
  std::ranges::stable_sort(order, [&space](std::size_t a, std::size_t b) {
    for (auto strides = space.strides.rbegin(); strides != space.strides.rend(); ++strides) {
      if ((*strides)[a] != (*strides)[b]) return (*strides)[a] > (*strides)[b];
    }
    return false;
  });
  return order;
}

bool walk_in_one_go(const IndexSpace& space, std::size_t outer, std::size_t inner) {
  return std::ranges::all_of(space.strides, [&](const auto& strides) {
    return strides[outer] == strides[inner] * space.shape[inner];
  });
}

}  // namespace

std::int64_t product(const Shape& shape) {
  return std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>());
}

IndexSpace compacted(IndexSpace space) {
  keep_dimensions(space, by_stride(space));
  for (std::size_t dim = space.shape.size(); dim-- > 1;) {
    if (!walk_in_one_go(space, dim - 1, dim)) continue;
    space.shape[dim] *= space.shape[dim - 1];
    std::vector<std::size_t> kept(space.shape.size());
    std::iota(kept.begin(), kept.end(), std::size_t{0});
    kept.erase(kept.begin() + static_cast<std::ptrdiff_t>(dim) - 1);
    keep_dimensions(space, kept);
  }
  if (space.shape.empty()) {
    space.shape.push_back(1);
    for (auto& strides : space.strides) strides.push_back(1);
  }
  return space;
}

}  // namespace takt::cuda
