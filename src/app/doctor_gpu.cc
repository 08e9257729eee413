// SPDX-License-Identifier: Apache-2.0
#include "app/doctor_gpu.h"

#include "backend/cuda/device.h"
#include "backend/cuda/driver.h"
#include "backend/cuda/libraries.h"
#include "backend/cuda/nvrtc.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>

namespace takt::app {
namespace {

using Level = Finding::Level;

constexpr int kCudaMajorMax = 13;

Finding missing(std::string what, std::string detail, const Error& error) {
  return {Level::note, std::move(what), std::move(detail), error.message};
}

Finding describe(const cuda::Device& device) {
  const std::string what = fmt::format("gpu {}", device.index);
  const std::string detail = fmt::format("{}, compute capability {}, {} SMs, {} MiB, PCI {}",
                                         device.name, to_string(device.capability), device.sm_count,
                                         device.memory_bytes >> 20U, device.pci_id);
  const Result<void> supported = cuda::check_supported(device);
  return supported ? Finding{Level::ok, what, detail, ""}
                   : missing(what, detail, supported.error());
}

Finding examine_compiler(const cuda::LibrarySearch& search, int cuda_major) {
  const auto compiler = cuda::Nvrtc::open(search, cuda_major);
  if (!compiler) return missing("gpu compiler", "no NVRTC", compiler.error());
  return {Level::ok, "gpu compiler",
          fmt::format("NVRTC {} ({})", cuda::version_text(compiler->version()),
                      compiler->file().string()),
          ""};
}

Finding examine_library(const char* what, const cuda::LibraryNames& names,
                        const cuda::LibrarySearch& search) {
  const auto library = cuda::open_library(names, search);
  if (!library) return missing(what, "not found", library.error());
  return {Level::ok, what, library->file().string(), ""};
}

}  // namespace

std::vector<Finding> examine_gpus() {
  std::error_code unknown;
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", unknown);
  const cuda::LibrarySearch search = cuda::library_search({}, program);
  const auto driver = cuda::Driver::open(search);
  if (!driver) {
    return {missing("gpu driver", "none, so models run on the CPU; nothing else is lost",
                    driver.error())};
  }
  std::vector<Finding> findings{
      {Level::ok, "gpu driver",
       fmt::format("CUDA {} ({})", cuda::version_text((*driver)->version()),
                   (*driver)->file().string()),
       "the cuda backend is not complete in this version: models run on the CPU"}};
  const auto devices = cuda::list_devices(**driver);
  if (!devices) findings.push_back(missing("gpus", "none", devices.error()));
  for (const cuda::Device& device : devices.value_or(std::vector<cuda::Device>{})) {
    findings.push_back(describe(device));
  }
  const int cuda_major = std::min((*driver)->version() / 1000, kCudaMajorMax);
  findings.push_back(examine_compiler(search, cuda_major));
  findings.push_back(examine_library("gpu library", cuda::cudnn_library(), search));
  findings.push_back(examine_library("gpu monitor", cuda::nvml_library(), search));
  return findings;
}

}  // namespace takt::app
