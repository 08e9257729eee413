// SPDX-License-Identifier: Apache-2.0
// What the simulated backend is told by LoadOptions.parameters.
// Thread-safe: pure functions and plain values. Owns: plain values. Private to backend/simulated.
#pragma once

#include "core/inference.h"
#include "core/result.h"
#include "core/time.h"

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace takt::simulated {

enum class Fault : std::uint8_t {
  out_of_memory,    // the batch fails; the next may succeed
  device_poisoned,  // this batch and all later ones fail, on every instance, until a new load
  crash,            // the process aborts
  hang,             // nothing happens for hang_us, then the batch fails
  corrupt_output,   // the batch succeeds with NaN in its floating-point outputs
  failure,          // the batch fails with `internal`
};
inline constexpr int kFaultCount = 6;

[[nodiscard]] std::string_view to_string(Fault fault) noexcept;

// What its answers are.
enum class Compute : std::uint8_t {
  identity,  // output i = input i
  add_sub,   // of two inputs: the first output is their sum, the second their difference
};
inline constexpr int kComputeCount = 2;

[[nodiscard]] std::string_view to_string(Compute compute) noexcept;

// The n-th batch of the loaded model, over all instances, from 1.
struct ScheduledFault {
  Fault fault;
  std::uint64_t batch;
};

struct Parameters {
  Duration base{};  // of every batch
  Duration per_row{};
  Duration jitter{};  // each batch adds a uniform share of it
  std::uint64_t seed = 1;
  std::vector<ScheduledFault> faults;
  std::uint64_t faults_after = 0;  // batches of a load that are spared, such as its warm-up
  std::uint64_t faults_until = 0;  // the last batch of a load that isn't spared; 0: no end
  std::array<double, kFaultCount> probability{};  // of each fault, a batch
  std::int64_t memory_rows_max = 0;  // larger batches fail with out_of_memory; 0: no limit
  Duration hang{};                   // 0: until the instance is destroyed
  Duration load{};                   // how long a load takes
  bool crash_allowed = false;
  std::string note;                // LoadedModel::notes(); empty: none
  std::optional<Compute> compute;  // nothing: numbers made from a digest of the inputs
  std::vector<TensorSpec> inputs;  // a signature without a model file
  std::vector<TensorSpec> outputs;
};

// Reads the keys "simulated.*" (src/backend/README.md lists them) and leaves others alone.
// Errors: invalid_input (an unknown key, with a suggestion; a value that can't be read; a crash
// that is not allowed).
[[nodiscard]] Result<Parameters> parse_parameters(
    std::span<const std::pair<std::string, std::string>> parameters);

}  // namespace takt::simulated
