// SPDX-License-Identifier: Apache-2.0
#include "ipc/ring.h"

#include <string>

namespace takt::ipc {
namespace {

static_assert((kRingCapacity & (kRingCapacity - 1)) == 0);

std::unexpected<Error> corrupt(const char* side, std::uint32_t own, std::uint32_t other) {
  return fail(ErrorKind::internal, std::string("the ring's ") + side + " wrote index " +
                                       std::to_string(other) + " where ours is " +
                                       std::to_string(own));
}

}  // namespace

Result<void> RingProducer::push(const Ticket& ticket) {
  const std::uint32_t head = memory_->head.load(std::memory_order_acquire);
  const std::uint32_t used = tail_ - head;
  if (used > kRingCapacity) return corrupt("consumer", tail_, head);
  if (used == kRingCapacity) return fail(ErrorKind::unavailable, "the ring is full");
  memory_->tickets[tail_ % kRingCapacity] = ticket;
  memory_->tail.store(++tail_, std::memory_order_seq_cst);  // as wake.h asks
  wake(memory_->wake);
  return {};
}

bool RingConsumer::something() const noexcept {
  return memory_->tail.load(std::memory_order_seq_cst) != head_ ||
         interrupted_.load(std::memory_order_seq_cst);
}

Result<std::optional<Ticket>> RingConsumer::pop() {
  const std::uint32_t tail = memory_->tail.load(std::memory_order_acquire);
  if (tail == head_) return std::nullopt;
  if (tail - head_ > kRingCapacity) return corrupt("producer", head_, tail);
  const Ticket ticket = memory_->tickets[head_ % kRingCapacity];
  memory_->head.store(++head_, std::memory_order_release);
  return ticket;
}

void RingConsumer::wait(Duration spin, Duration wait_max) {
  sleep_until_ready(memory_->wake, [this] { return something(); }, spin, wait_max);
  interrupted_.store(false, std::memory_order_relaxed);
}

void RingConsumer::interrupt() noexcept {
  interrupted_.store(true, std::memory_order_seq_cst);
  wake(memory_->wake);
}

}  // namespace takt::ipc
