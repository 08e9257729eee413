// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/emulation/kernel_library.h"

#include "backend/cuda/kernels/kernel_prelude.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <future>
#include <optional>
#include <utility>

namespace takt::cuda::emulation {
namespace {

constexpr std::size_t kArgumentsMax = 16;
constexpr std::size_t kCompilersMax = 2;  // at a time
constexpr std::size_t kMessageBytesMax = 4000;

// Elements that move together are read as another type than they are stored as; each operation is rounded by itself;
// nothing but shared memory lies in the zeroed section, so no file that the compiler would add at the begin; and a
// thread that needs more stack than there is touches the page behind it.
constexpr const char* kOptions =
    "-std=c++17 -O1 -w -fPIC -shared -nostartfiles -fno-strict-aliasing -ffp-contract=off "
    "-fno-exceptions -fno-rtti -fno-asynchronous-unwind-tables -fstack-clash-protection";

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "takt-kernels-XXXXXX").string();
    if (mkdtemp(name.data()) != nullptr) path_ = name;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// Its output, where it fails.
std::optional<std::string> failure_of(const std::string& command) {
  std::FILE* const output = popen((command + " 2>&1").c_str(), "re");
  if (output == nullptr) return "can't be started";
  std::string text;
  std::array<char, 4096> part{};
  while (const std::size_t count = std::fread(part.data(), 1, part.size(), output)) {
    text.append(part.data(), count);
  }
  const int status = pclose(output);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return std::nullopt;
  if (text.size() > kMessageBytesMax) text.resize(kMessageBytesMax);
  return text;
}

template <std::size_t... I>
void call(void* kernel, std::span<void* const> arguments, std::index_sequence<I...>) {
  using Kernel =
      void (*)(std::remove_reference_t<decltype((static_cast<void>(I), arguments[0]))>...);
  reinterpret_cast<Kernel>(kernel)(arguments[I]...);
}

template <std::size_t... Count>
void call_with_any(void* kernel, std::span<void* const> arguments, std::index_sequence<Count...>) {
  static_cast<void>(((arguments.size() == Count &&
                      (call(kernel, arguments, std::make_index_sequence<Count>()), true)) ||
                     ...));
}

}  // namespace

bool has_compiler() {
  return access(TAKT_HOST_COMPILER, X_OK) == 0;
}

void KernelLibrary::Close::operator()(void* library) const noexcept {
  dlclose(library);
}

Result<KernelLibrary> KernelLibrary::compile(const std::string& text, int capability) {
  if (!has_compiler()) {
    return fail(ErrorKind::unavailable,
                "there is no compiler " TAKT_HOST_COMPILER ", with which takt was built");
  }
  const TemporaryFolder folder;
  if (folder.path().empty()) {
    return fail(ErrorKind::unavailable, "no folder for compiled kernels can be made in " +
                                            std::filesystem::temp_directory_path().string() +
                                            "; set TMPDIR");
  }
  const std::filesystem::path source = folder.path() / "kernels.cc";
  const std::filesystem::path library = folder.path() / "kernels.so";
  std::ofstream(folder.path() / "takt_kernel.h") << kKernelPrelude;
  std::ofstream(source) << text;
  const std::string command = fmt::format(
      "'{0}' {1} -D__CUDA_ARCH__={2} -I'{3}' -I'{4}/src' -I'{4}/src/backend/cuda/emulation' -o "
      "'{5}' '{6}'",
      TAKT_HOST_COMPILER, kOptions, capability, folder.path().string(), TAKT_SOURCE_DIR,
      library.string(), source.string());
  if (const auto failed = failure_of(command)) {
    return fail(ErrorKind::internal, command + ":\n" + *failed);
  }
  KernelLibrary loaded;
  loaded.library_.reset(dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL));
  if (loaded.library_ == nullptr) return fail(ErrorKind::internal, dlerror());
  return loaded;
}

Result<void> KernelLibrary::run(Block& block, const std::string& kernel,
                                std::span<void* const> arguments, Launch launch) const {
  void* const code = dlsym(library_.get(), kernel.c_str());
  if (code == nullptr || arguments.size() > kArgumentsMax) {
    return fail(ErrorKind::internal,
                fmt::format("no kernel {} of {} arguments", kernel, arguments.size()));
  }
  const auto variable = [&](const char* name) { return dlsym(library_.get(), name); };
  auto* const begin = *static_cast<std::byte**>(variable("takt_shared_begin"));
  auto* const end = *static_cast<std::byte**>(variable("takt_shared_end"));
  *static_cast<RunningThread**>(variable("takt_thread")) = &block;
  launch.shared = {begin, end};
  const auto thread = [&] {
    call_with_any(code, arguments, std::make_index_sequence<kArgumentsMax + 1>());
  };
  Result<void> done = block.run(thread, launch);
  if (!done) return std::unexpected(std::move(done).error().within(kernel));
  return {};
}

Result<std::vector<KernelLibrary>> compile_all(std::span<const std::string> texts, int capability) {
  std::vector<std::future<Result<KernelLibrary>>> running;
  std::vector<KernelLibrary> libraries;
  std::optional<Error> failed;
  for (std::size_t i = 0; i < texts.size() + kCompilersMax; ++i) {
    if (i >= kCompilersMax && i - kCompilersMax < running.size()) {
      Result<KernelLibrary> compiled = running[i - kCompilersMax].get();
      if (compiled) {
        libraries.push_back(*std::move(compiled));
      } else if (!failed) {
        failed = std::move(compiled).error();
      }
    }
    if (i >= texts.size() || failed) continue;
    running.push_back(std::async(std::launch::async, [&texts, i, capability] {
      return KernelLibrary::compile(texts[i], capability);
    }));
  }
  if (failed) return std::unexpected(*std::move(failed));
  return libraries;
}

}  // namespace takt::cuda::emulation
