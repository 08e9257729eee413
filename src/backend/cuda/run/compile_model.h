// SPDX-License-Identifier: Apache-2.0
// An ONNX file made ready for one device: tuned and compiled for each batch size, measured, and kept as a plan
// file, so that loading the model there costs neither again.
// Thread-safe: compile_model() may run once a process at a time: it measures, so nothing else should use the
// device. Everything else is plain values.
// Owns: plain values; the device's memory is given back before the call ends.
#pragma once

#include "backend/cuda/compile/effort.h"
#include "backend/cuda/compile/precision.h"
#include "core/result.h"
#include "core/tensor.h"
#include "core/time.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace takt::cuda {

struct CompileOptions {
  int device = 0;  // as CUDA counts, after CUDA_VISIBLE_DEVICES
  Precision precision = Precision::fp16;
  std::vector<std::int64_t> batches{1};                // rising
  std::size_t workspace_bytes = std::size_t{1} << 30;  // scratch memory that a step may ask for
  Effort effort = Effort::normal;
  int instances = 1;  // that will run beside each other, as TuningOptions::concurrent
  // Whole, as in graph::ImportOptions; but each of `batches` takes the place of the first size.
  std::map<std::string, Shape> input_shapes;
  std::map<std::string, std::int64_t> dimensions;
  std::filesystem::path plan;       // the file; empty: in `cache_dir`, as plan_path() names it
  std::filesystem::path cache_dir;  // of plans
  std::string takt_version;         // a plan of another version is made again
};

struct LayerReport {
  std::string name;            // of the step
  std::string shapes;          // "[8,64,56,56] -> [8,64,56,56]"
  std::string precision;       // "fp16"
  std::string implementation;  // what tuning chose
  double microseconds = 0;     // of one run
  double share = 0;            // of the sum over all layers
  double bytes = 0;            // read and written, each tensor once
  double flops = 0;            // a multiplication and an addition are two
};

struct BatchReport {
  std::int64_t batch = 1;
  Duration latency_p50{};  // on the device, from the first kernel to the last
  double rows_per_second = 0;
  std::size_t arena_bytes = 0;  // of each instance
  std::size_t weights_bytes = 0;
  std::vector<LayerReport> layers;  // in the order in which they run
};

struct CompileReport {
  std::string device;                                          // "NVIDIA H200"
  std::vector<std::pair<std::string, std::string>> libraries;  // {"NVRTC", "12.9"}, ...
  std::filesystem::path plan;
  std::string
      remade;  // why the plan that was there couldn't be used; empty: it could, or there was none
  int tuned_steps = 0;
  int reused_steps = 0;              // whose pieces the plan file had already
  double seconds = 0;                // of the whole call
  std::vector<BatchReport> batches;  // as in the options
};

class CompileObserver {
 public:
  virtual ~CompileObserver() = default;
  // On the thread that compiles. `stage` is what is being done, such as "tuning batch 8"; `done` of `total`
  // parts of it are. A stage begins with 0 and need not end with `total`.
  virtual void progress(std::string_view stage, int done, int total) = 0;
};

// The shapes as ModelOptions takes them: without the first size where there are batch sizes.
[[nodiscard]] std::map<std::string, Shape> shapes_of_rows(const CompileOptions& options);

// The model is read, and a file is put where the plan will be, before the device is opened. Errors: invalid_input
// (the model, or options that it doesn't fit, such as batch sizes where the file fixes another one; the message
// names the file), unavailable (the plan can't be written, no such device, a library is missing), out_of_memory,
// internal.
[[nodiscard]] Result<CompileReport> compile_model(const std::filesystem::path& onnx,
                                                  const CompileOptions& options,
                                                  CompileObserver& observer);

}  // namespace takt::cuda
