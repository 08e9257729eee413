// SPDX-License-Identifier: Apache-2.0
// One batch on one instance, waited for: what loading needs for references and profiles.
// Thread-safe: one thread an instance.
// Owns: the output memory.
#pragma once

#include "core/inference.h"
#include "core/result.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace takt::worker {

// Room for one row of each output: from the signature; `dynamic_bytes` where its size depends on
// the data.
[[nodiscard]] Result<std::vector<std::size_t>> output_bytes(const Signature& signature,
                                                            std::size_t dynamic_bytes);

class BatchRun {
 public:
  // `bytes_per_row` as output_bytes() gives them.
  BatchRun(const Signature& signature, std::span<const std::size_t> bytes_per_row);

  // Adds a request of `rows` rows; `inputs` must stay alive until run() has returned.
  void add(std::span<const InputData> inputs, std::int64_t rows);
  void clear();

  // Runs the batch and waits for it. Errors: what the instance says.
  [[nodiscard]] Result<BatchTimes> run(Instance& instance);

  // The outputs of a request, in the order of the signature, after a successful run().
  [[nodiscard]] std::span<const OutputBuffer> outputs(std::size_t request) const;

 private:
  struct Request {
    std::span<const InputData> inputs;
    std::int64_t rows = 1;
    std::vector<std::vector<std::byte>> memory;
    std::vector<OutputBuffer> outputs;
  };
  const Signature signature_;
  const std::vector<std::size_t> bytes_per_row_;
  std::vector<Request> requests_;
};

}  // namespace takt::worker
