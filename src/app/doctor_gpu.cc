// SPDX-License-Identifier: Apache-2.0
#include "app/doctor_gpu.h"

#include "app/gpus.h"
#include "backend/cuda/cudnn.h"
#include "backend/cuda/device.h"
#include "backend/cuda/driver.h"
#include "backend/cuda/libraries.h"
#include "backend/cuda/nvrtc.h"
#include "worker/backends.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

namespace takt::app {
namespace {

using Level = Finding::Level;

constexpr int kCudaMajorMax = 13;

Finding missing(std::string what, std::string detail, const Error& error) {
  return {Level::note, std::move(what), std::move(detail), error.message};
}

// Of cuda.precision, those that its tensor cores multiply in; FP32 needs none (CUDA C++ Programming Guide, table
// "Feature Support per Compute Capability").
std::string_view precisions(cuda::ComputeCapability capability) {
  if (capability < cuda::kCapabilityMin) return "none of takt's precisions";
  return capability.major >= 8 ? "fp32, tf32, fp16, bf16" : "fp32, fp16";
}

Finding describe(const cuda::Device& device) {
  const std::string what = fmt::format("gpu {}", device.index);
  const std::string detail =
      fmt::format("{}, compute capability {} ({}), {} SMs, {} MiB, PCI {}", device.name,
                  to_string(device.capability), precisions(device.capability), device.sm_count,
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

Finding examine_cudnn(const cuda::LibrarySearch& search, int cuda_major) {
  const auto cudnn = cuda::Cudnn::open(search, cuda_major);
  if (!cudnn) {
    return missing("gpu library", "no cuDNN, so that takt's own kernels do everything, slower",
                   cudnn.error());
  }
  return {Level::ok, "gpu library",
          fmt::format("cuDNN {} ({})", cuda::cudnn_version_text(cudnn->version()),
                      cudnn->file().string()),
          ""};
}

Finding examine_backend() {
  const auto backend = worker::make_backend("cuda");
  if (!backend) return missing("cuda", "no model runs on a GPU", backend.error());
  return {Level::ok, "cuda", (*backend)->version(),
          "models run there with devices: {gpu: {kind: cuda, index: 0}} in takt.yaml"};
}

}  // namespace

std::vector<Finding> examine_gpus() {
  const cuda::LibrarySearch search = gpu_libraries();
  const auto driver = cuda::Driver::open(search);
  if (!driver) {
    return {missing("gpu driver", "none, so models run on the CPU; nothing else is lost",
                    driver.error())};
  }
  std::vector<Finding> findings{
      {Level::ok, "gpu driver",
       fmt::format("CUDA {} ({})", cuda::version_text((*driver)->version()),
                   (*driver)->file().string()),
       ""}};
  const auto devices = cuda::list_devices(**driver);
  if (!devices) findings.push_back(missing("gpus", "none", devices.error()));
  for (const cuda::Device& device : devices.value_or(std::vector<cuda::Device>{})) {
    findings.push_back(describe(device));
  }
  const int cuda_major = std::min((*driver)->version() / 1000, kCudaMajorMax);
  findings.push_back(examine_compiler(search, cuda_major));
  findings.push_back(examine_cudnn(search, cuda_major));
  findings.push_back(examine_library("gpu monitor", cuda::nvml_library(), search));
  findings.push_back(examine_backend());
  return findings;
}

}  // namespace takt::app
