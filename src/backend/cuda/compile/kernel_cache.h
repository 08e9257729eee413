// SPDX-License-Identifier: Apache-2.0
// The code of generated kernels in a context: out of a plan's pieces, or compiled now.
// Thread-safe: no; it belongs to one load or one compilation.
// Owns: shares of the modules that it loaded; kernels keep theirs.
#pragma once

#include "backend/cuda/compile/plan_file.h"
#include "backend/cuda/context.h"
#include "backend/cuda/kernels/kernel_source.h"
#include "backend/cuda/module.h"
#include "backend/cuda/nvrtc.h"
#include "core/result.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace takt::cuda {

class KernelCache {
 public:
  // Pieces and compiler outlive it. Without a compiler only what the pieces have can be loaded.
  KernelCache(std::shared_ptr<const Context> context, PieceStore& pieces, const Nvrtc* nvrtc)
      : context_(std::move(context)), pieces_(pieces), nvrtc_(nvrtc) {}

  enum class Keep : std::uint8_t {
    pieces,  // or here alone, where they have no room for it
    here,    // until keep()
  };
  // Compiles those that the pieces lack, on as many threads as the process may use CPUs. `progress` is told on the
  // calling thread, now and then. Errors: those of Nvrtc::compile; unavailable (no compiler).
  [[nodiscard]] Result<void> prepare(std::span<const KernelSource> sources,
                                     const std::function<void(int done, int total)>& progress,
                                     Keep keep = Keep::pieces);
  // Gives the pieces what was compiled for here alone. What they have no room for stays here.
  void keep(const KernelSource& source);
  // Loads it, and compiles it before that where nobody has. Needs no Scope.
  [[nodiscard]] Result<Kernel> kernel(const KernelSource& source);

  [[nodiscard]] const std::shared_ptr<const Context>& context() const noexcept { return context_; }

 private:
  // Of the source for this device; with a compiler also of its version.
  [[nodiscard]] std::string key_of(const KernelSource& source) const;
  [[nodiscard]] std::optional<std::span<const std::byte>> find(const std::string& key) const;
  [[nodiscard]] Result<void> compile(const KernelSource& source, const std::string& key, Keep keep);

  std::shared_ptr<const Context> context_;
  PieceStore& pieces_;
  const Nvrtc* nvrtc_;
  mutable std::mutex unsaved_lock_;
  std::map<std::string, std::vector<std::byte>> unsaved_;  // by key; guarded by unsaved_lock_
  std::map<std::string, Kernel> loaded_;                   // by key
};

}  // namespace takt::cuda
