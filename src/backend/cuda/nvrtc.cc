// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/nvrtc.h"

#include "backend/cuda/kernels/kernel_instructions.h"
#include "backend/cuda/kernels/kernel_prelude.h"

#include <fmt/format.h>
#include <nvrtc.h>

#include <array>
#include <string_view>
#include <utility>

namespace takt::cuda {

#define TAKT_NVRTC_FUNCTIONS(FUNCTION)           \
  FUNCTION(version, nvrtcVersion)                \
  FUNCTION(error_string, nvrtcGetErrorString)    \
  FUNCTION(create_program, nvrtcCreateProgram)   \
  FUNCTION(destroy_program, nvrtcDestroyProgram) \
  FUNCTION(compile_program, nvrtcCompileProgram) \
  FUNCTION(cubin_size, nvrtcGetCUBINSize)        \
  FUNCTION(cubin, nvrtcGetCUBIN)                 \
  FUNCTION(log_size, nvrtcGetProgramLogSize)     \
  FUNCTION(log, nvrtcGetProgramLog)

struct NvrtcFunctions {
#define TAKT_FIELD(field, function) decltype(&::function) field = nullptr;
  TAKT_NVRTC_FUNCTIONS(TAKT_FIELD)
#undef TAKT_FIELD
};

namespace {

constexpr std::array<const char*, 2> kHeaders{kKernelPrelude, kKernelInstructions};
constexpr std::array<const char*, 2> kHeaderNames{"takt_kernel.h", "takt_instructions.h"};

class Program {
 public:
  Program(const NvrtcFunctions& functions, nvrtcProgram handle)
      : functions_(functions), handle_(handle) {}
  ~Program() { functions_.destroy_program(&handle_); }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  [[nodiscard]] nvrtcProgram handle() const { return handle_; }

  [[nodiscard]] std::string log() const {
    std::size_t size = 0;  // with the final zero
    if (functions_.log_size(handle_, &size) != NVRTC_SUCCESS || size < 2) return "no log";
    std::string text(size, '\0');
    if (functions_.log(handle_, text.data()) != NVRTC_SUCCESS) return "no log";
    text.resize(size - 1);
    return text;
  }

 private:
  const NvrtcFunctions& functions_;
  nvrtcProgram handle_;
};

ErrorKind kind_of(nvrtcResult result) noexcept {
  switch (result) {
    case NVRTC_ERROR_OUT_OF_MEMORY:
      return ErrorKind::out_of_memory;
    case NVRTC_ERROR_INVALID_OPTION:  // the only option that varies is the device's architecture
      return ErrorKind::unavailable;
    default:
      return ErrorKind::internal;
  }
}

std::string_view remedy(nvrtcResult result) noexcept {
  return result == NVRTC_ERROR_INVALID_OPTION
             ? "; install an nvidia-cuda-nvrtc that knows this device"
             : "";
}

Result<std::shared_ptr<const NvrtcFunctions>> fetch_functions(const Library& library) {
  auto functions = std::make_shared<NvrtcFunctions>();
#define TAKT_FETCH(field, function)                                                        \
  functions->field = reinterpret_cast<decltype(&::function)>(library.symbol(#function));   \
  if (functions->field == nullptr) {                                                       \
    return fail(ErrorKind::unavailable,                                                    \
                fmt::format("{} lacks the function {}; install a newer nvidia-cuda-nvrtc", \
                            library.file().string(), #function));                          \
  }
  TAKT_NVRTC_FUNCTIONS(TAKT_FETCH)
#undef TAKT_FETCH
  return functions;
}

// NVRTC opens its second library by name alone, which finds one that is open already, and otherwise
// only what the loader knows: not a wheel's folder.
Result<void> open_builtins(const Library& library, int major, int minor) {
  const LibraryNames names = {
      .purpose = "second library of the CUDA runtime compiler",
      .files = {fmt::format("libnvrtc-builtins.so.{}.{}", major, minor)},
      .wheel_folders = {},
      .remedy = fmt::format("it belongs beside {}: reinstall nvidia-cuda-nvrtc",
                            library.file().string())};
  Result<Library> opened =
      open_library(names, {.folders = {library.file().parent_path()}, .environments = {}});
  if (!opened) return std::unexpected(std::move(opened).error());
  return {};
}

}  // namespace

Nvrtc::Nvrtc(std::filesystem::path file, int version,
             std::shared_ptr<const NvrtcFunctions> functions)
    : file_(std::move(file)), version_(version), functions_(std::move(functions)) {}

Result<Nvrtc> Nvrtc::open(const LibrarySearch& search, int cuda_major_max) {
  Result<Library> library = open_library(nvrtc_library(cuda_major_max), search);
  if (!library) return std::unexpected(std::move(library).error());
  Result<std::shared_ptr<const NvrtcFunctions>> functions = fetch_functions(*library);
  if (!functions) return std::unexpected(std::move(functions).error());
  int major = 0;
  int minor = 0;
  (*functions)->version(&major, &minor);
  if (Result<void> whole = open_builtins(*library, major, minor); !whole) {
    return std::unexpected(std::move(whole).error());
  }
  return Nvrtc(library->file(), 1000 * major + 10 * minor, *std::move(functions));
}

Result<std::vector<std::byte>> Nvrtc::compile(const std::string& source, const std::string& name,
                                              ComputeCapability capability) const {
  const std::string architecture =
      fmt::format("--gpu-architecture=sm_{}{}", capability.major, capability.minor);
  const auto failed = [&](nvrtcResult result, std::string_view log) {
    return fail(kind_of(result),
                fmt::format("{}: NVRTC {} for compute capability {}: {}{}\n{}", name,
                            version_text(version_), to_string(capability),
                            functions_->error_string(result), remedy(result), log));
  };
  nvrtcProgram made = nullptr;
  nvrtcResult result = functions_->create_program(
      &made, source.c_str(), name.c_str(), kHeaders.size(), kHeaders.data(), kHeaderNames.data());
  if (result != NVRTC_SUCCESS) return failed(result, "");
  const Program program(*functions_, made);
  // Line numbers are for profilers and compute-sanitizer; they cost no time on the device.
  const std::array options = {architecture.c_str(), "--std=c++17", "--generate-line-info"};
  result = functions_->compile_program(program.handle(), static_cast<int>(options.size()),
                                       options.data());
  if (result != NVRTC_SUCCESS) return failed(result, program.log());
  std::size_t size = 0;
  result = functions_->cubin_size(program.handle(), &size);
  if (result != NVRTC_SUCCESS) return failed(result, "");
  std::vector<std::byte> code(size);
  result = functions_->cubin(program.handle(), reinterpret_cast<char*>(code.data()));
  if (result != NVRTC_SUCCESS) return failed(result, "");
  return code;
}

}  // namespace takt::cuda
