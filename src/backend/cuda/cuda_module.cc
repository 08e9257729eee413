// SPDX-License-Identifier: Apache-2.0
// takt-cuda.so, as backend/backend_module.h says.
#include "backend/backend_module.h"
#include "backend/cuda/cuda_backend.h"

#include <backend_id.h>

#include <filesystem>
#include <system_error>
#include <utility>

extern "C" {
[[gnu::visibility("default")]] extern const char takt_backend_id[];
const char takt_backend_id[] = TAKT_BACKEND_ID;

[[gnu::visibility("default")]] void takt_make_backend(
    takt::Result<std::unique_ptr<takt::Backend>>* made) {
  std::error_code failure;
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", failure);
  *made = takt::cuda::make_cuda_backend(
      {takt::cuda::library_search(takt::cuda::folders_of_environment(), program), TAKT_VERSION,
       nullptr});
}
}
