// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/kernels/selection.h"

#include "backend/cuda/compile/arena_plan.h"

#include <fmt/format.h>

#include <variant>

namespace takt::cuda {

// Batcher's bitonic sort ("Sorting networks and their applications", 1968).
const char kSortText[] = R"cuda(
template <typename Entry>
__device__ void sort(Entry* entries, unsigned count) {
  for (unsigned run = 2; run <= count; run *= 2) {
    for (unsigned step = run / 2; step > 0; step /= 2) {
      __syncthreads();
      for (unsigned pair = threadIdx.x; pair < count / 2; pair += kThreads) {
        const unsigned low = 2 * pair - (pair & (step - 1));
        const Entry a = entries[low];
        const Entry b = entries[low + step];
        const bool rises = (low & run) == 0;
        if ((b < a) == rises) {
          entries[low] = b;
          entries[low + step] = a;
        }
      }
    }
  }
  __syncthreads();
}
)cuda";

std::size_t scratch_size(std::size_t bytes) {
  return (bytes + kArenaAlignment - 1) / kArenaAlignment * kArenaAlignment;
}

Result<StepCode> selection_code(const Step& step, const std::string& name) {
  const Result<CheckedStep> checked = checked_step(step);
  if (!checked) return std::unexpected(checked.error());
  if (const auto* top = std::get_if<graph::TopK>(checked->op)) {
    return top_k_code(*top, *checked, name);
  }
  if (const auto* suppression = std::get_if<graph::NonMaxSuppression>(checked->op)) {
    return non_max_suppression_code(*suppression, *checked, name);
  }
  return fail(ErrorKind::invalid_input,
              fmt::format("{} selects no elements", graph::describe(*checked->op)));
}

}  // namespace takt::cuda
