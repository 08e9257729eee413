// SPDX-License-Identifier: Apache-2.0
// A kernel that writes a tensor whose elements each come from one place of another, or are a constant; and
// the pieces of text that such kernels are made of.
// Thread-safe: pure functions.
// Owns: plain values.
// Private to the cuda backend.
#pragma once

#include "backend/cuda/compile/program.h"
#include "backend/cuda/kernels/kernel_source.h"
#include "core/tensor.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace takt::cuda {

inline constexpr unsigned kMovementThreads = 256;  // of a block

// The tensor that is written.
struct Target {
  Shape shape;
  std::vector<std::int64_t> strides;  // in elements, not negative
  std::int64_t begin = 0;             // the first element, behind the pointer
  DataType type = DataType::fp32;
  std::size_t alignment = 0;  // of the pointer, in bytes
};
[[nodiscard]] Target target_of(const View& view);

// The dimension whose elements lie side by side, or -1.
[[nodiscard]] int innermost(const Target& target);

// What is known of the places of elements that are neighbours along the target's innermost dimension: they
// are neighbours in the source too.
struct Neighbours {
  std::vector<std::int64_t> steps;  // what the first one's offset is a sum of multiples of
  std::size_t alignment = 0;        // of the source's pointer, in bytes
};

struct Movement {
  Target target;
  DataType from = DataType::fp32;
  // Statements that declare `at`, the offset behind `in` of what comes to the place i0, i1, ... (ints).
  std::string source;
  std::string inside;  // where it is false, `fill` is written, and nothing read; empty: true
  std::string fill;    // a stored element of the target
  std::optional<Neighbours> neighbours;
  std::string declarations;             // in front of the kernel
  std::vector<std::string> parameters;  // between `in` and `out`, such as "const int* indices"
};
// The target has at least one element and fewer than 2^31.
[[nodiscard]] KernelSource movement_kernel(const Movement& movement, const std::string& step);

// How many elements a thread writes by one access, and whether it reads them by one.
struct AccessWidth {
  int elements = 1;
  bool reads_together = false;
};
[[nodiscard]] AccessWidth access_width(const Target& target, DataType from,
                                       const std::optional<Neighbours>& neighbours);

// An index of a dimension of `size` elements.
struct IndexTerm {
  std::string index;
  std::int64_t size = 1;
  std::int64_t stride = 0;
};
// begin + index * stride + ..., in 64 bits only where 32 are too few.
[[nodiscard]] std::string offset_text(std::int64_t begin, std::span<const IndexTerm> terms);
// i0, i1, ... of these sizes.
[[nodiscard]] std::vector<IndexTerm> terms_of(const Shape& shape,
                                              std::span<const std::int64_t> strides);
// Of the place i0, i1, ...
[[nodiscard]] std::string offset_text(const Target& target);

// Declares i0, i1, ... (ints) from `counter`, the target's innermost dimension changing first; of each
// `width` elements along it the first.
[[nodiscard]] std::string index_text(const Target& target, int width, std::string_view counter);

// How a kernel begins whose threads t are counted.
[[nodiscard]] std::string thread_text(std::string_view kernel, std::string_view parameters,
                                      std::int64_t threads);
[[nodiscard]] unsigned movement_blocks(std::int64_t threads);

// A stored element of one type from that of another; numbers of the same kind.
[[nodiscard]] std::string converted(DataType from, DataType to, std::string_view element);
// `value` as a stored element: to integers towards zero and within their limits; BOOL: not 0.
[[nodiscard]] std::string constant_element(DataType type, double value);

}  // namespace takt::cuda
