// SPDX-License-Identifier: Apache-2.0
#include "app/gpus.h"

#include "backend/cuda/device.h"
#include "backend/cuda/driver.h"

#include <filesystem>
#include <system_error>
#include <utility>

namespace takt::app {
namespace {

Result<void> check_gpu(int index) {
  const auto driver = cuda::Driver::open(gpu_libraries());
  if (!driver) return std::unexpected(driver.error());
  const Result<cuda::Device> device = cuda::find_device(**driver, index);
  if (!device) return std::unexpected(device.error());
  return {};
}

}  // namespace

cuda::LibrarySearch gpu_libraries() {
  std::error_code unknown;
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", unknown);
  return cuda::library_search(cuda::folders_of_environment(), program);
}

Result<void> check_gpus(const config::Config& config) {
  for (const config::DeviceConfig& device : config.devices) {
    if (device.kind != config::DeviceKind::cuda) continue;
    if (Result<void> checked = check_gpu(device.index); !checked) {
      Error error = std::move(checked).error();
      error.message += "; takt doctor shows what this machine has for models on GPUs";
      return std::unexpected(std::move(error).within("devices." + device.name));
    }
  }
  return {};
}

}  // namespace takt::app
