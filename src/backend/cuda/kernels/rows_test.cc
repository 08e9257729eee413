// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/kernels/rows.h"

#include "backend/cuda/kernels/compiler_fixture.h"
#include "backend/cuda/kernels/windows.h"

#include <gtest/gtest.h>

#include <string>

namespace takt::cuda {
namespace {

using graph::ReduceKind;

// Rows of a warp and of a block, whole and across; and windows.
TEST(Rows, EveryKernelCompiles) {
  TAKT_SKIP_COMPILING_WHERE_SANITIZED();
  const auto nvrtc = project_compiler();
  ASSERT_TRUE(nvrtc) << nvrtc.error().message;
  std::string source = "#include <takt_kernel.h>\n";
  int kernels = 0;
  const auto name = [&kernels] { return "k" + std::to_string(kernels++); };
  for (const DataType type : {DataType::fp16, DataType::fp64, DataType::int32}) {
    for (const std::int64_t length : {16, 100, 5000}) {
      const RowSpace rows{{64}, {length}};
      const Access along{type, {length, 1}, 256};
      const Access across{type, {1, 64}, 256};
      const Access result{type, {1, 0}, 256};
      const Access place{DataType::int64, {1, 0}, 256};
      for (const Access& input : {along, across}) {
        for (int k = 0; k <= static_cast<int>(ReduceKind::sum_square); ++k) {
          const auto kind = static_cast<ReduceKind>(k);
          source += reduce_kernel({rows, kind, input, result}, name()).text;
        }
        source += arg_reduce_kernel({rows, true, false, input, place}, name()).text;
        if (type == DataType::int32) continue;
        source += softmax_mean_kernel({rows, input, {type, {0, 1}, 256}, result}, name()).text;
        source += softmax_kernel({rows, length > 100, input, input}, name()).text;
        const Access factor{type, {0, 1}, 256};
        source += normalize_kernel({rows, 1e-5, input, factor, factor, input}, name()).text;
      }
    }
    const graph::Window window{{3, 3}, {2, 2}, {1, 1}, {1, 1}, {1, 1}};
    const Access image{type, {800, 1, 80, 8}, 256};
    const Access pooled{type, {200, 1, 40, 8}, 256};
    for (const auto kind : {graph::PoolKind::max, graph::PoolKind::average}) {
      const graph::Pool op{kind, window, {5, 5}, false, 2};
      source += pool_kernel({op, {1, 8, 10, 10}, image, pooled}, name()).text;
    }
  }
  const auto cubin = nvrtc->compile(source, "rows.cu", kCapabilityMin);
  ASSERT_TRUE(cubin) << cubin.error().message;
}

}  // namespace
}  // namespace takt::cuda
