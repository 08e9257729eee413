// SPDX-License-Identifier: Apache-2.0
#include "engine/output_slots.h"

#include <algorithm>

namespace takt::engine {

std::size_t output_bytes(std::span<const std::size_t> row_bytes, std::int64_t rows) noexcept {
  std::size_t sum = 0;
  for (const std::size_t bytes : row_bytes) {
    sum += aligned_output(bytes * static_cast<std::size_t>(rows));
  }
  return sum;
}

std::vector<SizeClass> output_classes(std::span<const std::size_t> row_bytes, std::int64_t rows_max,
                                      std::size_t instances, int results_held_max) {
  // A request of r rows takes a slot of the class for the next power of two rows. The sum, a class:
  std::vector<SizeClass> classes;
  for (std::int64_t rows = 1;; rows = std::min<std::int64_t>(rows * 2, rows_max)) {
    const std::int64_t count =
        // every instance runs full batches of requests of this size,
        static_cast<std::int64_t>(instances) * ((rows_max + rows - 1) / rows) +
        // and consumers still hold finished ones.
        std::max<std::int64_t>(1, results_held_max / rows);
    classes.push_back({output_bytes(row_bytes, rows), static_cast<std::uint32_t>(count)});
    if (rows == rows_max) return classes;
  }
}

}  // namespace takt::engine
