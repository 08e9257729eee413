// SPDX-License-Identifier: Apache-2.0
#include "worker/backends.h"

#include "backend/simulated/simulated_backend.h"
#include "core/suggest.h"
#include "worker/open_module.h"

#include <filesystem>
#include <system_error>

namespace takt::worker {
namespace {

Result<std::unique_ptr<Backend>> open_own_module(std::string_view name) {
  std::error_code failure;
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", failure);
  if (failure) {
    return fail(ErrorKind::unavailable,
                "/proc/self/exe can't be read (" + failure.message() + "); mount /proc");
  }
  return open_module(module_file(name, program));
}

}  // namespace

std::vector<std::string> backend_names() {
  return {"cuda", "openvino", "simulated"};
}

Result<std::unique_ptr<Backend>> make_backend(std::string_view name) {
  if (name == "openvino" || name == "cuda") return open_own_module(name);
  if (name == "simulated") return make_simulated_backend();
  return fail(ErrorKind::invalid_input,
              "no backend '" + std::string(name) + "'" + suggestion(name, backend_names()));
}

}  // namespace takt::worker
