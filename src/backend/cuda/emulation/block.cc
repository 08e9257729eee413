// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/emulation/block.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstring>

namespace takt::cuda::emulation {
namespace {

constexpr std::size_t kStackBytes = std::size_t{64} << 10U;
constexpr std::array kFaults{SIGSEGV, SIGBUS, SIGFPE, SIGILL};

// Signal handlers and the entries of contexts take no pointer to a block.
Block* running = nullptr;
sigjmp_buf after_fault;
int fault_signal = 0;
std::uintptr_t fault_address = 0;

void on_fault(int signal, siginfo_t* info, void* /*context*/) {
  fault_signal = signal;
  fault_address = reinterpret_cast<std::uintptr_t>(info->si_addr);
  siglongjmp(after_fault, 1);
}

// Ends at an inaccessible page, towards which it grows.
class Stack {
 public:
  Stack() : page_(static_cast<std::size_t>(sysconf(_SC_PAGESIZE))) {
    void* const mapped = mmap(nullptr, page_ + kStackBytes, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapped == MAP_FAILED) throw std::bad_alloc();
    begin_ = static_cast<std::byte*>(mapped);
    mprotect(begin_, page_, PROT_NONE);
  }
  ~Stack() { munmap(begin_, page_ + kStackBytes); }
  Stack(const Stack&) = delete;
  Stack& operator=(const Stack&) = delete;

  [[nodiscard]] stack_t span() const { return {begin_ + page_, 0, kStackBytes}; }

 private:
  std::size_t page_;
  std::byte* begin_ = nullptr;
};

enum class State : std::uint8_t { ready, at_barrier, at_cluster, at_exchange, ended };

// That a thread has begun.
struct Copy {
  void* to = nullptr;
  const void* from = nullptr;
  unsigned bytes = 0;
  unsigned group = 0;
};

void make(const Copy& copy) {
  if (copy.from == nullptr) {
    std::memset(copy.to, 0, copy.bytes);
  } else {
    std::memcpy(copy.to, copy.from, copy.bytes);
  }
}

}  // namespace

// A thread of the block. Its stack goes on with the same thread of the next block.
struct Block::Fiber {
  Stack stack;
  ucontext_t start{};
  std::jmp_buf at{};
  bool has_begun = false;
  State state = State::ready;
  Index thread;
  unsigned number = 0;  // of its block in the cluster
  unsigned lane = 0;
  std::vector<Copy> copies;
  unsigned closed = 0;  // groups of copies
  // At an exchange.
  const char* what = "";
  unsigned mask = 0;
  unsigned value = 0;
  std::array<unsigned, kWarp> received{};

  [[nodiscard]] std::string text() const {
    const std::string place = fmt::format("thread ({}, {})", thread.x, thread.y);
    switch (state) {
      case State::at_barrier:
        return place + " waits in __syncthreads";
      case State::at_cluster:
        return place + " waits for the cluster";
      case State::at_exchange:
        return fmt::format("{} waits in {} for the threads {:#010x} of its warp", place, what,
                           mask);
      case State::ended:
        return place + " has ended";
      case State::ready:
        break;
    }
    return place + " runs";
  }
};

// Takes the signals of faults, on a stack of their own: a kernel may have used up its thread's.
class Block::FaultHandlers {
 public:
  FaultHandlers() : stack_(SIGSTKSZ) {
    const stack_t stack{stack_.data(), 0, stack_.size()};
    sigaltstack(&stack, &stack_before_);
    struct sigaction action{};
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    for (std::size_t i = 0; i < kFaults.size(); ++i) sigaction(kFaults[i], &action, &before_[i]);
  }
  ~FaultHandlers() {
    for (std::size_t i = 0; i < kFaults.size(); ++i) sigaction(kFaults[i], &before_[i], nullptr);
    sigaltstack(&stack_before_, nullptr);
  }
  FaultHandlers(const FaultHandlers&) = delete;
  FaultHandlers& operator=(const FaultHandlers&) = delete;

 private:
  std::vector<std::byte> stack_;
  stack_t stack_before_{};
  std::array<struct sigaction, kFaults.size()> before_{};
};

Block::Block() = default;
Block::~Block() = default;

Result<void> Block::run(const std::function<void()>& kernel, const Launch& launch) {
  kernel_ = &kernel;
  launch_ = &launch;
  threads_ = std::size_t{launch.threads_x} * launch.threads_y;
  block_size = {launch.threads_x, launch.threads_y, 1};
  grid_size = {launch.blocks, 1, 1};
  failure_.clear();
  shown_ = 0;
  while (fibers_.size() < threads_ * launch.cluster) add_fiber();
  for (std::size_t i = 0; i < threads_ * launch.cluster; ++i) {
    const auto number = static_cast<unsigned>(i % threads_);
    fibers_[i]->thread = {number % launch.threads_x, number / launch.threads_x, 0};
    fibers_[i]->number = static_cast<unsigned>(i / threads_);
    fibers_[i]->lane = number % kWarp;
  }
  shared_.assign(launch.cluster, std::vector<std::byte>(launch.shared.size()));
  if (launch.blocks % launch.cluster != 0) {
    return fail(ErrorKind::internal, "blocks that are no whole number of clusters");
  }
  running = this;
  const FaultHandlers handlers;
  if (sigsetjmp(after_fault, 1) == 0) {
    run_blocks();
  } else {
    failure_ = fault_text();
  }
  if (failure_.empty()) return {};
  fibers_.clear();  // some have stopped amid a kernel
  return fail(ErrorKind::internal, failure_);
}

void Block::wait_for_block() {
  current_->state = State::at_barrier;
  leave();
}

const unsigned* Block::exchange(const char* what, unsigned mask, unsigned value) {
  current_->what = what;
  current_->mask = mask;
  current_->value = value;
  current_->state = State::at_exchange;
  leave();
  return current_->received.data();
}

unsigned Block::lane() const {
  return current_->lane;
}

void Block::wait_for_cluster() {
  current_->state = State::at_cluster;
  leave();
}

const void* Block::of_block(const void* at, unsigned number) {
  if (number == current_->number) return at;
  const auto block_of_it = std::span(fibers_).subspan(number * threads_, threads_);
  const auto has_ended = [](const auto& fiber) { return fiber->state == State::ended; };
  if (std::ranges::all_of(block_of_it, has_ended)) return nullptr;
  const auto offset = static_cast<const std::byte*>(at) - launch_->shared.data();
  return shared_.at(number).data() + offset;
}

void Block::copy_later(void* to, const void* from, unsigned bytes) {
  const Copy copy{to, from, bytes, current_->closed};
  if (launch_->order == Order::backwards) return make(copy);
  current_->copies.push_back(copy);
}

void Block::close_copies() {
  ++current_->closed;
}

void Block::wait_for_copies(unsigned open) {
  std::erase_if(current_->copies, [&](const Copy& copy) {
    if (copy.group + open >= current_->closed) return false;
    make(copy);
    return true;
  });
}

void Block::add_fiber() {
  fibers_.push_back(std::make_unique<Fiber>());
  Fiber& fiber = *fibers_.back();
  getcontext(&fiber.start);
  fiber.start.uc_stack = fiber.stack.span();
  fiber.start.uc_link = nullptr;
  makecontext(&fiber.start, [] { running->run_thread(); }, 0);
}

void Block::run_blocks() {
  const unsigned clusters = launch_->blocks / launch_->cluster;
  for (unsigned i = 0; i < clusters && failure_.empty(); ++i) {
    const unsigned cluster = launch_->order == Order::forwards ? i : clusters - 1 - i;
    run_cluster(cluster * launch_->cluster);
  }
}

void Block::run_cluster(unsigned first) {
  const std::size_t count = threads_ * launch_->cluster;
  for (std::size_t i = 0; i < count; ++i) {
    fibers_[i]->state = State::ready;
    fibers_[i]->copies.clear();
    fibers_[i]->closed = 0;
  }
  for (std::vector<std::byte>& shared : shared_) std::ranges::fill(shared, std::byte{0xff});
  std::ranges::fill(launch_->shared, std::byte{0xff});
  for (;;) {
    bool all_ended = true;
    for (std::size_t i = 0; i < count; ++i) {
      Fiber& fiber = *fibers_[launch_->order == Order::forwards ? i : count - 1 - i];
      block = {first + fiber.number, 0, 0};
      if (fiber.state == State::ready) resume(fiber);
      all_ended = all_ended && fiber.state == State::ended;
    }
    if (all_ended) return;
    if (!release()) {
      failure_ = stuck_text();
      return;
    }
  }
}

// Kernels have one place for the shared memory of all blocks.
void Block::show_shared_of(unsigned number) {
  if (number == shown_) return;
  std::ranges::copy(launch_->shared, shared_[shown_].begin());
  std::ranges::copy(shared_[number], launch_->shared.begin());
  shown_ = number;
}

// setjmp() and longjmp() between stacks, and no system call as swapcontext() makes. Nothing in these functions
// lives across a jump.
void Block::resume(Fiber& fiber) {
  current_ = &fiber;
  thread = fiber.thread;
  show_shared_of(fiber.number);
  if (_setjmp(scheduler_) != 0) return;
  if (fiber.has_begun) _longjmp(fiber.at, 1);
  fiber.has_begun = true;
  setcontext(&fiber.start);
}

void Block::leave() {
  if (_setjmp(current_->at) == 0) _longjmp(scheduler_, 1);
}

void Block::run_thread() {
  for (;;) {
    (*kernel_)();
    current_->state = State::ended;
    leave();
  }
}

// Lets those go on that have all met; false: there are none.
bool Block::release() {
  const auto all = std::span(fibers_).first(threads_ * launch_->cluster);
  bool any = false;
  for (std::size_t first = 0; first < all.size(); first += threads_) {
    any = release_block(all.subspan(first, threads_)) || any;
  }
  if (any) return true;
  const auto waits = [](const auto& fiber) { return fiber->state == State::at_cluster; };
  if (!std::ranges::all_of(all, waits)) return false;
  for (const auto& fiber : all) fiber->state = State::ready;
  return true;
}

bool Block::release_block(Threads own) {
  const auto waits = [](const auto& fiber) { return fiber->state == State::at_barrier; };
  if (std::ranges::all_of(own, waits)) {
    for (const auto& fiber : own) fiber->state = State::ready;
    return true;
  }
  bool any = false;
  for (std::size_t first = 0; first < own.size(); first += kWarp) {
    any = release_warp(own.subspan(first, std::min<std::size_t>(kWarp, own.size() - first))) || any;
  }
  return any;
}

// Whether all threads that the fiber waits for are there. Those that have ended aren't waited for.
bool Block::is_whole(const Fiber& fiber, Threads warp) {
  if ((fiber.mask >> fiber.lane & 1U) == 0) return false;
  return std::ranges::all_of(warp, [&](const auto& other) {
    if ((fiber.mask >> other->lane & 1U) == 0 || other->state == State::ended) return true;
    return other->state == State::at_exchange && other->mask == fiber.mask &&
           std::strcmp(other->what, fiber.what) == 0;
  });
}

void Block::hand_over(const Fiber& fiber, Threads warp) {
  std::array<unsigned, kWarp> values{};
  values.fill(~0U);
  const unsigned mask = fiber.mask;
  const auto each = [&](const auto& use) {
    for (const auto& other : warp) {
      if ((mask >> other->lane & 1U) != 0 && other->state != State::ended) use(*other);
    }
  };
  each([&](Fiber& other) { values[other.lane] = other.value; });
  each([&](Fiber& other) {
    other.received = values;
    other.state = State::ready;
  });
}

bool Block::release_warp(Threads warp) {
  bool any = false;
  for (const auto& fiber : warp) {
    if (fiber->state != State::at_exchange || !is_whole(*fiber, warp)) continue;
    hand_over(*fiber, warp);
    any = true;
  }
  return any;
}

std::string Block::stuck_text() const {
  const Fiber* waiting = nullptr;
  const auto all = std::span(fibers_).first(threads_ * launch_->cluster);
  for (const auto& fiber : all) {
    if (waiting == nullptr && fiber->state != State::ended) waiting = fiber.get();
  }
  const auto differs = [&](const auto& other) {
    return other->state != waiting->state || other->mask != waiting->mask;
  };
  const auto other = std::ranges::find_if(all, differs);
  const unsigned number = block.x / launch_->cluster * launch_->cluster + waiting->number;
  return fmt::format("block {} is stuck: {}; {}", number, waiting->text(),
                     other == all.end() ? "all others too" : "but " + (*other)->text());
}

std::string Block::fault_text() const {
  const std::string where =
      current_ == nullptr ? "" : fmt::format("thread ({}, {})", thread.x, thread.y);
  const bool is_access = fault_signal == SIGSEGV || fault_signal == SIGBUS;
  if (!is_access) {
    return fmt::format("block {}, {}: {}", block.x, where, strsignal(fault_signal));
  }
  const std::string what = launch_->describe ? launch_->describe(fault_address) : "";
  return fmt::format("block {}, {} reached for {:#x}{}", block.x, where, fault_address,
                     what.empty() ? "" : ", " + what);
}

}  // namespace takt::cuda::emulation
