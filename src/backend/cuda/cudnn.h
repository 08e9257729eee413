// SPDX-License-Identifier: Apache-2.0
// cuDNN, opened at run time: convolutions and matrix products with what follows them in one kernel.
// Thread-safe: Cudnn yes; a handle and a plan are one thread's at a time. cuDNN doesn't promise that an engine's
// plan runs on two threads at once, even with a handle each: a thread that needs the same plan restores one from
// its bytes.
// Owns: CudnnHandle the library's handle in a context; CudnnPlan shares the library's plan with its copies. Both
// keep the context alive.
#pragma once

#include "backend/cuda/compile/program.h"
#include "backend/cuda/context.h"
#include "backend/cuda/libraries.h"
#include "backend/cuda/memory.h"
#include "backend/cuda/stream.h"
#include "core/result.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace takt::cuda {

[[nodiscard]] std::string cudnn_version_text(std::size_t version);  // 91900: "9.19.0"

class Cudnn {
 public:
  // Once a process; later calls give the first library. Some engines open NVRTC by themselves, and find it where
  // Nvrtc::open has opened it before. `cuda_major_max` is the driver's major version. Errors: unavailable (not
  // found, too old, or of a newer CUDA than the driver; the message says what to do).
  [[nodiscard]] static Result<Cudnn> open(const LibrarySearch& search, int cuda_major_max);
  [[nodiscard]] std::size_t version() const noexcept { return version_; }  // 91900
  [[nodiscard]] const std::filesystem::path& file() const noexcept { return file_; }

 private:
  Cudnn(std::filesystem::path file, std::size_t version)
      : file_(std::move(file)), version_(version) {}
  std::filesystem::path file_;
  std::size_t version_;
};

// Works on one stream, which outlives it.
class CudnnHandle {
 public:
  // Errors: out_of_memory, device_poisoned, internal.
  [[nodiscard]] static Result<CudnnHandle> create(const Cudnn& cudnn, const Stream& stream);
  // On another stream of the same context; from any thread. Errors: as create().
  [[nodiscard]] Result<CudnnHandle> another(const Stream& stream) const { return make(stream); }
  [[nodiscard]] void* handle() const noexcept { return handle_.get(); }
  [[nodiscard]] const std::shared_ptr<const Context>& context() const noexcept {
    return handle_.get_deleter().context;
  }

 private:
  struct Destroy {
    std::shared_ptr<const Context> context;
    void operator()(void* handle) const noexcept;
  };
  explicit CudnnHandle(std::unique_ptr<void, Destroy> handle) : handle_(std::move(handle)) {}
  // Once the library is open.
  [[nodiscard]] static Result<CudnnHandle> make(const Stream& stream);
  std::unique_ptr<void, Destroy> handle_;
};

struct CudnnExecution;  // cudnn.cc, which alone includes the library's headers

// How a step is computed by one of cuDNN's engines. Any handle of the context that made it runs it.
class CudnnPlan {
 public:
  [[nodiscard]] const std::string& name() const noexcept {
    return name_;
  }  // cuDNN's: "eng12_k24=5"
  [[nodiscard]] std::size_t workspace_bytes() const noexcept { return workspace_bytes_; }

  // Queues it on the handle's stream. `addresses` are those of the step's inputs and then of its output, with
  // the views' offsets. `workspace` is aligned to 256 bytes. Needs a Scope. Where the stream is being captured,
  // a copy of this plan must outlive what is made from the capture: it holds the kernels' code. Errors:
  // out_of_memory, device_poisoned, internal (also: another number of addresses, too small a workspace).
  [[nodiscard]] Result<void> run(const CudnnHandle& handle,
                                 std::span<const std::uint64_t> addresses,
                                 DeviceSpan workspace) const;

  // For a plan file; only the same version of cuDNN on the same kind of device takes it back. Errors:
  // out_of_memory, internal.
  [[nodiscard]] Result<std::vector<std::byte>> serialize() const;
  // The same engine with the same settings. Needs a Scope. Errors: invalid_input (bytes that this library
  // doesn't take), out_of_memory, device_poisoned.
  [[nodiscard]] static Result<CudnnPlan> restore(const CudnnHandle& handle,
                                                 std::span<const std::byte> bytes);

 private:
  friend struct CudnnExecution;
  CudnnPlan(std::string name, std::size_t workspace_bytes,
            std::shared_ptr<const CudnnExecution> execution)
      : name_(std::move(name)),
        workspace_bytes_(workspace_bytes),
        execution_(std::move(execution)) {}
  std::string name_;
  std::size_t workspace_bytes_;
  std::shared_ptr<const CudnnExecution> execution_;
};

struct CudnnSearch {
  std::size_t workspace_bytes_max = std::size_t{1} << 30;
  int plans_max = 8;  // the heuristics' first ones
  bool tf32 = false;  // FP32 products may be rounded to TF32
};

struct CudnnPlans {
  std::vector<CudnnPlan> plans;  // best guess first
  std::string refusal;           // why there is none
};

// Plans for a step of kind contraction; none where cuDNN has no engine for it (an epilogue, strides or types that
// it doesn't take). Engines whose result may differ from run to run are left out. Needs a Scope. Errors:
// out_of_memory, device_poisoned, internal.
[[nodiscard]] Result<CudnnPlans> cudnn_plans(const CudnnHandle& handle, const Step& step,
                                             const CudnnSearch& search);

}  // namespace takt::cuda
