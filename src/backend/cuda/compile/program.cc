// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/compile/program.h"

#include "backend/cuda/compile/arena_plan.h"
#include "backend/cuda/compile/views.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <numeric>

namespace takt::cuda {

std::size_t alignment_bytes(const View& view) {
  const std::size_t offset =
      static_cast<std::size_t>(view.offset) * std::max<std::size_t>(1, element_bytes(view.type));
  return std::gcd(offset, kArenaAlignment);
}

std::string to_string(const View& view) {
  const std::string text =
      fmt::format("{}{}", takt::to_string(view.type), takt::to_string(view.shape));
  return is_dense(view) ? text : fmt::format("{} strides [{}]", text, fmt::join(view.strides, ","));
}

}  // namespace takt::cuda
