// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/compile/kernel_cache.h"

#include "backend/cuda/compile/host_threads.h"
#include "backend/cuda/compile/sha256.h"
#include "backend/cuda/driver.h"
#include "backend/cuda/kernels/kernel_instructions.h"
#include "backend/cuda/kernels/kernel_prelude.h"

#include <fmt/format.h>

#include <utility>

namespace takt::cuda {
namespace {

constexpr int kThreadsMax = 16;

std::string whole_text(const KernelSource& source) {
  return "#include <takt_kernel.h>\n" + source.text;
}

}  // namespace

std::string KernelCache::key_of(const KernelSource& source) const {
  return sha256_hex(fmt::format("{}\n{}\n{}\n{}", to_string(context_->device().capability),
                                kKernelPrelude, kKernelInstructions, source.text)) +
         (nvrtc_ == nullptr ? "-" : "-" + version_text(nvrtc_->version()));
}

std::optional<std::span<const std::byte>> KernelCache::find(const std::string& key) const {
  // Without a compiler any compiler's code will do.
  const auto found =
      nvrtc_ == nullptr ? pieces_.find_prefix(kKernelPiece, key) : pieces_.find(kKernelPiece, key);
  if (found) return found;
  const std::scoped_lock guard(unsaved_lock_);
  const auto unsaved = unsaved_.find(key);
  if (unsaved == unsaved_.end()) return std::nullopt;
  return unsaved->second;
}

Result<void> KernelCache::compile(const KernelSource& source, const std::string& key, Keep keep) {
  if (nvrtc_ == nullptr) {
    return fail(
        ErrorKind::unavailable,
        fmt::format("the plan lacks the kernel {}; make it again with takt compile", source.name));
  }
  Result<std::vector<std::byte>> code =
      nvrtc_->compile(whole_text(source), source.name, context_->device().capability);
  if (!code) return std::unexpected(std::move(code).error());
  if (keep == Keep::pieces) {
    Result<void> put = pieces_.put(kKernelPiece, key, *std::move(code));
    if (put || put.error().kind != ErrorKind::overloaded) return put;
  }
  const std::scoped_lock guard(unsaved_lock_);
  unsaved_.emplace(key, *std::move(code));
  return {};
}

Result<void> KernelCache::prepare(std::span<const KernelSource> sources,
                                  const std::function<void(int done, int total)>& progress,
                                  Keep keep) {
  std::map<std::string, const KernelSource*> missing;
  for (const KernelSource& source : sources) {
    std::string key = key_of(source);
    if (!find(key)) missing.emplace(std::move(key), &source);
  }
  const std::vector<std::pair<std::string, const KernelSource*>> jobs(missing.begin(),
                                                                      missing.end());
  return run_jobs(
      "compiling kernels", static_cast<int>(jobs.size()), host_threads(kThreadsMax),
      [&](int job, int /*thread*/) {
        const auto& [key, source] = jobs[static_cast<std::size_t>(job)];
        return compile(*source, key, keep);
      },
      progress);
}

void KernelCache::keep(const KernelSource& source) {
  const std::string key = key_of(source);
  const std::scoped_lock guard(unsaved_lock_);
  const auto unsaved = unsaved_.find(key);
  if (unsaved == unsaved_.end()) return;
  if (pieces_.put(kKernelPiece, key, std::move(unsaved->second))) unsaved_.erase(unsaved);
}

Result<Kernel> KernelCache::kernel(const KernelSource& source) {
  const std::string key = key_of(source);
  if (const auto found = loaded_.find(key); found != loaded_.end()) return found->second;
  std::optional<std::span<const std::byte>> code = find(key);
  if (!code) {
    if (Result<void> compiled = compile(source, key, Keep::pieces); !compiled) {
      return std::unexpected(std::move(compiled).error());
    }
    code = find(key);
  }
  Result<Module> module = Module::load(context_, *code);
  if (!module) return std::unexpected(std::move(module).error());
  Result<Kernel> kernel = module->kernel(source.name);
  if (!kernel) return std::unexpected(std::move(kernel).error());
  loaded_.emplace(key, *kernel);
  return kernel;
}

}  // namespace takt::cuda
