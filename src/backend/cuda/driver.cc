// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/driver.h"

#include "backend/cuda/driver_functions.h"

#include <fmt/format.h>

#include <utility>

namespace takt::cuda {
namespace {

std::string_view remedy(int result) noexcept {
  switch (result) {
    case CUDA_ERROR_NO_DEVICE:
      return "no GPU is visible: see what nvidia-smi lists and what CUDA_VISIBLE_DEVICES says; in "
             "a "
             "container, start it with access to the GPUs (docker run --gpus all)";
    case CUDA_ERROR_STUB_LIBRARY:
      return "this libcuda.so.1 is the toolkit's stub: take it out of LD_LIBRARY_PATH and install "
             "NVIDIA's driver";
    case CUDA_ERROR_DEVICE_UNAVAILABLE:
      return "another process holds the GPU alone: see its compute mode (nvidia-smi -q -d COMPUTE)";
    case CUDA_ERROR_DEVICE_NOT_LICENSED:
      return "the virtual GPU has no licence: see nvidia-smi -q";
    case CUDA_ERROR_SYSTEM_NOT_READY:
      return "the system isn't ready: wait for the GPUs, and start nvidia-fabricmanager where "
             "NVSwitch connects them";
    case CUDA_ERROR_SYSTEM_DRIVER_MISMATCH:
    case CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE:
      return "libcuda.so.1 and the kernel's driver are of different versions: restart the machine "
             "after an update, and take compat libraries out of LD_LIBRARY_PATH";
    case CUDA_ERROR_MPS_CONNECTION_FAILED:
    case CUDA_ERROR_MPS_SERVER_NOT_READY:
      return "the MPS daemon doesn't answer: see CUDA_MPS_PIPE_DIRECTORY, and start it "
             "(nvidia-cuda-mps-control -d)";
    case CUDA_ERROR_MPS_MAX_CLIENTS_REACHED:
    case CUDA_ERROR_MPS_MAX_CONNECTIONS_REACHED:
      return "the MPS daemon serves as many clients as it can: run fewer processes on this GPU";
    case CUDA_ERROR_DEINITIALIZED:
      return "the driver is shutting down";
    default:
      return "";
  }
}

std::unexpected<Error> incomplete(const Library& library, std::string_view function) {
  return fail(ErrorKind::unavailable,
              fmt::format("{} lacks the function {}; reinstall NVIDIA's driver, or replace it by "
                          "one of CUDA {} or newer",
                          library.file().string(), function, version_text(kDriverVersionMin)));
}

// The functions that even a driver which is too old has, for it must be told from a damaged one.
Result<int> driver_version(const Library& library) {
  const auto get_version =
      reinterpret_cast<PFN_cuDriverGetVersion_v2020>(library.symbol("cuDriverGetVersion"));
  if (get_version == nullptr) return incomplete(library, "cuDriverGetVersion");
  int version = 0;
  const CUresult result = get_version(&version);
  if (result != CUDA_SUCCESS) {
    return std::unexpected(
        driver_error(result, "cuDriverGetVersion", "error", "the driver can't tell its version"));
  }
  return version;
}

Result<std::unique_ptr<const DriverFunctions>> fetch_functions(const Library& library) {
  const auto fetch =
      reinterpret_cast<PFN_cuGetProcAddress_v12000>(library.symbol("cuGetProcAddress_v2"));
  if (fetch == nullptr) return incomplete(library, "cuGetProcAddress");
  auto functions = std::make_unique<DriverFunctions>();
  void* found = nullptr;
#define TAKT_FETCH(field, function, version)                                                     \
  if (fetch(#function, &found, version, CU_GET_PROC_ADDRESS_DEFAULT, nullptr) != CUDA_SUCCESS || \
      found == nullptr) {                                                                        \
    return incomplete(library, #function);                                                       \
  }                                                                                              \
  functions->field = {reinterpret_cast<PFN_##function##_v##version>(found), #function};
  TAKT_DRIVER_FUNCTIONS(TAKT_FETCH)
#undef TAKT_FETCH
  return functions;
}

}  // namespace

std::string version_text(int version) {
  return fmt::format("{}.{}", version / 1000, version % 1000 / 10);
}

Result<void> check_driver_version(int version) {
  if (version >= kDriverVersionMin) return {};
  return fail(ErrorKind::unavailable,
              fmt::format("the NVIDIA driver is of CUDA {}; takt needs CUDA {} or newer (driver "
                          "525 or newer): update the driver",
                          version_text(version), version_text(kDriverVersionMin)));
}

ErrorKind error_kind(int result) noexcept {
  switch (result) {
    case CUDA_ERROR_OUT_OF_MEMORY:
      return ErrorKind::out_of_memory;
    case CUDA_ERROR_ECC_UNCORRECTABLE:
    case CUDA_ERROR_NVLINK_UNCORRECTABLE:
    case CUDA_ERROR_CONTAINED:
    case CUDA_ERROR_ILLEGAL_ADDRESS:
    case CUDA_ERROR_LAUNCH_TIMEOUT:
    case CUDA_ERROR_CONTEXT_IS_DESTROYED:
    case CUDA_ERROR_ASSERT:
    case CUDA_ERROR_HARDWARE_STACK_ERROR:
    case CUDA_ERROR_ILLEGAL_INSTRUCTION:
    case CUDA_ERROR_MISALIGNED_ADDRESS:
    case CUDA_ERROR_INVALID_ADDRESS_SPACE:
    case CUDA_ERROR_INVALID_PC:
    case CUDA_ERROR_LAUNCH_FAILED:
    case CUDA_ERROR_TENSOR_MEMORY_LEAK:
    case CUDA_ERROR_EXTERNAL_DEVICE:
    case CUDA_ERROR_MPS_RPC_FAILURE:
    case CUDA_ERROR_MPS_CLIENT_TERMINATED:
      return ErrorKind::device_poisoned;
    default:
      return remedy(result).empty() ? ErrorKind::internal : ErrorKind::unavailable;
  }
}

Error driver_error(int result, std::string_view call, std::string_view name,
                   std::string_view description) {
  std::string message = fmt::format("{}: {} ({})", call, name, description);
  if (const std::string_view what = remedy(result); !what.empty()) {
    message += fmt::format("; {}", what);
  }
  return {error_kind(result), std::move(message)};
}

Driver::Driver(std::filesystem::path file, int version,
               std::unique_ptr<const DriverFunctions> functions)
    : file_(std::move(file)), version_(version), functions_(std::move(functions)) {}

Driver::~Driver() = default;

Result<std::shared_ptr<const Driver>> Driver::open(const LibrarySearch& search) {
  Result<Library> library = open_library(driver_library(), search);
  if (!library) return std::unexpected(std::move(library).error());
  const Result<int> version = driver_version(*library);
  if (!version) return std::unexpected(version.error());
  if (Result<void> fits = check_driver_version(*version); !fits) {
    return std::unexpected(std::move(fits).error().within(library->file().string()));
  }
  Result<std::unique_ptr<const DriverFunctions>> functions = fetch_functions(*library);
  if (!functions) return std::unexpected(std::move(functions).error());
  std::shared_ptr<const Driver> driver(
      new Driver(library->file(), *version, *std::move(functions)));
  if (Result<void> begun = invoke(*driver, &DriverFunctions::init, 0U); !begun) {
    return fail(ErrorKind::unavailable,
                begun.error().message +
                    "; see whether nvidia-smi works, nvidia_uvm is loaded and "
                    "/dev/nvidia* may be opened");
  }
  return driver;
}

Error Driver::error(int result, std::string_view call) const {
  const char* name = nullptr;
  const char* description = nullptr;
  const auto code = static_cast<CUresult>(result);
  functions_->get_error_name.pointer(code, &name);
  functions_->get_error_string.pointer(code, &description);
  // A driver that is newer than cuda.h here knows its own codes; an older one need not know ours.
  const std::string number = fmt::format("CUresult {}", result);
  return driver_error(result, call, name == nullptr ? number.c_str() : name,
                      description == nullptr ? "unknown" : description);
}

}  // namespace takt::cuda
