// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/compile/lanes.h"

#include "backend/cuda/compile/views.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <utility>

namespace takt::cuda {
namespace {

// Where a view begins, counted in its own dimensions: it is a box in the tensor that its strides belong to.
// Nothing where it isn't one.
std::optional<std::vector<std::int64_t>> box_begin(const View& view) {
  const DimensionOrder order = order_of(view);
  std::vector<std::int64_t> begin(view.shape.size(), 0);
  std::int64_t rest = view.offset;
  std::int64_t outer = 0;  // stride of the dimension outside of this one
  for (const int dimension : order) {
    const auto d = static_cast<std::size_t>(dimension);
    const std::int64_t stride = view.strides[d];
    if (view.shape[d] == 1) continue;
    if (stride <= 0) return {};
    begin[d] = rest / stride;
    rest %= stride;
    const bool leaves = outer > 0 && (begin[d] + view.shape[d]) * stride > outer;
    if (leaves) return {};
    outer = stride;
  }
  if (rest != 0) return {};
  return begin;
}

struct Touch {
  const View* view;
  bool writes;
};

std::vector<Touch> touches(const Step& step) {
  std::vector<Touch> all;
  for (const View& view : step.inputs) all.push_back({&view, false});
  for (const StepOutput& output : step.outputs) all.push_back({&output.view, true});
  return all;
}

bool share_memory(const Program& program, const View& a, const View& b) {
  if (a.buffer == b.buffer) return may_overlap(a, b);
  const Buffer& first = program.buffers[static_cast<std::size_t>(a.buffer)];
  const Buffer& second = program.buffers[static_cast<std::size_t>(b.buffer)];
  if (first.kind != BufferKind::arena || second.kind != BufferKind::arena) return false;
  return first.arena_offset < second.arena_offset + second.bytes &&
         second.arena_offset < first.arena_offset + first.bytes;
}

bool conflict(const Program& program, const std::vector<Touch>& a, const std::vector<Touch>& b) {
  for (const Touch& first : a) {
    for (const Touch& second : b) {
      if (!first.writes && !second.writes) continue;
      if (share_memory(program, *first.view, *second.view)) return true;
    }
  }
  return false;
}

}  // namespace

bool may_overlap(const View& a, const View& b) {
  if (a.type != b.type) return true;
  const std::int64_t a_end = a.offset + extent_elements(a);
  const std::int64_t b_end = b.offset + extent_elements(b);
  if (a_end <= b.offset || b_end <= a.offset) return false;
  if (a.strides != b.strides) return true;
  for (std::size_t i = 0; i < a.shape.size(); ++i) {
    // A stride of a dimension of size 1 says nothing about where the other one lies.
    if ((a.shape[i] == 1) != (b.shape[i] == 1)) return true;
  }
  const auto a_begin = box_begin(a);
  const auto b_begin = box_begin(b);
  if (!a_begin || !b_begin) return true;
  for (std::size_t i = 0; i < a.shape.size(); ++i) {
    if (a.shape[i] == 1) continue;
    if ((*a_begin)[i] + a.shape[i] <= (*b_begin)[i] ||
        (*b_begin)[i] + b.shape[i] <= (*a_begin)[i]) {
      return false;
    }
  }
  return true;
}

std::vector<std::vector<int>> dependencies(const Program& program) {
  const std::size_t count = program.steps.size();
  std::vector<std::vector<Touch>> touched;
  touched.reserve(count);
  for (const Step& step : program.steps) touched.push_back(touches(step));
  std::vector<std::vector<int>> all(count);
  for (std::size_t later = 0; later < count; ++later) {
    for (std::size_t earlier = 0; earlier < later; ++earlier) {
      if (conflict(program, touched[earlier], touched[later])) {
        all[later].push_back(static_cast<int>(earlier));
      }
    }
  }
  return all;
}

LanePlan plan_lanes(const std::vector<std::vector<int>>& dependencies, int lanes_max) {
  const std::size_t count = dependencies.size();
  const auto lanes = static_cast<std::size_t>(lanes_max);
  LanePlan plan{lanes_max, std::vector<int>(count, 0), std::vector<std::vector<int>>(count),
                std::vector<bool>(count, false)};
  std::vector<int> ends(count, 0);       // when each step would end
  std::vector<int> free_from(lanes, 0);  // when each lane would be free
  std::vector<int> last(lanes, -1);      // the lane's last step
  // known[a][b]: the last step of lane b that lane a has waited for.
  std::vector<std::vector<int>> known(lanes, std::vector<int>(lanes, -1));
  for (std::size_t step = 0; step < count; ++step) {
    int ready = 0;
    for (const int needed : dependencies[step]) {
      ready = std::max(ready, ends[static_cast<std::size_t>(needed)]);
    }
    std::size_t best = 0;
    for (std::size_t lane = 1; lane < lanes; ++lane) {
      const auto key = [&](std::size_t l) {
        // Behind a step that it needs anyway, rather than on a lane that rests.
        const bool follows = last[l] >= 0 && std::ranges::find(dependencies[step], last[l]) !=
                                                 dependencies[step].end();
        return std::pair(std::max(ready, free_from[l]), follows ? 0 : 1);
      };
      if (key(lane) < key(best)) best = lane;
    }
    plan.lane[step] = static_cast<int>(best);
    // Later ones first: who waits for them has waited for those before them on their lane.
    for (auto needed = dependencies[step].rbegin(); needed != dependencies[step].rend(); ++needed) {
      const auto from = static_cast<std::size_t>(plan.lane[static_cast<std::size_t>(*needed)]);
      if (from == best || known[best][from] >= *needed) continue;
      known[best][from] = *needed;
      plan.waits[step].push_back(*needed);
      plan.signals[static_cast<std::size_t>(*needed)] = true;
    }
    ends[step] = std::max(ready, free_from[best]) + 1;
    free_from[best] = ends[step];
    last[best] = static_cast<int>(step);
  }
  return plan;
}

}  // namespace takt::cuda
