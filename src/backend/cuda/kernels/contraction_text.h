// SPDX-License-Identifier: Apache-2.0
// What the kernels of contractions share as text: how places are found, and what happens to a sum.
// Thread-safe: pure functions. Owns: plain values. Private to the cuda backend.
#pragma once

#include "backend/cuda/kernels/contraction.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace takt::cuda {

// Along which dimension elements move together.
enum class Along : std::uint8_t { channels, columns };

// How many elements of a tensor may move together, up to `most`; 1: each by itself. `steps` are what the
// other indices are multiplied with, `size` is the dimension's.
[[nodiscard]] int width_along(const ContractionTensor& tensor, Along along, std::int64_t size,
                              int most);

// A kernel's text: constants, then what the body may use, in a namespace of its own:
//   Sum, Input, Weight, Output                      types; input_value(), weight_value() make a Sum
//   kRows, kColumns, kChannels, kTaps, kBatches     sizes; kInputChannel, ... strides
//   Row row_of(unsigned)                            a row's indices
//   input_batch(z), weight_batch(z)                 offsets of a batch
//   bool input_at(row, tap, at)                     where the row's input for a tap lies, or that it is padding
//   weight_at(tap)
//   places(z, row), numbered_places(z, number), write(sums, places, column, to) stores kWriteWidth results side by side
// The body has the pointers in0 (input), in1 (weights), and `to` for write().
struct KernelText {
  std::string name;
  std::string constants;  // the body's own
  std::string_view body;
  unsigned threads = 1;
  int write_width = 1;
  unsigned cluster = 1;  // as in KernelSource
};
[[nodiscard]] std::string kernel_text(const Contraction& contraction, const KernelText& text);

// "constexpr unsigned NAME = VALUE;"
[[nodiscard]] std::string constant(std::string_view name, std::int64_t value);

}  // namespace takt::cuda
