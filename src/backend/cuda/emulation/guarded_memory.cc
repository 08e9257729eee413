// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/emulation/guarded_memory.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>

namespace takt::cuda::emulation {
namespace {

std::size_t page_bytes() {
  return static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}

std::size_t rounded_up(std::size_t size, std::size_t multiple) {
  return (size + multiple - 1) / multiple * multiple;
}

}  // namespace

Result<GuardedMemory> GuardedMemory::allocate(std::size_t size, Guard guard) {
  const std::size_t page = page_bytes();
  const std::size_t inner = rounded_up(size, page);
  void* const mapped =
      mmap(nullptr, inner + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) {
    return fail(ErrorKind::out_of_memory,
                fmt::format("no {} bytes for an emulated buffer; free memory", size));
  }
  GuardedMemory memory;
  memory.pages_ = {static_cast<std::byte*>(mapped), inner + 2 * page};
  if (inner > 0) {
    mprotect(memory.pages_.data() + page, inner, PROT_READ | PROT_WRITE);
    std::memset(memory.pages_.data() + page, 0xff, inner);
  }
  const std::size_t begin =
      guard == Guard::before ? page : page + inner - rounded_up(size, kAlignment);
  memory.bytes_ = memory.pages_.subspan(begin, size);
  return memory;
}

GuardedMemory& GuardedMemory::operator=(GuardedMemory&& other) noexcept {
  std::swap(pages_, other.pages_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

GuardedMemory::~GuardedMemory() {
  if (!pages_.empty()) munmap(pages_.data(), pages_.size());
}

void GuardedMemory::make_read_only() {
  const std::size_t page = page_bytes();
  const std::size_t inner = pages_.size() - 2 * page;
  if (inner > 0) mprotect(pages_.data() + page, inner, PROT_READ);
}

bool GuardedMemory::is_untouched_beside() const {
  const std::size_t page = page_bytes();
  const auto ones = [](std::byte byte) { return byte == std::byte{0xff}; };
  const auto inner = pages_.subspan(page, pages_.size() - 2 * page);
  const auto before = static_cast<std::size_t>(bytes_.data() - inner.data());
  return std::ranges::all_of(inner.first(before), ones) &&
         std::ranges::all_of(inner.subspan(before + bytes_.size()), ones);
}

std::string GuardedMemory::describe(std::uintptr_t address, std::string_view name) const {
  const auto first = reinterpret_cast<std::uintptr_t>(pages_.data());
  if (address < first || address >= first + pages_.size()) return "";
  const auto begin = reinterpret_cast<std::uintptr_t>(bytes_.data());
  const std::uintptr_t end = begin + bytes_.size();
  if (address < begin) return fmt::format("{} bytes before {}", begin - address, name);
  if (address >= end) return fmt::format("{} bytes behind {}", address - end, name);
  return fmt::format("byte {} of {}, which is only read", address - begin, name);
}

}  // namespace takt::cuda::emulation
