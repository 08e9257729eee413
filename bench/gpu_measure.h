// SPDX-License-Identifier: Apache-2.0
// What the programs that measure models on a GPU share: the device, clocks and figures, noise, and what tuning
// found out.
// Thread-safe: pure functions; KeptPieces is one thread's.
// Owns: KeptPieces its pieces.
#pragma once

#include "backend/cuda/compile/plan_file.h"
#include "backend/cuda/run/compiled_model.h"
#include "backend/cuda/run/opened_device.h"
#include "core/result.h"
#include "core/tensor.h"
#include "core/time.h"

#include <nlohmann/json.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace takt::cuda {

using Json = nlohmann::json;
using SteadyTime = std::chrono::steady_clock::time_point;

// Ends the program, from any thread: "takt-bench-models: MESSAGE".
[[noreturn]] void give_up(const std::string& message);

template <typename T>
T must(Result<T> result) {
  if (!result) give_up(result.error().message);
  if constexpr (!std::is_void_v<T>) return *std::move(result);
}

[[nodiscard]] double microseconds(Duration duration);
[[nodiscard]] double microseconds_since(SteadyTime start);
// {"p50": ..., "p99": ..., "min": ...}; of at least one.
[[nodiscard]] Json percentiles(std::vector<double> times);
[[nodiscard]] double median(std::vector<double> numbers);
// Of so many calls on the host's clock, after some that aren't counted.
[[nodiscard]] std::vector<double> times_us(int calls, const std::function<void()>& call);

// FP32 and FP16 from 0 to 1, UINT8 of any value; of other types every byte is 1.
void fill_with_noise(std::span<std::byte> bytes, DataType type, std::uint64_t seed);

[[nodiscard]] LibrarySearch search_for_libraries();
[[nodiscard]] std::shared_ptr<const OpenedDevice> first_device();

// Device time of one launch where twenty are queued one behind the other, of each of five such rows, or of as many as
// take so long. A device that slows down under load shows it in the later ones.
[[nodiscard]] std::vector<double> in_a_row_us(const Execution& execution, std::int64_t batch,
                                              double seconds = 0);

inline constexpr const char* kVersion = "bench";  // of plans, in place of takt's

// One file for all models and programs, so that nothing is tuned twice.
class KeptPieces {
 public:
  // Nothing is kept where `file` is empty. One that can't be read, or is of other conditions, is made anew.
  KeptPieces(const OpenedDevice& device, std::filesystem::path file);
  [[nodiscard]] PieceStore& store() noexcept { return *store_; }
  // Where the backend keeps its own plans; empty: nowhere.
  [[nodiscard]] std::filesystem::path backend_folder() const;
  void absorb(const std::filesystem::path& plan);
  void save() const;

 private:
  std::filesystem::path file_;
  PlanKey key_;  // of no model
  std::unique_ptr<PieceStore> store_;
};

}  // namespace takt::cuda
