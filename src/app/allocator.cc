// SPDX-License-Identifier: Apache-2.0
// C++'s memory from mimalloc, with the exception that the ladder for want of memory waits for: Debian's
// mimalloc is built as C, and its own operator new ends the process in place of throwing.
// Thread-safe: every function. Owns: nothing.
#include <mimalloc.h>

#include <cstddef>
#include <new>

namespace {

// What goes on growing where a limit is set (RLIMIT_DATA) should be what is used, not what is put by.
[[maybe_unused]] const bool kCommitsWhatIsUsed = [] {
  mi_option_disable(mi_option_eager_commit);
  return true;
}();

void* take(std::size_t bytes) {
  void* const memory = mi_malloc(bytes);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

void* take_aligned(std::size_t bytes, std::align_val_t alignment) {
  void* const memory = mi_malloc_aligned(bytes, static_cast<std::size_t>(alignment));
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

void* operator new(std::size_t bytes) {
  return take(bytes);
}
void* operator new[](std::size_t bytes) {
  return take(bytes);
}
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  return take_aligned(bytes, alignment);
}
void* operator new[](std::size_t bytes, std::align_val_t alignment) {
  return take_aligned(bytes, alignment);
}
void* operator new(std::size_t bytes, const std::nothrow_t& /*tag*/) noexcept {
  return mi_malloc(bytes);
}
void* operator new[](std::size_t bytes, const std::nothrow_t& /*tag*/) noexcept {
  return mi_malloc(bytes);
}
void* operator new(std::size_t bytes, std::align_val_t alignment,
                   const std::nothrow_t& /*tag*/) noexcept {
  return mi_malloc_aligned(bytes, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t bytes, std::align_val_t alignment,
                     const std::nothrow_t& /*tag*/) noexcept {
  return mi_malloc_aligned(bytes, static_cast<std::size_t>(alignment));
}

void operator delete(void* memory) noexcept {
  mi_free(memory);
}
void operator delete[](void* memory) noexcept {
  mi_free(memory);
}
void operator delete(void* memory, std::size_t /*bytes*/) noexcept {
  mi_free(memory);
}
void operator delete[](void* memory, std::size_t /*bytes*/) noexcept {
  mi_free(memory);
}
void operator delete(void* memory, std::align_val_t /*alignment*/) noexcept {
  mi_free(memory);
}
void operator delete[](void* memory, std::align_val_t /*alignment*/) noexcept {
  mi_free(memory);
}
void operator delete(void* memory, std::size_t /*bytes*/, std::align_val_t /*alignment*/) noexcept {
  mi_free(memory);
}
void operator delete[](void* memory, std::size_t /*bytes*/,
                       std::align_val_t /*alignment*/) noexcept {
  mi_free(memory);
}
void operator delete(void* memory, const std::nothrow_t& /*tag*/) noexcept {
  mi_free(memory);
}
void operator delete[](void* memory, const std::nothrow_t& /*tag*/) noexcept {
  mi_free(memory);
}
