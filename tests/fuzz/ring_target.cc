// SPDX-License-Identifier: Apache-2.0
// Both ends of a ring while the other process writes whatever it likes into the shared memory.
#include "ipc/ring.h"
#include "target.h"

#include <cstdint>
#include <memory>

namespace takt::fuzz {
namespace {

using ipc::kRingCapacity;
using ipc::Ticket;

enum class Step : std::uint8_t {
  push,
  pop,
  write_tail,
  write_head,
  write_ticket,
  write_wake,
  shift_tail,  // by a little, where the limits are
  shift_head,
  wait,
  interrupt,
  count
};

class Ring {
 public:
  void push(const Ticket& ticket) {
    const std::uint32_t head = memory_->head;
    const std::uint32_t tail_before = memory_->tail;
    const std::uint32_t used = tail_ - head;
    const Result<void> pushed = producer_.push(ticket);
    require(pushed.has_value() == (used < kRingCapacity), "a ring with room takes a ticket");
    if (pushed) {
      require(memory_->tickets[tail_ % kRingCapacity] == ticket, "a ticket lies in its place");
      require(memory_->tail == ++tail_, "the producer publishes its own index");
      return;
    }
    require(memory_->tail == tail_before, "what is refused leaves no trace");
    require((pushed.error().kind == ErrorKind::unavailable) == (used == kRingCapacity),
            "a full ring is told from a corrupt one");
  }

  void pop() {
    const std::uint32_t head_before = memory_->head;
    const std::uint32_t waiting = memory_->tail - head_;
    const Ticket next = memory_->tickets[head_ % kRingCapacity];
    const Result<std::optional<Ticket>> popped = consumer_.pop();
    require(popped.has_value() == (waiting <= kRingCapacity), "a corrupt index is an error");
    if (popped && *popped) {
      require(waiting > 0, "an empty ring has no ticket");
      require(**popped == next, "the next ticket comes next");
      require(memory_->head == ++head_, "the consumer publishes its own index");
      return;
    }
    require(!popped || waiting == 0, "a ring with tickets gives one");
    require(memory_->head == head_before, "what is not taken leaves no trace");
  }

  void step(Input& input) {
    switch (static_cast<Step>(input.take<std::uint8_t>() % static_cast<int>(Step::count))) {
      case Step::push:
        return push(input.take<Ticket>());
      case Step::pop:
        return pop();
      case Step::write_tail:
        memory_->tail = input.take<std::uint32_t>();
        return;
      case Step::write_head:
        memory_->head = input.take<std::uint32_t>();
        return;
      case Step::write_ticket: {
        const std::size_t place = input.take<std::uint8_t>() % kRingCapacity;
        memory_->tickets[place] = input.take<Ticket>();
        return;
      }
      case Step::write_wake:
        memory_->wake.sequence = input.take<std::uint32_t>();
        memory_->wake.sleeping = input.take<std::uint32_t>();
        return;
      case Step::shift_tail:
        memory_->tail = tail_ + static_cast<std::uint32_t>(input.take<std::int8_t>());
        return;
      case Step::shift_head:
        memory_->head = head_ + static_cast<std::uint32_t>(input.take<std::int8_t>());
        return;
      case Step::wait:
        consumer_.wait(Duration(input.take<std::uint8_t>()), Duration{});
        return;
      case Step::interrupt:
        consumer_.interrupt();
        return;
      case Step::count:
        return;
    }
  }

 private:
  const std::unique_ptr<ipc::RingMemory> memory_ = std::make_unique<ipc::RingMemory>();
  ipc::RingProducer producer_{*memory_};
  ipc::RingConsumer consumer_{*memory_};
  // What each side knows by itself:
  std::uint32_t tail_ = 0;
  std::uint32_t head_ = 0;
};

void run(std::span<const std::byte> bytes) {
  Input input(bytes);
  Ring ring;
  while (!input.at_end()) ring.step(input);
}

std::vector<Seed> seeds() {
  std::vector<Seed> seeds;
  Script honest;
  for (std::uint64_t i = 1; i <= 5; ++i) honest.put(Step::push).put(Ticket{i, 0, 16});
  for (int i = 0; i < 6; ++i) honest.put(Step::pop);
  seeds.push_back({"honest", honest.bytes()});
  Script full;
  for (std::uint64_t i = 1; i <= kRingCapacity + 1; ++i) full.put(Step::push).put(Ticket{i, 1, 1});
  full.put(Step::pop).put(Step::push).put(Ticket{99, 0, 0});
  seeds.push_back({"full", full.bytes()});
  for (const std::uint32_t index : {1U, kRingCapacity, kRingCapacity + 1, 0x80000000U, ~0U}) {
    Script corrupt;
    corrupt.put(Step::write_tail).put(index).put(Step::pop).put(Step::pop);
    corrupt.put(Step::write_head).put(index).put(Step::push).put(Ticket{1, 0, 0});
    seeds.push_back({"index-" + std::to_string(index), corrupt.bytes()});
  }
  Script shifted;
  shifted.put(Step::push).put(Ticket{1, 0, 0}).put(Step::shift_tail).put(std::int8_t{65});
  shifted.put(Step::pop).put(Step::shift_head).put(std::int8_t{-1}).put(Step::push);
  shifted.put(Ticket{2, 0, 0});
  seeds.push_back({"shifted", shifted.bytes()});
  Script forged;
  forged.put(Step::push).put(Ticket{1, 0, 0}).put(Step::write_ticket).put(std::uint8_t{0});
  forged.put(Ticket{~std::uint64_t{0}, ~0U, ~0U}).put(Step::pop);
  forged.put(Step::write_wake).put(~0U).put(~0U).put(Step::push).put(Ticket{2, 0, 0});
  forged.put(Step::wait).put(std::uint8_t{9}).put(Step::interrupt).put(Step::wait);
  forged.put(std::uint8_t{0});
  seeds.push_back({"forged", forged.bytes()});
  return seeds;
}

}  // namespace

Target ring() {
  return {"ring", &run, &seeds};
}

}  // namespace takt::fuzz
