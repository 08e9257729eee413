// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/libraries.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <link.h>

#include <algorithm>
#include <cstdlib>
#include <sstream>
#include <string_view>
#include <system_error>
#include <utility>

namespace takt::cuda {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kDriverRemedy =
    "install NVIDIA's driver (nvidia-smi shows whether it works); in a container, start it with "
    "access to the GPUs (docker run --gpus all)";

bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

// The folders <environment>/lib/python3.*/site-packages.
std::vector<fs::path> site_packages(const fs::path& environment) {
  std::vector<fs::path> found;
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator(environment / "lib", ignored)) {
    fs::path folder = entry.path() / "site-packages";
    if (entry.path().filename().string().starts_with("python3") && is_there(folder)) {
      found.push_back(std::move(folder));
    }
  }
  std::ranges::sort(found);
  return found;
}

std::vector<fs::path> folders_to_search(const LibraryNames& names, const LibrarySearch& search) {
  std::vector<fs::path> folders = search.folders;
  if (names.wheel_folders.empty()) return folders;
  for (const fs::path& environment : search.environments) {
    for (const fs::path& packages : site_packages(environment)) {
      for (const fs::path& wheel : names.wheel_folders) folders.push_back(packages / wheel);
    }
  }
  return folders;
}

// nullptr where it can't be opened; `complaints` then has what the loader said. Local, so that the
// library's names stay its own; all of its functions at once, so that a missing one is told here.
void* open_file(const std::string& file, std::vector<std::string>& complaints) {
  void* const handle = ::dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (handle != nullptr) return handle;
  const char* const text = ::dlerror();
  complaints.emplace_back(text == nullptr ? file + ": can't be opened" : text);
  return nullptr;
}

std::unexpected<Error> not_found(const LibraryNames& names, const std::vector<fs::path>& folders,
                                 const std::vector<std::string>& complaints) {
  std::vector<std::string> places;
  for (const fs::path& folder : folders) places.push_back(folder.string());
  places.emplace_back("the system's loader");
  return fail(ErrorKind::unavailable,
              fmt::format("the {} ({}) can't be opened; looked in {} ({}); {}", names.purpose,
                          fmt::join(names.files, " or "), fmt::join(places, ", "),
                          fmt::join(complaints, "; "), names.remedy));
}

}  // namespace

LibraryNames driver_library() {
  return {.purpose = "CUDA driver",
          .files = {"libcuda.so.1"},
          .wheel_folders = {},
          .remedy = std::string(kDriverRemedy)};
}

LibraryNames nvrtc_library(int cuda_major_max) {
  std::vector<std::string> files;
  if (cuda_major_max >= 13) files.emplace_back("libnvrtc.so.13");
  files.emplace_back("libnvrtc.so.12");
  const std::string wheel = cuda_major_max >= 13 ? "nvidia-cuda-nvrtc" : "nvidia-cuda-nvrtc-cu12";
  return {.purpose = "CUDA runtime compiler",
          .files = std::move(files),
          .wheel_folders = {"nvidia/cu13/lib", "nvidia/cuda_nvrtc/lib"},
          .remedy = fmt::format("install the wheel {} into the project's environment (make setup "
                                "does), or name the library's folder in TAKT_CUDA_FOLDERS",
                                wheel)};
}

LibraryNames cudnn_library() {
  return {.purpose = "cuDNN library",
          .files = {"libcudnn.so.9"},
          // The second has only the engines that are compiled at run time.
          .wheel_folders = {"nvidia/cudnn/lib", "nvidia/cudnn_jit/lib"},
          .remedy =
              "install the wheel nvidia-cudnn-cu13 (nvidia-cudnn-cu12 for a driver of CUDA "
              "12), or name the library's folder in TAKT_CUDA_FOLDERS"};
}

LibraryNames nvml_library() {
  return {.purpose = "NVIDIA management library",
          .files = {"libnvidia-ml.so.1"},
          .wheel_folders = {},
          .remedy = std::string(kDriverRemedy)};
}

std::vector<std::filesystem::path> folders_of_environment() {
  const char* const text = std::getenv("TAKT_CUDA_FOLDERS");
  std::istringstream words(text == nullptr ? "" : text);
  std::vector<std::filesystem::path> folders;
  for (std::string folder; std::getline(words, folder, ':');) {
    if (!folder.empty()) folders.emplace_back(folder);
  }
  return folders;
}

LibrarySearch library_search(std::vector<fs::path> folders, const fs::path& program) {
  const fs::path beside = program.parent_path();
  std::vector<fs::path> environments;
  for (const fs::path& folder : {beside, beside.parent_path()}) {
    if (is_there(folder / ".venv")) environments.push_back(folder / ".venv");
  }
  const char* const active = std::getenv("VIRTUAL_ENV");
  if (active != nullptr && *active != '\0') environments.emplace_back(active);
  return {.folders = std::move(folders), .environments = std::move(environments)};
}

Library::Library(void* handle) : handle_(handle) {
  const link_map* map = nullptr;
  if (::dlinfo(handle, RTLD_DI_LINKMAP, &map) == 0 && map != nullptr) file_ = map->l_name;
}

void* Library::symbol(const char* name) const noexcept {
  return ::dlsym(handle_, name);
}

Result<Library> open_library(const LibraryNames& names, const LibrarySearch& search) {
  const std::vector<fs::path> folders = folders_to_search(names, search);
  std::vector<std::string> complaints;
  for (const fs::path& folder : folders) {
    for (const std::string& file : names.files) {
      if (!is_there(folder / file)) continue;
      void* const handle = open_file((folder / file).string(), complaints);
      if (handle != nullptr) return Library(handle);
    }
  }
  for (const std::string& file : names.files) {
    void* const handle = open_file(file, complaints);
    if (handle != nullptr) return Library(handle);
  }
  return not_found(names, folders, complaints);
}

}  // namespace takt::cuda
