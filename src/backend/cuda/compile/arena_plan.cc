// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/compile/arena_plan.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>

namespace takt::cuda {
namespace {

bool meet(const BufferLife& a, const BufferLife& b) {
  return a.first <= b.last && b.first <= a.last;
}

struct Placed {
  std::size_t offset = 0;
  std::size_t end = 0;
  std::size_t buffer = 0;
};

// Where `bytes` fit best among what is in the way; behind it all where no gap is wide enough. `in_the_way`
// is ordered by offset.
std::size_t best_offset(std::span<const Placed> in_the_way, std::size_t bytes) {
  std::size_t best = 0;
  std::size_t best_width = std::numeric_limits<std::size_t>::max();
  std::size_t end = 0;
  for (const Placed& placed : in_the_way) {
    const std::size_t width = placed.offset > end ? placed.offset - end : 0;
    if (width >= bytes && width < best_width) {
      best = end;
      best_width = width;
    }
    end = std::max(end, placed.end);
  }
  return best_width == std::numeric_limits<std::size_t>::max() ? end : best;
}

}  // namespace

ArenaPlan plan_arena(std::span<const BufferLife> buffers) {
  std::vector<std::size_t> by_size(buffers.size());
  std::iota(by_size.begin(), by_size.end(), std::size_t{0});
  std::ranges::stable_sort(by_size, std::greater<>(),
                           [&](std::size_t i) { return buffers[i].bytes; });
  ArenaPlan plan{std::vector<std::size_t>(buffers.size()), 0};
  std::vector<Placed> placed;  // by offset
  for (const std::size_t i : by_size) {
    std::vector<Placed> in_the_way;
    std::ranges::copy_if(placed, std::back_inserter(in_the_way), [&](const Placed& other) {
      return meet(buffers[i], buffers[other.buffer]);
    });
    const std::size_t bytes = aligned_to_arena(buffers[i].bytes);
    const std::size_t offset = best_offset(in_the_way, bytes);
    plan.offsets[i] = offset;
    plan.bytes = std::max(plan.bytes, offset + bytes);
    const auto place = std::ranges::upper_bound(placed, offset, {}, &Placed::offset);
    placed.insert(place, {offset, offset + bytes, i});
  }
  return plan;
}

std::size_t most_alive_bytes(std::span<const BufferLife> buffers) {
  std::vector<std::pair<int, std::size_t>> begins;
  std::vector<std::pair<int, std::size_t>> ends;
  for (const BufferLife& buffer : buffers) {
    begins.emplace_back(buffer.first, aligned_to_arena(buffer.bytes));
    ends.emplace_back(buffer.last, aligned_to_arena(buffer.bytes));
  }
  std::ranges::sort(begins);
  std::ranges::sort(ends);
  std::size_t most = 0;
  std::size_t alive = 0;
  auto end = ends.begin();
  for (const auto& [step, bytes] : begins) {
    for (; end != ends.end() && end->first < step; ++end) alive -= end->second;
    alive += bytes;
    most = std::max(most, alive);
  }
  return most;
}

}  // namespace takt::cuda
