// SPDX-License-Identifier: Apache-2.0
// Work that was queued once, recorded, and is launched as a whole from then on.
// Thread-safe: no; one thread at a time launches, and not beside another launch that still runs.
// Owns: the driver's executable graph and a share of its context; not the memory and the kernels
// that the work uses, which must outlive it.
#pragma once

#include "backend/cuda/context.h"
#include "backend/cuda/stream.h"
#include "core/result.h"

#include <cstddef>
#include <functional>
#include <memory>

struct CUgraphExec_st;

namespace takt::cuda {

class CapturedGraph {
 public:
  // Calls `queue_work` once; what it queues on `stream` is recorded instead of run. It must not
  // allocate nor wait. Needs a Scope of the stream's context. Errors: those of `queue_work`,
  // out_of_memory, device_poisoned, internal.
  [[nodiscard]] static Result<CapturedGraph> capture(
      const Stream& stream, const std::function<Result<void>()>& queue_work);

  // Needs a Scope of the stream's context.
  [[nodiscard]] Result<void> launch(const Stream& stream) const;
  [[nodiscard]] std::size_t node_count() const noexcept { return node_count_; }

 private:
  struct Destroy {
    std::shared_ptr<const Context> context;
    void operator()(CUgraphExec_st* graph) const noexcept;
  };
  CapturedGraph(std::unique_ptr<CUgraphExec_st, Destroy> handle, std::size_t node_count)
      : handle_(std::move(handle)), node_count_(node_count) {}
  std::unique_ptr<CUgraphExec_st, Destroy> handle_;
  std::size_t node_count_;
};

}  // namespace takt::cuda
