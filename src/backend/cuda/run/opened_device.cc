// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/run/opened_device.h"

#include <utility>

namespace takt::cuda {

Result<OpenedDevice> open_device(const LibrarySearch& search, int index, AllocationGate* gate) {
  OpenedDevice opened;
  Result<std::shared_ptr<const Driver>> driver = Driver::open(search);
  if (!driver) return std::unexpected(std::move(driver).error());
  opened.driver = *std::move(driver);
  Result<Device> device = find_device(*opened.driver, index);
  if (!device) return std::unexpected(std::move(device).error());
  auto context = Context::create(opened.driver, *device, gate);
  if (!context) return std::unexpected(std::move(context).error());
  opened.context = *std::move(context);
  const int major = opened.driver->version() / 1000;
  const auto note = [&](const Error& error) {
    opened.missing += (opened.missing.empty() ? "" : "; ") + error.message;
  };
  Result<Nvrtc> nvrtc = Nvrtc::open(search, major);
  if (nvrtc) {
    opened.nvrtc = *std::move(nvrtc);
  } else {
    note(nvrtc.error());
  }
  Result<Cudnn> cudnn = Cudnn::open(search, major);
  if (cudnn) {
    opened.cudnn = *std::move(cudnn);
  } else {
    note(cudnn.error());
  }
  return opened;
}

}  // namespace takt::cuda
