// SPDX-License-Identifier: Apache-2.0
// A binary min-heap over small dense ids whose keys can change: O(log n) set and erase, O(1) top.
// Thread-safe: no.
// Owns: its keys; grows to the largest id and then allocates no more.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace takt::scheduler {

template <typename Key>
class IndexedHeap {
 public:
  [[nodiscard]] bool empty() const noexcept { return heap_.empty(); }
  [[nodiscard]] std::size_t size() const noexcept { return heap_.size(); }
  [[nodiscard]] bool contains(std::uint32_t id) const noexcept {
    return id < place_.size() && place_[id] != kAbsent;
  }
  [[nodiscard]] const Key& key(std::uint32_t id) const { return heap_[place_[id]].key; }
  [[nodiscard]] std::uint32_t top() const { return heap_.front().id; }
  [[nodiscard]] const Key& top_key() const { return heap_.front().key; }

  void set(std::uint32_t id, const Key& key) {
    if (id >= place_.size()) place_.resize(id + std::size_t{1}, kAbsent);
    if (place_[id] == kAbsent) {
      place_[id] = static_cast<std::uint32_t>(heap_.size());
      heap_.push_back({key, id});
      rise(heap_.size() - 1);
      return;
    }
    heap_[place_[id]].key = key;
    rise(place_[id]);
    sink(place_[id]);
  }

  void erase(std::uint32_t id) {
    if (!contains(id)) return;
    const std::size_t hole = place_[id];
    place_[id] = kAbsent;
    const Entry last = heap_.back();
    heap_.pop_back();
    if (hole == heap_.size()) return;
    put(hole, last);
    rise(hole);
    sink(place_[last.id]);
  }

 private:
  static constexpr std::uint32_t kAbsent = UINT32_MAX;
  struct Entry {
    Key key;
    std::uint32_t id;
  };

  // Equal keys are ordered by id, so that the order never depends on history.
  static bool before(const Entry& a, const Entry& b) {
    if (a.key < b.key) return true;
    if (b.key < a.key) return false;
    return a.id < b.id;
  }
  void put(std::size_t at, const Entry& entry) {
    heap_[at] = entry;
    place_[entry.id] = static_cast<std::uint32_t>(at);
  }
  void rise(std::size_t at) {
    const Entry entry = heap_[at];
    while (at > 0 && before(entry, heap_[(at - 1) / 2])) {
      put(at, heap_[(at - 1) / 2]);
      at = (at - 1) / 2;
    }
    put(at, entry);
  }
  void sink(std::size_t at) {
    const Entry entry = heap_[at];
    while (2 * at + 1 < heap_.size()) {
      std::size_t child = 2 * at + 1;
      if (child + 1 < heap_.size() && before(heap_[child + 1], heap_[child])) ++child;
      if (!before(heap_[child], entry)) break;
      put(at, heap_[child]);
      at = child;
    }
    put(at, entry);
  }

  std::vector<Entry> heap_;
  std::vector<std::uint32_t> place_;  // by id
};

}  // namespace takt::scheduler
