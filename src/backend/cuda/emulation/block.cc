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

enum class State : std::uint8_t { ready, at_barrier, at_exchange, ended };

}  // namespace

// A thread of the block. Its stack goes on with the same thread of the next block.
struct Block::Fiber {
  Stack stack;
  ucontext_t start{};
  std::jmp_buf at{};
  bool has_begun = false;
  State state = State::ready;
  Index thread;
  unsigned lane = 0;
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
  while (fibers_.size() < threads_) add_fiber();
  for (std::size_t i = 0; i < threads_; ++i) {
    const auto number = static_cast<unsigned>(i);
    fibers_[i]->thread = {number % launch.threads_x, number / launch.threads_x, 0};
    fibers_[i]->lane = number % kWarp;
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

void Block::add_fiber() {
  fibers_.push_back(std::make_unique<Fiber>());
  Fiber& fiber = *fibers_.back();
  getcontext(&fiber.start);
  fiber.start.uc_stack = fiber.stack.span();
  fiber.start.uc_link = nullptr;
  makecontext(&fiber.start, [] { running->run_thread(); }, 0);
}

void Block::run_blocks() {
  const unsigned count = launch_->blocks;
  for (unsigned i = 0; i < count && failure_.empty(); ++i) {
    block = {launch_->order == Order::forwards ? i : count - 1 - i, 0, 0};
    if (!launch_->shared.empty()) std::memset(launch_->shared.data(), 0xff, launch_->shared.size());
    run_block();
  }
}

void Block::run_block() {
  for (std::size_t i = 0; i < threads_; ++i) fibers_[i]->state = State::ready;
  for (;;) {
    bool all_ended = true;
    for (std::size_t i = 0; i < threads_; ++i) {
      Fiber& fiber = *fibers_[launch_->order == Order::forwards ? i : threads_ - 1 - i];
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

// setjmp() and longjmp() between stacks, and no system call as swapcontext() makes. Nothing in these functions
// lives across a jump.
void Block::resume(Fiber& fiber) {
  current_ = &fiber;
  thread = fiber.thread;
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
  const auto all = std::span(fibers_).first(threads_);
  const auto waits = [](const auto& fiber) { return fiber->state == State::at_barrier; };
  if (std::ranges::all_of(all, waits)) {
    for (const auto& fiber : all) fiber->state = State::ready;
    return true;
  }
  bool any = false;
  for (std::size_t first = 0; first < threads_; first += kWarp) any = release_warp(first) || any;
  return any;
}

bool Block::release_warp(std::size_t first) {
  bool any = false;
  for (std::size_t i = first; i < std::min(first + kWarp, threads_); ++i) {
    if (fibers_[i]->state != State::at_exchange || !is_whole(*fibers_[i], first)) continue;
    hand_over(*fibers_[i], first);
    any = true;
  }
  return any;
}

// Whether all threads that the fiber waits for are there. Those that have ended aren't waited for.
bool Block::is_whole(const Fiber& fiber, std::size_t first) const {
  if ((fiber.mask >> fiber.lane & 1U) == 0) return false;
  for (std::size_t i = first; i < std::min(first + kWarp, threads_); ++i) {
    const Fiber& other = *fibers_[i];
    if ((fiber.mask >> other.lane & 1U) == 0 || other.state == State::ended) continue;
    const bool same = other.state == State::at_exchange && other.mask == fiber.mask &&
                      std::strcmp(other.what, fiber.what) == 0;
    if (!same) return false;
  }
  return true;
}

void Block::hand_over(const Fiber& fiber, std::size_t first) {
  std::array<unsigned, kWarp> values{};
  values.fill(~0U);
  const unsigned mask = fiber.mask;
  const auto each = [&](const auto& use) {
    for (std::size_t i = first; i < std::min(first + kWarp, threads_); ++i) {
      Fiber& other = *fibers_[i];
      if ((mask >> other.lane & 1U) != 0 && other.state != State::ended) use(other);
    }
  };
  each([&](Fiber& other) { values[other.lane] = other.value; });
  each([&](Fiber& other) {
    other.received = values;
    other.state = State::ready;
  });
}

std::string Block::stuck_text() const {
  const Fiber* waiting = nullptr;
  for (std::size_t i = 0; i < threads_ && waiting == nullptr; ++i) {
    if (fibers_[i]->state != State::ended) waiting = fibers_[i].get();
  }
  const auto all = std::span(fibers_).first(threads_);
  const auto differs = [&](const auto& other) {
    return other->state != waiting->state || other->mask != waiting->mask;
  };
  const auto other = std::ranges::find_if(all, differs);
  return fmt::format("block {} is stuck: {}; {}", block.x, waiting->text(),
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
