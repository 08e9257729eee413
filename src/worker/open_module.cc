// SPDX-License-Identifier: Apache-2.0
#include "worker/open_module.h"

#include "backend/backend_module.h"

#include <dlfcn.h>

#include <string>
#include <system_error>

namespace takt::worker {
namespace {

constexpr const char* kRemedy =
    "; program and module belong together: build or install both (make build), then start again";

std::unexpected<Error> refused(const std::filesystem::path& file, const std::string& why) {
  return fail(ErrorKind::unavailable, file.string() + ": " + why + kRemedy);
}

std::string last_problem() {
  const char* text = ::dlerror();
  return text == nullptr ? "can't be opened" : text;
}

}  // namespace

std::filesystem::path module_file(std::string_view name, const std::filesystem::path& program) {
  const std::string file = "takt-" + std::string(name) + ".so";
  const std::filesystem::path folder = program.parent_path();
  std::filesystem::path installed = folder.parent_path() / "lib" / "takt" / file;
  std::error_code ignored;
  if (!std::filesystem::exists(folder / file, ignored) &&
      std::filesystem::exists(installed, ignored)) {
    return installed;
  }
  return folder / file;
}

Result<std::unique_ptr<Backend>> open_module(const std::filesystem::path& file) {
  std::error_code ignored;
  if (!std::filesystem::exists(file, ignored)) return refused(file, "the file is missing");
  // Local, so that its libraries' names stay its own; all its functions at once, so that a library
  // that lacks one is told here. Never closed: libraries with threads of their own don't leave.
  void* const module = ::dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (module == nullptr) return refused(file, last_problem());
  const auto* const id = static_cast<const char*>(::dlsym(module, kBackendIdSymbol));
  if (id == nullptr) return refused(file, "this is no backend of takt");
  if (std::string_view(id) != backend_id()) {
    return refused(file, "it is of another build (" + std::string(id) + "; the program is " +
                             backend_id() + ")");
  }
  auto* const make = reinterpret_cast<MakeBackend*>(::dlsym(module, kMakeBackendSymbol));
  if (make == nullptr) return refused(file, "this is no backend of takt");
  Result<std::unique_ptr<Backend>> made = nullptr;
  make(&made);
  return made;
}

}  // namespace takt::worker
