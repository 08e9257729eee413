// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/run/weights.h"

#include "backend/cuda/compile/arena_plan.h"
#include "backend/cuda/compile/lowering.h"
#include "backend/cuda/compile/sha256.h"

#include <algorithm>
#include <utility>

namespace takt::cuda {
Result<std::vector<std::uint64_t>> Weights::add(const Program& program, const Stream& stream) {
  // New ones together in one piece of memory.
  std::vector<std::string> digests(program.buffers.size());
  std::map<std::string, std::size_t> offsets;
  std::vector<std::byte> bytes;
  for (std::size_t i = 0; i < program.buffers.size(); ++i) {
    if (program.buffers[i].kind != BufferKind::constant) continue;
    Result<std::vector<std::byte>> content = constant_bytes(program.buffers[i]);
    if (!content) return std::unexpected(std::move(content).error());
    digests[i] = to_hex(sha256(*content));
    if (addresses_.contains(digests[i]) || offsets.contains(digests[i])) continue;
    offsets.emplace(digests[i], bytes.size());
    bytes.insert(bytes.end(), content->begin(), content->end());
    bytes.resize(aligned_to_arena(bytes.size()));
  }
  if (!offsets.empty()) {
    Result<DeviceMemory> memory =
        DeviceMemory::allocate(stream.context(), std::max(kArenaAlignment, bytes.size()));
    if (!memory) return std::unexpected(std::move(memory).error());
    Result<void> copied = copy_to_device(memory->span(), bytes, stream);
    if (copied) copied = stream.synchronize();
    if (!copied) return std::unexpected(std::move(copied).error());
    for (const auto& [digest, offset] : offsets) {
      addresses_.emplace(digest, memory->span().address + offset);
    }
    bytes_ += bytes.size();
    memory_.push_back(*std::move(memory));
  }
  std::vector<std::uint64_t> addresses(program.buffers.size(), 0);
  for (std::size_t i = 0; i < addresses.size(); ++i) {
    if (!digests[i].empty()) addresses[i] = addresses_.at(digests[i]);
  }
  return addresses;
}

}  // namespace takt::cuda
