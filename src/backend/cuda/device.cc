// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/device.h"

#include "backend/cuda/driver_functions.h"

#include <fmt/format.h>

#include <array>
#include <utility>

namespace takt::cuda {
namespace {

Result<int> attribute(const Driver& driver, CUdevice device, CUdevice_attribute which) {
  int value = 0;
  Result<void> asked =
      invoke(driver, &DriverFunctions::device_get_attribute, &value, which, device);
  if (!asked) return std::unexpected(std::move(asked).error());
  return value;
}

Result<void> describe_numbers(const Driver& driver, CUdevice handle, Device& device) {
  const std::array wanted = {
      std::pair{CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, &device.capability.major},
      std::pair{CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, &device.capability.minor},
      std::pair{CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, &device.sm_count}};
  for (const auto& [which, place] : wanted) {
    const Result<int> value = attribute(driver, handle, which);
    if (!value) return std::unexpected(value.error());
    *place = *value;
  }
  return invoke(driver, &DriverFunctions::device_total_mem, &device.memory_bytes, handle);
}

Result<void> describe_words(const Driver& driver, CUdevice handle, Device& device) {
  std::array<char, 256> text{};
  constexpr int kBytes = text.size();
  Result<void> asked =
      invoke(driver, &DriverFunctions::device_get_name, text.data(), kBytes, handle);
  if (!asked) return asked;
  device.name = text.data();
  asked = invoke(driver, &DriverFunctions::device_get_pci_bus_id, text.data(), kBytes, handle);
  device.pci_id = text.data();
  return asked;
}

Result<Device> describe(const Driver& driver, int index) {
  CUdevice handle = 0;
  Device device{.index = index, .name = {}, .capability = {}, .pci_id = {}};
  Result<void> done = invoke(driver, &DriverFunctions::device_get, &handle, index);
  if (done) done = describe_numbers(driver, handle, device);
  if (done) done = describe_words(driver, handle, device);
  if (!done) return std::unexpected(std::move(done).error());
  return device;
}

Result<int> count_devices(const Driver& driver) {
  int count = 0;
  Result<void> counted = invoke(driver, &DriverFunctions::device_get_count, &count);
  if (!counted) return std::unexpected(std::move(counted).error());
  return count;
}

}  // namespace

std::string to_string(ComputeCapability capability) {
  return fmt::format("{}.{}", capability.major, capability.minor);
}

Result<void> check_supported(const Device& device) {
  if (device.capability >= kCapabilityMin) return {};
  return fail(
      ErrorKind::unavailable,
      fmt::format("cuda:{} ({}) has compute capability {}; takt needs {} or newer (Turing): "
                  "use the backend openvino, or another GPU",
                  device.index, device.name, to_string(device.capability),
                  to_string(kCapabilityMin)));
}

Result<std::vector<Device>> list_devices(const Driver& driver) {
  const Result<int> count = count_devices(driver);
  if (!count) return std::unexpected(count.error());
  std::vector<Device> devices;
  for (int index = 0; index < *count; ++index) {
    Result<Device> device = describe(driver, index);
    if (!device) return std::unexpected(std::move(device).error());
    devices.push_back(*std::move(device));
  }
  return devices;
}

Result<Device> find_device(const Driver& driver, int index) {
  const Result<int> count = count_devices(driver);
  if (!count) return std::unexpected(count.error());
  if (index < 0 || index >= *count) {
    return fail(ErrorKind::unavailable,
                fmt::format("there is no device cuda:{}; the driver shows {} (nvidia-smi and "
                            "CUDA_VISIBLE_DEVICES say which)",
                            index, *count));
  }
  Result<Device> device = describe(driver, index);
  if (!device) return device;
  if (Result<void> fits = check_supported(*device); !fits) {
    return std::unexpected(std::move(fits).error());
  }
  return device;
}

}  // namespace takt::cuda
