// SPDX-License-Identifier: Apache-2.0
#include "ipc/worker_channel.h"

#include <algorithm>
#include <string>
#include <utility>

namespace takt::ipc {
namespace {

constexpr std::size_t kAreaBytesMax = std::size_t{1} << 24;

constexpr std::size_t aligned(std::size_t bytes) {
  return (bytes + kCacheLineBytes - 1) / kCacheLineBytes * kCacheLineBytes;
}

// completion ring | request rings | request areas | reply areas
constexpr std::size_t kRingBytes = aligned(sizeof(RingMemory));

std::size_t rings_bytes(const ChannelLayout& layout) {
  return (1 + std::size_t{layout.instances}) * kRingBytes;
}

std::size_t total_bytes(const ChannelLayout& layout) {
  return rings_bytes(layout) +
         layout.instances * (aligned(layout.request_bytes) + aligned(layout.reply_bytes));
}

Result<void> check(const ChannelLayout& layout) {
  const bool sizes_fit = std::max(layout.request_bytes, layout.reply_bytes) <= kAreaBytesMax &&
                         std::min(layout.request_bytes, layout.reply_bytes) > 0;
  if (layout.instances >= 1 && layout.instances <= kRingCapacity && sizes_fit) return {};
  return fail(ErrorKind::invalid_input,
              "a worker of " + std::to_string(layout.instances) + " instances with areas of " +
                  std::to_string(layout.request_bytes) + " and " +
                  std::to_string(layout.reply_bytes) + " bytes; expected 1 to " +
                  std::to_string(kRingCapacity) + " instances; use fewer, or a smaller batch_max");
}

}  // namespace

Result<WorkerChannel> WorkerChannel::create(const ChannelLayout& layout) {
  if (Result<void> checked = check(layout); !checked) return std::unexpected(checked.error());
  Result<SharedMemory> memory = SharedMemory::create("takt channel", total_bytes(layout));
  if (!memory) return std::unexpected(std::move(memory).error());
  return WorkerChannel(std::move(*memory), layout);
}

Result<WorkerChannel> WorkerChannel::map(Descriptor file, const ChannelLayout& layout) {
  if (Result<void> checked = check(layout); !checked) return std::unexpected(checked.error());
  Result<SharedMemory> memory = SharedMemory::map(std::move(file), Access::write);
  if (!memory) return std::unexpected(std::move(memory).error());
  if (memory->bytes().size() != total_bytes(layout)) {
    return fail(ErrorKind::invalid_input, "the channel's memory is not of the layout announced");
  }
  return WorkerChannel(std::move(*memory), layout);
}

RingMemory& WorkerChannel::completions() const noexcept {
  return *reinterpret_cast<RingMemory*>(memory_.bytes().data());
}

RingMemory& WorkerChannel::requests(std::uint32_t instance) const noexcept {
  return *reinterpret_cast<RingMemory*>(memory_.bytes().data() + (1 + instance) * kRingBytes);
}

std::span<std::byte> WorkerChannel::request_area(std::uint32_t instance) const noexcept {
  return memory_.bytes().subspan(rings_bytes(layout_) + instance * aligned(layout_.request_bytes),
                                 layout_.request_bytes);
}

std::span<std::byte> WorkerChannel::reply_area(std::uint32_t instance) const noexcept {
  const std::size_t first =
      rings_bytes(layout_) + layout_.instances * aligned(layout_.request_bytes);
  return memory_.bytes().subspan(first + instance * aligned(layout_.reply_bytes),
                                 layout_.reply_bytes);
}

}  // namespace takt::ipc
