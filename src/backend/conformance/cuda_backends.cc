// SPDX-License-Identifier: Apache-2.0
// The backend that needs a GPU.
#include "backend/conformance/conformance_backends.h"
#include "backend/cuda/device_tests/backend_fixture.h"

namespace takt::conformance {

std::vector<BackendCase> conformance_backends() {
  BackendCase cuda;
  cuda.name = "cuda";
  cuda.make = []() -> Result<std::unique_ptr<Backend>> { return cuda::make_gpu_backend(); };
  cuda.parameters = {{"cuda.effort", "fast"}, {"cuda.workspace_mib", "8"}};
  cuda.device = cuda::kDeviceName;
  cuda.cache_dir = cuda::plans_of_this_process();
  cuda.instance_bytes_max = std::size_t{16} << 20;  // its room has the workspace
  return {cuda};
}

}  // namespace takt::conformance
