// SPDX-License-Identifier: Apache-2.0
// Places in shared memory as another process names them, and slots while they come and go.
#include "ipc/region_table.h"
#include "ipc/shared_memory.h"
#include "memory/slot_pool.h"
#include "target.h"

#include <fcntl.h>

#include <array>
#include <bit>
#include <cstdint>
#include <map>
#include <memory>

namespace takt::fuzz {
namespace {

enum class Part : std::uint8_t { places, addresses, pool, count };

// Allocations of exactly these sizes, so that the sanitizer sees the first byte outside.
class Regions {
 public:
  explicit Regions(Input& input) {
    const int count = input.take<std::uint8_t>() % 4;
    for (int i = 0; i < count; ++i) {
      sizes_.push_back(input.take<std::uint8_t>());
      memory_.push_back(std::make_unique<std::byte[]>(sizes_.back()));
      table_.add({memory_.back().get(), sizes_.back()});
    }
  }

  void look_at(const ipc::Place& place, std::uint64_t bytes) const {
    const std::span<std::byte> found = table_.at(place, bytes);
    const bool inside = place.region < sizes_.size() && place.offset <= sizes_[place.region] &&
                        bytes <= sizes_[place.region] - place.offset;
    require(found.size() == (inside ? bytes : 0), "a place is given as a whole or not at all");
    if (found.empty()) return;
    require(found.data() == memory_[place.region].get() + place.offset, "a place is where it says");
    found.front() = found.back();  // the sanitizer looks
    require(table_.find(found.data(), found.size()) == place, "a place is found again");
  }

  void look_for(std::size_t region, std::int16_t delta, std::uint64_t bytes) const {
    if (region >= sizes_.size()) return;
    const auto base = reinterpret_cast<std::uintptr_t>(memory_[region].get());
    // Not by adding to the pointer: that is undefined outside of the allocation.
    const auto* const address =
        std::bit_cast<const std::byte*>(base + static_cast<std::uintptr_t>(delta));
    const std::optional<ipc::Place> place = table_.find(address, bytes);
    if (place) {
      require(bytes == 0 || table_.at(*place, bytes).data() == address, "what is found is there");
    }
    const bool begins = delta >= 0 && static_cast<std::size_t>(delta) < sizes_[region];
    const bool inside = begins && bytes <= sizes_[region] - static_cast<std::size_t>(delta);
    require(!begins || place.has_value() == inside, "what lies in a region is found, and no more");
  }

 private:
  std::vector<std::size_t> sizes_;
  std::vector<std::unique_ptr<std::byte[]>> memory_;
  ipc::RegionTable table_;
};

constexpr std::array<SizeClass, 2> kClasses{{{4096, 3}, {8192, 2}}};

// A pool as its owner sees it, beside the mapping of the process that it is shared with.
class Pool {
 public:
  Pool() {
    theirs_.add(mapped_.bytes());
    ours_.add(pool_->memory());
  }

  void acquire(std::size_t bytes) {
    std::size_t left = 0;  // slots that are large enough
    for (const SizeClassUse& use : pool_->use()) {
      if (use.bytes >= bytes) left += use.count - use.in_use;
    }
    Result<Slot> slot = pool_->acquire(bytes);
    require(slot.has_value() == (left > 0), "a pool gives what it has");
    if (!slot) return;
    require(slot->bytes().size() >= bytes, "a slot holds what was asked for");
    for (const Held& held : held_)
      require(held.slot.index() != slot->index(), "a slot has one use");
    require(slot->generation() == ++generations_[slot->index()], "each use is a generation");
    const auto mark = static_cast<std::byte>(++marks_);
    slot->bytes().front() = slot->bytes().back() = mark;
    held_.push_back({std::move(*slot), mark});
  }

  void copy(std::size_t which) {
    if (held_.empty() || held_.size() > 32) return;
    const Held& held = held_[which % held_.size()];
    const Slot second = held.slot;
    const std::uint32_t in_use = pool_->in_use();
    require(second.generation() == held.slot.generation(), "a copy is the same use");
    held_[which % held_.size()].slot = second;
    require(pool_->in_use() == in_use, "copies take no slot");
  }

  void drop(std::size_t which) {
    if (held_.empty()) return;
    const auto held = held_.begin() + static_cast<std::ptrdiff_t>(which % held_.size());
    const std::span<std::byte> bytes = held->slot.bytes();
    require(bytes.front() == held->mark && bytes.back() == held->mark, "a slot keeps its content");
    const std::optional<ipc::Place> place = ours_.find(bytes.data(), bytes.size());
    require(place.has_value(), "a slot lies in its pool");
    const std::span<std::byte> seen = theirs_.at(*place, bytes.size());
    require(seen.size() == bytes.size() && seen.front() == held->mark,
            "the other process sees it at the same place");
    const std::uint32_t in_use = pool_->in_use();
    held_.erase(held);
    require(pool_->in_use() == in_use - 1, "a slot returns");
  }

  void drop_all() {
    while (!held_.empty()) drop(0);
    require(pool_->in_use() == 0, "nothing is left");
  }

 private:
  struct Held {
    Slot slot;
    std::byte mark{};
  };

  const std::shared_ptr<SlotPool> pool_ = SlotPool::create("takt fuzz", kClasses).value();
  const ipc::SharedMemory mapped_ =
      ipc::SharedMemory::map(ipc::Descriptor(::fcntl(pool_->descriptor(), F_DUPFD_CLOEXEC, 0)),
                             ipc::Access::read)
          .value();
  ipc::RegionTable ours_;
  ipc::RegionTable theirs_;
  std::vector<Held> held_;
  std::map<std::uint32_t, std::uint32_t> generations_;
  int marks_ = 0;
};

void run_pool(Input& input) {
  Pool pool;
  for (int steps = 0; !input.at_end() && steps < 256; ++steps) {
    const int step = input.take<std::uint8_t>() % 4;
    if (step <= 1) pool.acquire(input.take<std::uint16_t>());
    if (step == 2) pool.copy(input.take<std::uint8_t>());
    if (step == 3) pool.drop(input.take<std::uint8_t>());
  }
  pool.drop_all();
}

void run(std::span<const std::byte> bytes) {
  Input input(bytes);
  const auto part = static_cast<Part>(input.take<std::uint8_t>() % static_cast<int>(Part::count));
  if (part == Part::pool) return run_pool(input);
  const Regions regions(input);
  while (!input.at_end()) {
    const auto region = input.take<std::uint64_t>();
    if (part == Part::places) {
      const auto offset = input.take<std::uint64_t>();
      regions.look_at({region, offset}, input.take<std::uint64_t>());
    } else {
      const auto delta = input.take<std::int16_t>();
      regions.look_for(region, delta, input.take<std::uint64_t>());
    }
  }
}

std::vector<Seed> seeds() {
  std::vector<Seed> seeds;
  Script places;
  places.put(Part::places).put(std::uint8_t{2}).put(std::uint8_t{64}).put(std::uint8_t{10});
  for (const std::uint64_t offset : {std::uint64_t{0}, std::uint64_t{60}, ~std::uint64_t{0}}) {
    for (const std::uint64_t bytes : {std::uint64_t{4}, std::uint64_t{64}, ~std::uint64_t{0}}) {
      places.put(std::uint64_t{0}).put(offset).put(bytes);
    }
  }
  places.put(std::uint64_t{2}).put(std::uint64_t{0}).put(std::uint64_t{1});
  seeds.push_back({"places", places.bytes()});
  Script addresses;
  addresses.put(Part::addresses).put(std::uint8_t{1}).put(std::uint8_t{64});
  for (const std::int16_t delta :
       {std::int16_t{-1}, std::int16_t{0}, std::int16_t{63}, std::int16_t{64}}) {
    addresses.put(std::uint64_t{0}).put(delta).put(std::uint64_t{1});
  }
  seeds.push_back({"addresses", addresses.bytes()});
  Script pool;
  pool.put(Part::pool);
  for (int i = 0; i < 6; ++i) pool.put(std::uint8_t{0}).put(std::uint16_t{4000});
  pool.put(std::uint8_t{2}).put(std::uint8_t{1}).put(std::uint8_t{3}).put(std::uint8_t{2});
  pool.put(std::uint8_t{0}).put(std::uint16_t{8192}).put(std::uint8_t{0}).put(std::uint16_t{9000});
  seeds.push_back({"pool", pool.bytes()});
  return seeds;
}

}  // namespace

Target slots() {
  return {"slots", &run, &seeds};
}

}  // namespace takt::fuzz
