// SPDX-License-Identifier: Apache-2.0
// Counts what one model does: its requests as they are answered, its batches as they end.
// Thread-safe: every member from any thread. Each count is exact; read() beside requests that are
// being answered may see one of them in some sums and not yet in others.
// Owns: the counts and a share of the clock.
#pragma once

#include "core/inference.h"
#include "core/time.h"
#include "engine/inference_client.h"
#include "engine/model_statistics.h"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

namespace takt::engine {

enum class Outcome : std::uint8_t { success, fail, cancelled, refused };

class StatisticsRecorder {
 public:
  // `clock` is the one that the timings come from.
  StatisticsRecorder(int rows_max, std::shared_ptr<const Clock> clock);

  // A request that is answered now; `error` is empty for a success. Of `timings` only a success uses
  // more than `submitted`.
  void answered(Outcome outcome, std::optional<ErrorKind> error, const InferTimings& timings,
                std::int64_t rows) noexcept;
  // A batch that succeeded; told before its requests are answered.
  void executed(int rows, const BatchTimes& times) noexcept;

  [[nodiscard]] ModelStatistics read() const;

 private:
  using Sum = std::atomic<std::uint64_t>;
  struct Answers {
    Sum count{0};
    Sum ns{0};
  };
  // Where a batch spends its time.
  struct Parts {
    Sum input_ns{0};
    Sum infer_ns{0};
    Sum output_ns{0};
    void add(const BatchTimes& times) noexcept;
  };
  // Written by the threads that answer, all at the same time: one line of the cache.
  struct alignas(64) Successes {
    Answers answers;
    Sum rows{0};
    Sum queue_ns{0};
    Parts parts;
    std::atomic<std::int64_t> last_ms{0};
  };
  using Buckets = std::array<Sum, kDurationBounds.size() + 1>;
  struct alignas(64) Histograms {
    Buckets request{};
    Buckets queue{};
    Buckets compute_input{};
    Buckets compute_infer{};
    Buckets compute_output{};
  };
  struct alignas(32) Executions {
    Sum count{0};
    Parts parts;
  };

  const std::shared_ptr<const Clock> clock_;
  Successes successes_;
  Histograms histograms_;
  std::vector<Executions> executions_;  // [rows - 1]
  // Written by the dispatcher and by threads that submit.
  alignas(64) std::array<Answers, 3> others_;  // [outcome - 1]
  std::array<Sum, kErrorKindCount> failed_by_kind_{};
};

}  // namespace takt::engine
