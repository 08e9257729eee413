// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/device_tests/gpu_fixture.h"

#include <cstdio>
#include <filesystem>
#include <utility>
#include <vector>

namespace takt::cuda {
Result<Gpu> find_gpu() {
  const LibrarySearch search =
      library_search(folders_of_environment(), std::filesystem::read_symlink("/proc/self/exe"));
  Result<std::shared_ptr<const Driver>> driver = Driver::open(search);
  if (!driver) return std::unexpected(std::move(driver).error());
  Result<Device> device = find_device(**driver, 0);
  if (!device) return std::unexpected(std::move(device).error());
  Result<Nvrtc> nvrtc = Nvrtc::open(search, (*driver)->version() / 1000);
  if (!nvrtc) return std::unexpected(std::move(nvrtc).error());
  return Gpu{*std::move(driver), *std::move(device), *std::move(nvrtc)};
}

void GpuTest::SetUp() {
  Result<Gpu> found = find_gpu();
  if (!found && found.error().kind == ErrorKind::unavailable) {
    GTEST_SKIP() << found.error().message;
  }
  TAKT_ASSERT_OK(found);
  gpu_.emplace(*std::move(found));
  open_context(nullptr);
}

void GpuTest::open_context(AllocationGate* gate) {
  scope_.reset();
  context_.reset();
  Result<std::shared_ptr<const Context>> context =
      Context::create(gpu_->driver, gpu_->device, gate);
  TAKT_ASSERT_OK(context);
  context_ = *std::move(context);
  Result<Context::Scope> scope = context_->enter();
  TAKT_ASSERT_OK(scope);
  scope_.emplace(*std::move(scope));
}

Result<Kernel> GpuTest::build(const std::string& source, const std::string& kernel) const {
  const Result<std::vector<std::byte>> code =
      gpu_->nvrtc.compile(source, kernel + ".cu", gpu_->device.capability);
  if (!code) return std::unexpected(code.error());
  const Result<Module> module = Module::load(context_, *code);
  if (!module) return std::unexpected(module.error());
  return module->kernel(kernel);
}

void print_measurement(const std::string& text) {
  std::printf("[ MEASURED ] %s\n", text.c_str());
  std::fflush(stdout);
}

}  // namespace takt::cuda
