// SPDX-License-Identifier: Apache-2.0
// The requests that wait for one model, in order of urgency, with row counts by prefix.
// Thread-safe: no; owned by one scheduler.
// Owns: RequestPool the waiting requests of all models; a queue only links them.
#pragma once

#include "core/ids.h"
#include "core/priority.h"
#include "core/time.h"

#include <array>
#include <compare>
#include <cstdint>
#include <vector>

namespace takt::scheduler {

// Smaller is more urgent: class, then earliest deadline, then the flow's turn, then order of arrival.
struct Urgency {
  PriorityClass priority = PriorityClass::background;
  TimePoint deadline = kNever;
  std::uint64_t turn = 0;  // of FairTurns; 0 with a deadline
  std::uint64_t arrival = 0;
  friend constexpr auto operator<=>(const Urgency&, const Urgency&) = default;
};

inline constexpr std::uint32_t kNoRequest = UINT32_MAX;

// A request's place in a tree, with what its subtree holds.
struct TreeLinks {
  std::uint32_t left = kNoRequest;
  std::uint32_t right = kNoRequest;
  std::int64_t rows = 0;
  std::int64_t work_ns = 0;
};

struct WaitingRequest {
  RequestId id;
  ModelId model;
  Urgency urgency;
  int rows = 1;
  std::int64_t bytes = 0;
  std::int64_t work_ns = 0;  // its part of full batches, at least, by the profile when it came
  std::uint32_t weight = 0;  // random: the heap order that balances the trees
  TreeLinks in_queue{};      // of its model
  TreeLinks in_pool{};       // of its model's devices
};

class RequestPool {
 public:
  std::uint32_t acquire(RequestId id, ModelId model, Urgency urgency, int rows,
                        std::int64_t bytes = 0);
  void release(std::uint32_t index) { free_.push_back(index); }
  [[nodiscard]] WaitingRequest& operator[](std::uint32_t index) { return requests_[index]; }
  [[nodiscard]] const WaitingRequest& operator[](std::uint32_t index) const {
    return requests_[index];
  }
  [[nodiscard]] std::size_t in_use() const noexcept { return requests_.size() - free_.size(); }

 private:
  std::vector<WaitingRequest> requests_;
  std::vector<std::uint32_t> free_;
};

// What the requests of a tree up to some urgency hold.
struct Load {
  std::int64_t rows = 0;
  std::int64_t work_ns = 0;
};

// A treap (Seidel and Aragon 1996) of one class: O(log n) expected for everything but first(),
// which is O(1). `kLinks` are those that it uses of each request.
template <TreeLinks WaitingRequest::* kLinks>
class UrgencyTree {
 public:
  void insert(RequestPool& pool, std::uint32_t index);
  void erase(RequestPool& pool, std::uint32_t index);
  [[nodiscard]] std::uint32_t first() const noexcept { return first_; }
  [[nodiscard]] std::uint32_t last(const RequestPool& pool) const;
  [[nodiscard]] Load load(const RequestPool& pool) const;
  // Of the requests that are at least as urgent.
  [[nodiscard]] Load load_up_to(const RequestPool& pool, const Urgency& urgency) const;
  // The most urgent request with at least `rows` rows before it; kNoRequest when there is none.
  [[nodiscard]] std::uint32_t first_after_rows(const RequestPool& pool, std::int64_t rows) const;
  // Every request of the tree, in no order that matters; O(n).
  void append_to(const RequestPool& pool, std::vector<std::uint32_t>& requests) const;

 private:
  std::uint32_t root_ = kNoRequest;
  std::uint32_t first_ = kNoRequest;
};

using QueueTree = UrgencyTree<&WaitingRequest::in_queue>;
using PoolTree = UrgencyTree<&WaitingRequest::in_pool>;
extern template class UrgencyTree<&WaitingRequest::in_queue>;
extern template class UrgencyTree<&WaitingRequest::in_pool>;

class ModelQueue {
 public:
  explicit ModelQueue(RequestPool& pool) : pool_(&pool) {}

  void insert(std::uint32_t index);
  void erase(std::uint32_t index);

  [[nodiscard]] int depth() const noexcept { return depth_; }
  [[nodiscard]] bool empty() const noexcept { return depth_ == 0; }
  [[nodiscard]] std::int64_t rows() const;
  [[nodiscard]] std::uint32_t first() const;  // kNoRequest when empty
  [[nodiscard]] std::uint32_t last() const;   // the least urgent one; O(log n)
  [[nodiscard]] std::uint32_t first_of(PriorityClass priority) const {
    return tree(priority).first();
  }
  [[nodiscard]] std::int64_t rows_up_to(const Urgency& urgency) const {
    return load_up_to(urgency).rows;
  }
  [[nodiscard]] Load load_up_to(const Urgency& urgency) const;
  [[nodiscard]] std::uint32_t first_after_rows(std::int64_t rows) const;
  void append_to(std::vector<std::uint32_t>& requests) const {
    for (const QueueTree& tree : trees_) tree.append_to(*pool_, requests);
  }

 private:
  [[nodiscard]] const QueueTree& tree(PriorityClass priority) const {
    return trees_[static_cast<std::size_t>(priority)];
  }

  RequestPool* pool_;
  std::array<QueueTree, kPriorityClassCount> trees_;
  int depth_ = 0;
};

}  // namespace takt::scheduler
