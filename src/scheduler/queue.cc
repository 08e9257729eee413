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

template <TreeLinks WaitingRequest::* kLinks>
Load load_of(const RequestPool& pool, std::uint32_t node) {
  if (node == kNoRequest) return {};
  const TreeLinks& links = pool[node].*kLinks;
  return {links.rows, links.work_ns};
}

template <TreeLinks WaitingRequest::* kLinks>
void count(RequestPool& pool, std::uint32_t node) {
  WaitingRequest& request = pool[node];
  TreeLinks& links = request.*kLinks;
  const Load left = load_of<kLinks>(pool, links.left);
  const Load right = load_of<kLinks>(pool, links.right);
  links.rows = request.rows + left.rows + right.rows;
  links.work_ns = request.work_ns + left.work_ns + right.work_ns;
}

// Splits `node` into what is before `urgency` and the rest.
template <TreeLinks WaitingRequest::* kLinks>
void split(RequestPool& pool, std::uint32_t node, const Urgency& urgency, std::uint32_t& before,
           std::uint32_t& rest) {
  if (node == kNoRequest) {
    before = rest = kNoRequest;
    return;
  }
  TreeLinks& links = pool[node].*kLinks;
  if (pool[node].urgency < urgency) {
    before = node;
    split<kLinks>(pool, links.right, urgency, links.right, rest);
  } else {
    rest = node;
    split<kLinks>(pool, links.left, urgency, before, links.left);
  }
  count<kLinks>(pool, node);
}

// Joins two trees, all of `a` before all of `b`.
template <TreeLinks WaitingRequest::* kLinks>
std::uint32_t join(RequestPool& pool, std::uint32_t a, std::uint32_t b) {
  if (a == kNoRequest) return b;
  if (b == kNoRequest) return a;
  if (pool[a].weight >= pool[b].weight) {
    TreeLinks& links = pool[a].*kLinks;
    links.right = join<kLinks>(pool, links.right, b);
    count<kLinks>(pool, a);
    return a;
  }
  TreeLinks& links = pool[b].*kLinks;
  links.left = join<kLinks>(pool, a, links.left);
  count<kLinks>(pool, b);
  return b;
}

}  // namespace

template <TreeLinks WaitingRequest::* kLinks>
void UrgencyTree<kLinks>::insert(RequestPool& pool, std::uint32_t index) {
  const Urgency urgency = pool[index].urgency;
  std::uint32_t* link = &root_;
  while (*link != kNoRequest && pool[*link].weight >= pool[index].weight) {
    TreeLinks& node = pool[*link].*kLinks;
    node.rows += pool[index].rows;
    node.work_ns += pool[index].work_ns;
    link = urgency < pool[*link].urgency ? &node.left : &node.right;
  }
  TreeLinks& own = pool[index].*kLinks;
  split<kLinks>(pool, *link, urgency, own.left, own.right);
  count<kLinks>(pool, index);
  *link = index;
  if (first_ == kNoRequest || urgency < pool[first_].urgency) first_ = index;
}

template <TreeLinks WaitingRequest::* kLinks>
void UrgencyTree<kLinks>::erase(RequestPool& pool, std::uint32_t index) {
  const Urgency urgency = pool[index].urgency;
  std::uint32_t* link = &root_;
  while (*link != index) {
    TreeLinks& node = pool[*link].*kLinks;
    node.rows -= pool[index].rows;
    node.work_ns -= pool[index].work_ns;
    link = urgency < pool[*link].urgency ? &node.left : &node.right;
  }
  const TreeLinks own = pool[index].*kLinks;
  *link = join<kLinks>(pool, own.left, own.right);
  if (first_ != index) return;
  first_ = root_;
  while (first_ != kNoRequest && (pool[first_].*kLinks).left != kNoRequest) {
    first_ = (pool[first_].*kLinks).left;
  }
}

template <TreeLinks WaitingRequest::* kLinks>
std::uint32_t UrgencyTree<kLinks>::last(const RequestPool& pool) const {
  std::uint32_t node = root_;
  while (node != kNoRequest && (pool[node].*kLinks).right != kNoRequest) {
    node = (pool[node].*kLinks).right;
  }
  return node;
}

template <TreeLinks WaitingRequest::* kLinks>
Load UrgencyTree<kLinks>::load(const RequestPool& pool) const {
  return load_of<kLinks>(pool, root_);
}

template <TreeLinks WaitingRequest::* kLinks>
Load UrgencyTree<kLinks>::load_up_to(const RequestPool& pool, const Urgency& urgency) const {
  Load sum;
  for (std::uint32_t node = root_; node != kNoRequest;) {
    const WaitingRequest& request = pool[node];
    const TreeLinks& links = request.*kLinks;
    if (urgency < request.urgency) {
      node = links.left;
    } else {
      const Load left = load_of<kLinks>(pool, links.left);
      sum.rows += request.rows + left.rows;
      sum.work_ns += request.work_ns + left.work_ns;
      node = links.right;
    }
  }
  return sum;
}

template <TreeLinks WaitingRequest::* kLinks>
std::uint32_t UrgencyTree<kLinks>::first_after_rows(const RequestPool& pool,
                                                    std::int64_t rows) const {
  std::uint32_t found = kNoRequest;
  for (std::uint32_t node = root_; node != kNoRequest;) {
    const TreeLinks& links = pool[node].*kLinks;
    const std::int64_t before = load_of<kLinks>(pool, links.left).rows;
    if (before >= rows) {
      found = node;
      node = links.left;
    } else {
      rows -= before + pool[node].rows;
      node = links.right;
    }
  }
  return found;
}

template <TreeLinks WaitingRequest::* kLinks>
void UrgencyTree<kLinks>::append_to(const RequestPool& pool,
                                    std::vector<std::uint32_t>& requests) const {
  std::size_t next = requests.size();
  if (root_ != kNoRequest) requests.push_back(root_);
  for (; next < requests.size(); ++next) {
    const TreeLinks& links = pool[requests[next]].*kLinks;
    if (links.left != kNoRequest) requests.push_back(links.left);
    if (links.right != kNoRequest) requests.push_back(links.right);
  }
}

template class UrgencyTree<&WaitingRequest::in_queue>;
template class UrgencyTree<&WaitingRequest::in_pool>;

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
  for (const QueueTree& tree : trees_) rows += tree.load(*pool_).rows;
  return rows;
}

std::uint32_t ModelQueue::first() const {
  for (const QueueTree& tree : trees_) {
    if (tree.first() != kNoRequest) return tree.first();
  }
  return kNoRequest;
}

std::uint32_t ModelQueue::last() const {
  std::uint32_t found = kNoRequest;
  for (auto tree = trees_.rbegin(); found == kNoRequest && tree != trees_.rend(); ++tree) {
    found = tree->last(*pool_);
  }
  return found;
}

Load ModelQueue::load_up_to(const Urgency& urgency) const {
  const auto own = static_cast<std::size_t>(urgency.priority);
  Load sum = trees_[own].load_up_to(*pool_, urgency);
  for (std::size_t higher = 0; higher < own; ++higher) {
    const Load all = trees_[higher].load(*pool_);
    sum.rows += all.rows;
    sum.work_ns += all.work_ns;
  }
  return sum;
}

std::uint32_t ModelQueue::first_after_rows(std::int64_t rows) const {
  for (const QueueTree& tree : trees_) {
    const std::uint32_t found = tree.first_after_rows(*pool_, rows);
    if (found != kNoRequest) return found;
    rows -= tree.load(*pool_).rows;
  }
  return kNoRequest;
}

}  // namespace takt::scheduler
