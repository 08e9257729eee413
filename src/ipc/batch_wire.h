// SPDX-License-Identifier: Apache-2.0
// A batch and its outcome as bytes in shared memory. Both sides are the same build of takt.
// Thread-safe: pure functions; a DecodedBatch belongs to one thread.
// Owns: nothing; pixels, tensors and outputs stay in the regions that the bytes name.
#pragma once

#include "core/inference.h"
#include "core/result.h"
#include "ipc/region_table.h"

#include <cstddef>
#include <span>
#include <vector>

namespace takt::ipc {

// Room that any batch of a model needs at most: `samples` requests with these numbers of inputs and
// outputs. What is described is bounded by kImagesMax images an input and kRankMax dimensions.
inline constexpr std::size_t kImagesMax = 8;
inline constexpr std::size_t kRankMax = 8;
[[nodiscard]] std::size_t request_bytes_max(std::size_t samples, std::size_t inputs,
                                            std::size_t outputs) noexcept;
[[nodiscard]] std::size_t reply_bytes_max(std::size_t samples, std::size_t outputs) noexcept;

// Writes the batch into `room` and returns the bytes used. Inputs must lie in a region of `inputs`,
// rooms of outputs in a region of `outputs`. Errors: invalid_input (memory that isn't shared, more
// images or dimensions than the limits, no room).
[[nodiscard]] Result<std::size_t> encode_request(std::span<std::byte> room, BatchView batch,
                                                 const RegionTable& inputs,
                                                 const RegionTable& outputs);

// A batch with the memory behind its views, used again and again.
class DecodedBatch {
 public:
  // Reads what encode_request wrote. Nothing outside the regions is ever named. Errors:
  // invalid_input (bytes that are no batch).
  [[nodiscard]] Result<void> decode(std::span<const std::byte> bytes, const RegionTable& inputs,
                                    const RegionTable& outputs);
  [[nodiscard]] BatchView view() const noexcept { return samples_; }

 private:
  std::vector<Sample> samples_;
  std::vector<std::vector<InputData>> inputs_;
  std::vector<std::vector<OutputBuffer>> outputs_;
};

// Writes the outcome and, of a success, what each output of the batch holds. A message that is too
// long is cut.
[[nodiscard]] Result<std::size_t> encode_reply(std::span<std::byte> room, BatchView batch,
                                               const BatchOutcome& outcome);

// Reads what encode_reply wrote, into the outputs of the very batch that was sent. `bytes` must be a
// copy that nobody else can write. Errors: corrupt_output (bytes that are no reply to this batch:
// wrong numbers, more bytes than there is room).
[[nodiscard]] Result<BatchOutcome> decode_reply(std::span<const std::byte> bytes, BatchView batch);

}  // namespace takt::ipc
