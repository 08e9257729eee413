// SPDX-License-Identifier: Apache-2.0
#include "memory/slot_pool.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cassert>
#include <cerrno>
#include <limits>
#include <mutex>
#include <system_error>
#include <utility>

#if defined(__has_feature)  // clang
#if __has_feature(address_sanitizer)
#define TAKT_ASAN
#endif
#elif defined(__SANITIZE_ADDRESS__)  // GCC
#define TAKT_ASAN
#endif
#if defined(TAKT_ASAN)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#endif

namespace takt {
namespace {

constexpr std::size_t kPageBytes = 4096;
// The address space of a process on x86-64; keeps every sum below from overflowing.
constexpr std::size_t kMappedBytesMax = std::size_t{1} << 46;

std::string errno_text() {
  return std::generic_category().message(errno);
}

struct SlotState {
  std::atomic<std::uint32_t> references{0};
  std::atomic<std::uint32_t> generation{0};
  std::uint32_t size_class = 0;
};

struct ClassState {
  std::size_t bytes = 0;            // constant
  std::uint32_t count = 0;          // constant
  std::uint32_t first = 0;          // constant: index of its first slot
  std::size_t offset = 0;           // constant: of its first slot in the mapping
  std::vector<std::uint32_t> free;  // last in, first out: the slot that is still in the cache
  std::uint32_t in_use_max = 0;

  [[nodiscard]] std::uint32_t in_use() const noexcept {
    return count - static_cast<std::uint32_t>(free.size());
  }
};

Result<std::vector<ClassState>> lay_out(std::string_view name, std::span<const SizeClass> classes) {
  const auto wrong = [&](const std::string& what) {
    return fail(ErrorKind::invalid_input, "slot pool '" + std::string(name) + "': " + what);
  };
  if (classes.empty()) return wrong("no size class; give at least one");
  std::vector<SizeClass> sorted(classes.begin(), classes.end());
  std::ranges::sort(sorted, {}, &SizeClass::bytes);
  std::vector<ClassState> laid_out;
  std::size_t offset = 0;
  std::uint64_t first = 0;
  for (const SizeClass& size_class : sorted) {
    if (size_class.bytes == 0 || size_class.count == 0)
      return wrong("a size class of " + std::to_string(size_class.count) + " x " +
                   std::to_string(size_class.bytes) + " bytes; both must be at least 1");
    const std::size_t bytes =
        (std::min(size_class.bytes, kMappedBytesMax) + kPageBytes - 1) / kPageBytes * kPageBytes;
    if (size_class.count > (kMappedBytesMax - offset) / bytes ||
        first + size_class.count > std::numeric_limits<std::uint32_t>::max())
      return fail(ErrorKind::out_of_memory, "slot pool '" + std::string(name) +
                                                "': " + std::to_string(size_class.count) +
                                                " slots of " + std::to_string(size_class.bytes) +
                                                " bytes don't fit into an address space");
    ClassState state;
    state.bytes = bytes;
    state.count = size_class.count;
    state.first = static_cast<std::uint32_t>(first);
    state.offset = offset;
    offset += state.bytes * state.count;
    first += state.count;
    laid_out.push_back(std::move(state));
  }
  return laid_out;
}

}  // namespace

struct SlotPool::State {
  State(std::string pool_name, std::vector<ClassState> laid_out)
      : name(std::move(pool_name)), classes(std::move(laid_out)) {
    const ClassState& last = classes.back();
    mapped_bytes = last.offset + last.bytes * last.count;
    slots = std::vector<SlotState>(last.first + last.count);
    for (std::uint32_t c = 0; c < classes.size(); ++c) {
      ClassState& size_class = classes[c];
      size_class.free.reserve(size_class.count);
      for (std::uint32_t i = size_class.count; i-- > 0;) {
        size_class.free.push_back(size_class.first + i);
        slots[size_class.first + i].size_class = c;
      }
    }
  }
  ~State() {
    if (base != nullptr) {
      ASAN_UNPOISON_MEMORY_REGION(base, mapped_bytes);
      ::munmap(base, mapped_bytes);
    }
    if (descriptor >= 0) ::close(descriptor);
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  Result<void> map(SlotSharing sharing) {
    descriptor = ::memfd_create(name.substr(0, 200).c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (descriptor < 0) return no_memory("memfd_create");
    if (::ftruncate(descriptor, static_cast<off_t>(mapped_bytes)) != 0)
      return no_memory("ftruncate");
    // Pages are committed at first touch: a class that is never used up costs only addresses.
    void* address = ::mmap(nullptr, mapped_bytes, PROT_READ | PROT_WRITE,
                           MAP_SHARED | MAP_NORESERVE, descriptor, 0);
    if (address == MAP_FAILED) return no_memory("mmap");
    base = static_cast<std::byte*>(address);
    // Writable mappings made before the seal, which is this one, stay.
    const int read_only = sharing == SlotSharing::read ? F_SEAL_FUTURE_WRITE : 0;
    if (::fcntl(descriptor, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | read_only) != 0)
      return no_memory("sealing");
    return {};
  }

  [[nodiscard]] std::unexpected<Error> no_memory(std::string_view call) const {
    return fail(ErrorKind::out_of_memory,
                "slot pool '" + name + "': " + std::string(call) + " of " +
                    std::to_string(mapped_bytes) + " bytes failed: " + errno_text() +
                    "; use fewer or smaller slots, or raise the limit on memory or files");
  }

  [[nodiscard]] std::span<std::byte> bytes_of(std::uint32_t index) const noexcept {
    const ClassState& size_class = classes[slots[index].size_class];
    const std::size_t in_class = index - size_class.first;
    return {base + size_class.offset + in_class * size_class.bytes, size_class.bytes};
  }

  // Constant:
  const std::string name;
  std::size_t mapped_bytes = 0;
  int descriptor = -1;
  std::byte* base = nullptr;

  // The free lists and high-water marks are guarded by mutex; slots are atomic.
  mutable std::mutex mutex;
  std::vector<ClassState> classes;
  std::vector<SlotState> slots;
};

SlotPool::SlotPool(std::unique_ptr<State> state) : state_(std::move(state)) {}
SlotPool::~SlotPool() = default;

Result<std::shared_ptr<SlotPool>> SlotPool::create(std::string name,
                                                   std::span<const SizeClass> classes,
                                                   SlotSharing sharing) {
  Result<std::vector<ClassState>> laid_out = lay_out(name, classes);
  if (!laid_out) return std::unexpected(std::move(laid_out.error()));
  auto state = std::make_unique<State>(std::move(name), std::move(*laid_out));
  if (Result<void> mapped = state->map(sharing); !mapped)
    return std::unexpected(std::move(mapped.error()));
  return std::shared_ptr<SlotPool>(new SlotPool(std::move(state)));
}

Result<Slot> SlotPool::acquire(std::size_t bytes) {
  std::unique_lock lock(state_->mutex);
  std::vector<ClassState>& classes = state_->classes;
  const auto fits = std::ranges::lower_bound(classes, bytes, {}, &ClassState::bytes);
  if (fits == classes.end())
    return fail(ErrorKind::invalid_input, "slot pool '" + state_->name +
                                              "': " + std::to_string(bytes) +
                                              " bytes asked for, but its largest class has " +
                                              std::to_string(classes.back().bytes));
  const auto available =
      std::find_if(fits, classes.end(), [](const ClassState& c) { return !c.free.empty(); });
  if (available == classes.end()) {
    const std::uint32_t count = fits->count;
    const bool larger = fits + 1 != classes.end();
    return fail(ErrorKind::out_of_memory,
                "slot pool '" + state_->name + "': all " + std::to_string(count) +
                    " slots of class " + std::to_string(fits->bytes) + " bytes" +
                    (larger ? ", and all of the larger classes," : "") +
                    " are in use; release results earlier or raise the count");
  }
  const std::uint32_t index = available->free.back();
  available->free.pop_back();
  available->in_use_max = std::max(available->in_use_max, available->in_use());
  lock.unlock();
  SlotState& slot = state_->slots[index];
  slot.generation.fetch_add(1, std::memory_order_relaxed);
  slot.references.store(1, std::memory_order_relaxed);
  const std::span<std::byte> room = state_->bytes_of(index);
  ASAN_UNPOISON_MEMORY_REGION(room.data(), room.size());
  return Slot(shared_from_this(), index);
}

std::vector<SizeClassUse> SlotPool::use() const {
  const std::scoped_lock lock(state_->mutex);
  std::vector<SizeClassUse> uses;
  for (const ClassState& c : state_->classes)
    uses.push_back({c.bytes, c.count, c.in_use(), c.in_use_max});
  return uses;
}

std::uint32_t SlotPool::in_use() const {
  const std::scoped_lock lock(state_->mutex);
  std::uint32_t sum = 0;
  for (const ClassState& c : state_->classes) sum += c.in_use();
  return sum;
}

int SlotPool::descriptor() const noexcept {
  return state_->descriptor;
}
std::span<std::byte> SlotPool::memory() const noexcept {
  return {state_->base, state_->mapped_bytes};
}

void SlotPool::retain(std::uint32_t index) noexcept {
  state_->slots[index].references.fetch_add(1, std::memory_order_relaxed);
}

void SlotPool::release(std::uint32_t index) noexcept {
  SlotState& slot = state_->slots[index];
  // acq_rel: whoever reuses the slot sees everything that its last holders did to it.
  const std::uint32_t before = slot.references.fetch_sub(1, std::memory_order_acq_rel);
  assert(before != 0);
  if (before != 1) return;
  const std::span<std::byte> room = state_->bytes_of(index);
  ASAN_POISON_MEMORY_REGION(room.data(), room.size());
  const std::scoped_lock lock(state_->mutex);
  state_->classes[slot.size_class].free.push_back(index);
}

Slot::Slot(std::shared_ptr<SlotPool> pool, std::uint32_t index) noexcept
    : pool_(std::move(pool)), index_(index) {}

Slot::Slot(const Slot& other) noexcept : pool_(other.pool_), index_(other.index_) {
  if (pool_) pool_->retain(index_);
}

Slot::Slot(Slot&& other) noexcept
    : pool_(std::move(other.pool_)), index_(std::exchange(other.index_, 0)) {}

Slot& Slot::operator=(Slot other) noexcept {
  std::swap(pool_, other.pool_);
  std::swap(index_, other.index_);
  return *this;
}

Slot::~Slot() {
  reset();
}

std::span<std::byte> Slot::bytes() const noexcept {
  return pool_ ? pool_->state_->bytes_of(index_) : std::span<std::byte>{};
}

std::uint32_t Slot::generation() const noexcept {
  return pool_ ? pool_->state_->slots[index_].generation.load(std::memory_order_relaxed) : 0;
}

void Slot::reset() noexcept {
  if (!pool_) return;
  pool_->release(index_);
  pool_.reset();
  index_ = 0;
}

}  // namespace takt
