// SPDX-License-Identifier: Apache-2.0
#include "scheduler/queue.h"

#include "scheduler/random.h"

namespace takt::scheduler {

std::uint32_t RequestPool::acquire(RequestId id, ModelId model, Urgency urgency, int rows,
                                   std::int64_t bytes) {
  std::uint32_t index = 0;
  if (free_.empty()) {
    index = static_cast<std::uint32_t>(requests_.size());
    requests_.emplace_back();
  } else {
    index = free_.back();
    free_.pop_back();
  }
  WaitingRequest& request = requests_[index];
  request = {.id = id, .model = model, .urgency = urgency, .rows = rows, .bytes = bytes};
  // From the arrival number, not from a generator: the same events give the same tree.
  request.weight = static_cast<std::uint32_t>(mix64(urgency.arrival) >> 32U);
  return index;
}

namespace {

std::int64_t rows_of(const RequestPool& pool, std::uint32_t node) {
  return node == kNoRequest ? 0 : pool[node].subtree_rows;
}

void count(RequestPool& pool, std::uint32_t node) {
  WaitingRequest& request = pool[node];
  request.subtree_rows = request.rows + rows_of(pool, request.left) + rows_of(pool, request.right);
}

// Splits `node` into what is before `urgency` and the rest.
void split(RequestPool& pool, std::uint32_t node, const Urgency& urgency, std::uint32_t& before,
           std::uint32_t& rest) {
  if (node == kNoRequest) {
    before = rest = kNoRequest;
  } else if (pool[node].urgency < urgency) {
    before = node;
    split(pool, pool[node].right, urgency, pool[node].right, rest);
    count(pool, node);
  } else {
    rest = node;
    split(pool, pool[node].left, urgency, before, pool[node].left);
    count(pool, node);
  }
}

// Joins two trees, all of `a` before all of `b`.
std::uint32_t join(RequestPool& pool, std::uint32_t a, std::uint32_t b) {
  if (a == kNoRequest) return b;
  if (b == kNoRequest) return a;
  if (pool[a].weight >= pool[b].weight) {
    pool[a].right = join(pool, pool[a].right, b);
    count(pool, a);
    return a;
  }
  pool[b].left = join(pool, a, pool[b].left);
  count(pool, b);
  return b;
}

}  // namespace

void UrgencyTree::insert(RequestPool& pool, std::uint32_t index) {
  const Urgency urgency = pool[index].urgency;
  std::uint32_t* link = &root_;
  while (*link != kNoRequest && pool[*link].weight >= pool[index].weight) {
    WaitingRequest& node = pool[*link];
    node.subtree_rows += pool[index].rows;
    link = urgency < node.urgency ? &node.left : &node.right;
  }
  split(pool, *link, urgency, pool[index].left, pool[index].right);
  count(pool, index);
  *link = index;
  if (first_ == kNoRequest || urgency < pool[first_].urgency) first_ = index;
}

void UrgencyTree::erase(RequestPool& pool, std::uint32_t index) {
  const Urgency urgency = pool[index].urgency;
  std::uint32_t* link = &root_;
  while (*link != index) {
    WaitingRequest& node = pool[*link];
    node.subtree_rows -= pool[index].rows;
    link = urgency < node.urgency ? &node.left : &node.right;
  }
  *link = join(pool, pool[index].left, pool[index].right);
  if (first_ != index) return;
  first_ = root_;
  while (first_ != kNoRequest && pool[first_].left != kNoRequest) first_ = pool[first_].left;
}

std::int64_t UrgencyTree::rows(const RequestPool& pool) const {
  return rows_of(pool, root_);
}

std::int64_t UrgencyTree::rows_up_to(const RequestPool& pool, const Urgency& urgency) const {
  std::int64_t rows = 0;
  for (std::uint32_t node = root_; node != kNoRequest;) {
    const WaitingRequest& request = pool[node];
    if (urgency < request.urgency) {
      node = request.left;
    } else {
      rows += request.rows + rows_of(pool, request.left);
      node = request.right;
    }
  }
  return rows;
}

std::uint32_t UrgencyTree::first_after_rows(const RequestPool& pool, std::int64_t rows) const {
  std::uint32_t found = kNoRequest;
  for (std::uint32_t node = root_; node != kNoRequest;) {
    const WaitingRequest& request = pool[node];
    const std::int64_t before = rows_of(pool, request.left);
    if (before >= rows) {
      found = node;
      node = request.left;
    } else {
      rows -= before + request.rows;
      node = request.right;
    }
  }
  return found;
}

void ModelQueue::insert(std::uint32_t index) {
  trees_[static_cast<std::size_t>((*pool_)[index].urgency.priority)].insert(*pool_, index);
  ++depth_;
}

void ModelQueue::erase(std::uint32_t index) {
  trees_[static_cast<std::size_t>((*pool_)[index].urgency.priority)].erase(*pool_, index);
  --depth_;
}

std::int64_t ModelQueue::rows() const {
  std::int64_t rows = 0;
  for (const UrgencyTree& tree : trees_) rows += tree.rows(*pool_);
  return rows;
}

std::uint32_t ModelQueue::first() const {
  for (const UrgencyTree& tree : trees_) {
    if (tree.first() != kNoRequest) return tree.first();
  }
  return kNoRequest;
}

std::int64_t ModelQueue::rows_up_to(const Urgency& urgency) const {
  std::int64_t rows = 0;
  const auto own = static_cast<std::size_t>(urgency.priority);
  for (std::size_t higher = 0; higher < own; ++higher) rows += trees_[higher].rows(*pool_);
  return rows + trees_[own].rows_up_to(*pool_, urgency);
}

std::uint32_t ModelQueue::first_after_rows(std::int64_t rows) const {
  for (const UrgencyTree& tree : trees_) {
    const std::uint32_t found = tree.first_after_rows(*pool_, rows);
    if (found != kNoRequest) return found;
    rows -= tree.rows(*pool_);
  }
  return kNoRequest;
}

}  // namespace takt::scheduler
