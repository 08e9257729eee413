// SPDX-License-Identifier: Apache-2.0
// NonMaxSuppression.
#include "backend/cuda/kernels/pointwise_expressions.h"
#include "backend/cuda/kernels/selection.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace takt::cuda {
namespace {

// Threads of a block, boxes of one class that are sorted at once in shared memory, and how many of them are
// compared with each other by bit masks.
constexpr int kThreads = 512;
constexpr int kSortedMax = 2048;
constexpr int kGroup = 64;

// Boxes. What surely doesn't overlap is seen in Quick numbers, for rounding keeps order; the rest is
// computed as the reference does it, in double.
constexpr std::string_view kBoxText = R"cuda(
template <typename Number>
struct Box { Number x1, y1, x2, y2; };

template <typename Number>
__device__ __forceinline__ Number least(Number a, Number b) { return b < a ? b : a; }
template <typename Number>
__device__ __forceinline__ Number most(Number a, Number b) { return a < b ? b : a; }

template <typename Number>
__device__ Box<Number> box_of(const BoxElement* boxes, unsigned image, unsigned box) {
  const Number a = coordinate(boxes, image, box, 0);
  const Number b = coordinate(boxes, image, box, 1);
  const Number c = coordinate(boxes, image, box, 2);
  const Number d = coordinate(boxes, image, box, 3);
  if (kCenters) return {a - c / 2, b - d / 2, a + c / 2, b + d / 2};
  const bool y_swapped = c < a;
  const bool x_swapped = d < b;
  return {x_swapped ? d : b, y_swapped ? c : a, x_swapped ? b : d, y_swapped ? a : c};
}

__device__ bool overlaps_more(const Box<double>& a, const Box<double>& b) {
  const double width = least(a.x2, b.x2) - most(a.x1, b.x1);
  const double height = least(a.y2, b.y2) - most(a.y1, b.y1);
  const double area_a = __dmul_rn(a.x2 - a.x1, a.y2 - a.y1);
  const double area_b = __dmul_rn(b.x2 - b.x1, b.y2 - b.y1);
  if (!(width > 0 && height > 0 && area_a > 0 && area_b > 0)) return 0 > overlap_max();
  const double both = __dmul_rn(width, height);
  return both / (area_a + area_b - both) > overlap_max();
}

// Whether the box, which is `quick`, and another overlap by more than the threshold.
__device__ bool suppresses(const BoxElement* boxes, unsigned image, const Box<Quick>& quick,
                           unsigned box, unsigned other) {
  const Box<Quick> near = box_of<Quick>(boxes, image, other);
  const bool apart = least(quick.x2, near.x2) < most(quick.x1, near.x1) ||
                     least(quick.y2, near.y2) < most(quick.y1, near.y1);
  if (apart) return 0 > overlap_max();
  return overlaps_more(box_of<double>(boxes, image, box), box_of<double>(boxes, image, other));
}
)cuda";

// Entries are a box's score and number in one: the smaller one comes first. 0 is none.
constexpr std::string_view kEntryText = R"cuda(
using Entry = unsigned long long;

__device__ __forceinline__ Entry entry_of(float score, unsigned box) {
  if (!counts(score)) return 0;
  const unsigned bits = __float_as_uint(score);
  const unsigned rising = score == 0 ? 0x80000000u : bits >> 31 != 0 ? ~bits : bits | 0x80000000u;
  return static_cast<Entry>(~rising) << 32 | box;
}
__device__ __forceinline__ unsigned box_of_entry(Entry entry) {
  return static_cast<unsigned>(entry);
}

struct Shared {
  Entry entries[kSortedMax];
  unsigned histogram[256];
  unsigned long long masks[kGroup];
  bool suppressed[kGroup];
  unsigned found, byte, rank, selected;
};

// The class's entries beyond `begin` and up to `end`, as many as fit; how many there are.
__device__ unsigned collect(Shared& shared, const ScoreElement* scores, Entry begin, Entry end) {
  __syncthreads();
  if (threadIdx.x == 0) shared.found = 0;
  __syncthreads();
  for (unsigned box = threadIdx.x; box < kBoxes; box += kThreads) {
    const Entry entry = entry_of(score_of(scores, box), box);
    if (entry <= begin || entry > end) continue;
    const unsigned place = atomicAdd(&shared.found, 1u);
    if (place < kSortedMax) shared.entries[place] = entry;
  }
  __syncthreads();
  return shared.found;
}

// The kSortedMax-th of the entries beyond `begin`, of which there are more: byte by byte from the highest.
__device__ Entry last_that_fits(Shared& shared, const ScoreElement* scores, Entry begin) {
  Entry prefix = 0;
  if (threadIdx.x == 0) shared.rank = kSortedMax;
  for (int shift = 56; shift >= 0; shift -= 8) {
    for (unsigned i = threadIdx.x; i < 256; i += kThreads) shared.histogram[i] = 0;
    __syncthreads();
    for (unsigned box = threadIdx.x; box < kBoxes; box += kThreads) {
      const Entry entry = entry_of(score_of(scores, box), box);
      const bool here = shift == 56 || entry >> (shift + 8) == prefix >> (shift + 8);
      if (entry > begin && here) atomicAdd(&shared.histogram[entry >> shift & 255], 1u);
    }
    __syncthreads();
    if (threadIdx.x == 0) {
      unsigned byte = 0;
      while (byte < 255 && shared.histogram[byte] < shared.rank) {
        shared.rank -= shared.histogram[byte++];
      }
      shared.byte = byte;
    }
    __syncthreads();
    prefix |= static_cast<Entry>(shared.byte) << shift;
  }
  return prefix;
}

// Entries in memory up to a power of two, filled with what comes last.
__device__ void sort_entries(Shared& shared, unsigned count) {
  unsigned size = 1;
  while (size < count) size *= 2;
  for (unsigned i = count + threadIdx.x; i < size; i += kThreads) shared.entries[i] = ~0ull;
  sort(shared.entries, size);
}
)cuda";

// Boxes are taken in groups: each is compared with all that were selected before and, into a bit mask, with
// those of its group that come before it. Then one thread walks through the masks.
constexpr std::string_view kSelectText = R"cuda(
__device__ void compare_group(Shared& shared, const BoxElement* boxes, unsigned image,
                              const int* selected, unsigned begin, unsigned count) {
  constexpr unsigned kParts = kThreads / kGroup;
  const unsigned at = threadIdx.x % kGroup;
  const unsigned part = threadIdx.x / kGroup;
  if (part == 0) {
    shared.masks[at] = 0;
    shared.suppressed[at] = false;
  }
  __syncthreads();
  if (begin + at < count) {
    const unsigned box = box_of_entry(shared.entries[begin + at]);
    const Box<Quick> quick = box_of<Quick>(boxes, image, box);
    bool suppressed = false;
    for (unsigned i = part; i < shared.selected && !suppressed; i += kParts) {
      suppressed = suppresses(boxes, image, quick, box, static_cast<unsigned>(selected[i]));
    }
    if (suppressed) shared.suppressed[at] = true;
    unsigned long long mask = 0;
    for (unsigned i = part; i < at; i += kParts) {
      const unsigned other = box_of_entry(shared.entries[begin + i]);
      if (suppresses(boxes, image, quick, box, other)) mask |= 1ull << i;
    }
    if (mask != 0) atomicOr(&shared.masks[at], mask);
  }
  __syncthreads();
}

__device__ void select_of_group(Shared& shared, int* selected, unsigned begin, unsigned count) {
  if (threadIdx.x == 0) {
    unsigned long long kept = 0;
    unsigned found = shared.selected;
    const unsigned end = least(count - begin, kGroup);
    for (unsigned i = 0; i < end && found < kSelectedMax; ++i) {
      if (shared.suppressed[i] || (shared.masks[i] & kept) != 0) continue;
      kept |= 1ull << i;
      selected[found++] = static_cast<int>(box_of_entry(shared.entries[begin + i]));
    }
    shared.selected = found;
  }
  __syncthreads();
}

// The boxes of class blockIdx.x, counted over the images, by falling score: where more count than can be
// sorted, some of them after the other.
__device__ void select(const BoxElement* boxes, const ScoreElement* scores, int* counts_of_classes,
                       int* selected_of_classes) {
  __shared__ Shared shared;
  const unsigned image = blockIdx.x / kClasses;
  scores += first_score(image, blockIdx.x % kClasses);
  int* const selected = selected_of_classes + static_cast<unsigned long long>(blockIdx.x) * kSelectedMax;
  if (threadIdx.x == 0) shared.selected = 0;
  Entry begin = 0;
  for (;;) {
    const unsigned found = collect(shared, scores, begin, ~0ull);
    if (found > kSortedMax) collect(shared, scores, begin, last_that_fits(shared, scores, begin));
    const unsigned count = least(found, kSortedMax);
    sort_entries(shared, count);
    for (unsigned first = 0; first < count && shared.selected < kSelectedMax; first += kGroup) {
      compare_group(shared, boxes, image, selected, first, count);
      select_of_group(shared, selected, first, count);
    }
    if (found <= kSortedMax || shared.selected == kSelectedMax) break;
    begin = shared.entries[kSortedMax - 1];
  }
  if (threadIdx.x == 0) counts_of_classes[blockIdx.x] = static_cast<int>(shared.selected);
}
)cuda";

// Behind the rows of the classes before, and -1 where the rows of all classes end.
constexpr std::string_view kRowsText = R"cuda(
__device__ void write_rows(const int* counts_of_classes, const int* selected_of_classes,
                           long long* rows) {
  __shared__ unsigned before, all;
  if (threadIdx.x == 0) before = all = 0;
  __syncthreads();
  unsigned own_before = 0;
  unsigned own_all = 0;
  for (unsigned i = threadIdx.x; i < kAllClasses; i += kThreads) {
    const unsigned count = static_cast<unsigned>(counts_of_classes[i]);
    own_all += count;
    if (i < blockIdx.x) own_before += count;
  }
  atomicAdd(&before, own_before);
  atomicAdd(&all, own_all);
  __syncthreads();
  const unsigned long long slot = static_cast<unsigned long long>(blockIdx.x) * kSelectedMax;
  const unsigned count = static_cast<unsigned>(counts_of_classes[blockIdx.x]);
  for (unsigned i = threadIdx.x; i < count; i += kThreads) {
    put(rows, before + i, blockIdx.x / kClasses, blockIdx.x % kClasses,
        selected_of_classes[slot + i]);
  }
  for (unsigned i = threadIdx.x; i < kSelectedMax; i += kThreads) {
    if (slot + i >= all) put(rows, slot + i, -1, -1, -1);
  }
}
)cuda";

struct Sizes {
  std::int64_t images = 0, classes = 0, boxes = 0;
  std::int64_t selected_max = 0;  // of a class of an image

  [[nodiscard]] std::int64_t all_classes() const { return images * classes; }
};

std::string sizes_text(const Sizes& sizes) {
  return fmt::format(
      "constexpr unsigned kThreads = {}, kClasses = {}, kAllClasses = {}, kSelectedMax = {};\n",
      kThreads, sizes.classes, sizes.all_classes(), sizes.selected_max);
}

std::string strided(const View& view, std::string_view first, std::string_view second,
                    std::string_view third) {
  return fmt::format("{} * {}ull + {} * {}ull + {} * {}ull", first, view.strides[0], second,
                     view.strides[1], third, view.strides[2]);
}

std::string numbers_text(const graph::NonMaxSuppression& op, const Sizes& sizes, const View& boxes,
                         const View& scores) {
  std::string text = fmt::format(
      "constexpr unsigned kBoxes = {}, kSortedMax = {}, kGroup = {};\n"
      "constexpr bool kCenters = {};\n"
      "using BoxElement = {};\nusing ScoreElement = {};\nusing Quick = {};\n"
      "__device__ __forceinline__ double overlap_max() {{ return {}; }}\n",
      sizes.boxes, kSortedMax, kGroup, op.centers, stored_type(boxes.type),
      stored_type(scores.type), computed_type(boxes.type),
      literal(DataType::fp64, static_cast<double>(op.iou_threshold)));
  text += fmt::format(
      "__device__ __forceinline__ Quick coordinate(const BoxElement* boxes, unsigned image, "
      "unsigned box, unsigned i) {{\n  return {};\n}}\n",
      loaded(boxes.type, fmt::format("boxes[{}]", strided(boxes, "image", "box", "i"))));
  text += fmt::format(
      "__device__ __forceinline__ unsigned long long first_score(unsigned image, unsigned "
      "of_class) "
      "{{\n  return {};\n}}\n",
      strided(scores, "image", "of_class", "0"));
  text += fmt::format(
      "__device__ __forceinline__ float score_of(const ScoreElement* scores, unsigned box) {{\n"
      "  return {};\n}}\n",
      loaded(scores.type, fmt::format("scores[box * {}ull]", scores.strides[2])));
  return text +
         fmt::format(
             "__device__ __forceinline__ bool counts(float score) {{\n"
             "  return score == score{};\n}}\n",
             op.has_score_threshold
                 ? fmt::format(" && score > {}",
                               literal(DataType::fp32, static_cast<double>(op.score_threshold)))
                 : "");
}

KernelSource select_kernel(const graph::NonMaxSuppression& op, const Sizes& sizes,
                           const View& boxes, const View& scores, const std::string& name) {
  std::string kernel = kernel_name(name);
  std::string text = fmt::format("namespace {}_code {{\n", kernel);
  text += sizes_text(sizes) + numbers_text(op, sizes, boxes, scores);
  text += std::string(kSortText) + std::string(kBoxText) + std::string(kEntryText) +
          std::string(kSelectText);
  text += fmt::format(
      "}}\n"
      "extern \"C\" __global__ void __launch_bounds__({0}) {1}(const {2}* boxes, "
      "const {3}* scores, int* counts, int* selected) {{\n"
      "  {1}_code::select(boxes, scores, counts, selected);\n}}\n",
      kThreads, kernel, stored_type(boxes.type), stored_type(scores.type));
  return {std::move(kernel), std::move(text), static_cast<unsigned>(sizes.all_classes()), kThreads,
          1};
}

KernelSource rows_kernel(const Sizes& sizes, const View& rows, const std::string& name) {
  std::string kernel = kernel_name(name);
  std::string text = fmt::format(
      "namespace {}_code {{\n{}"
      "__device__ __forceinline__ void put(long long* rows, unsigned long long row, long long "
      "image, "
      "long long of_class, long long box) {{\n"
      "  rows += row * {}ull;\n  rows[0] = image;\n  rows[{}] = of_class;\n  rows[{}] = box;\n}}\n",
      kernel, sizes_text(sizes), rows.strides[0], rows.strides[1], 2 * rows.strides[1]);
  text += std::string(kRowsText);
  text += fmt::format(
      "}}\nextern \"C\" __global__ void __launch_bounds__({0}) {1}(const int* counts, "
      "const int* selected, long long* rows) {{\n"
      "  {1}_code::write_rows(counts, selected, rows);\n}}\n",
      kThreads, kernel);
  return {std::move(kernel), std::move(text), static_cast<unsigned>(sizes.all_classes()), kThreads,
          1};
}

Result<void> check_types(const View& boxes, const View& scores) {
  if (is_floating(boxes.type) && is_floating(scores.type) && scores.type != DataType::fp64) {
    return {};
  }
  return fail(ErrorKind::invalid_input,
              fmt::format("NonMaxSuppression of boxes {} and scores {}; expected FP32 or FP16",
                          takt::to_string(boxes.type), takt::to_string(scores.type)));
}

}  // namespace

Result<StepCode> non_max_suppression_code(const graph::NonMaxSuppression& op,
                                          const CheckedStep& step, const std::string& name) {
  const StepTensor& boxes = step.arguments[0];
  const StepTensor& scores = step.arguments[1];
  if (Result<void> known = check_types(*boxes.view, *scores.view); !known) {
    return std::unexpected(std::move(known).error());
  }
  const Shape& shape = scores.view->shape;
  const Sizes sizes{shape[0], shape[1], shape[2], std::min(op.boxes_max, shape[2])};
  StepCode code;
  if (step.outputs.empty() || sizes.all_classes() * sizes.selected_max == 0) return code;
  const auto classes = static_cast<std::size_t>(sizes.all_classes());
  const Operand counts = scratch_at(0);
  const Operand selected = scratch_at(scratch_size(classes * sizeof(std::int32_t)));
  code.scratch_bytes =
      selected.offset +
      scratch_size(classes * static_cast<std::size_t>(sizes.selected_max) * sizeof(std::int32_t));
  code.calls.push_back({select_kernel(op, sizes, *boxes.view, *scores.view, name + "_select"),
                        {boxes.operand, scores.operand, counts, selected}});
  for (const StepResult& output : step.outputs) {
    const std::string kernel = fmt::format("{}_rows{}", name, code.calls.size());
    code.calls.push_back({rows_kernel(sizes, *output.tensor.view, kernel),
                          {counts, selected, output.tensor.operand}});
  }
  return code;
}

}  // namespace takt::cuda
