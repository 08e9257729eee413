// SPDX-License-Identifier: Apache-2.0
#include "ipc/shared_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>
#include <system_error>

namespace takt::ipc {
namespace {

std::unexpected<Error> system_failure(const std::string& what) {
  return fail(ErrorKind::out_of_memory, what + ": " + std::generic_category().message(errno) +
                                            "; raise the limit on memory or files (ulimit -n, -v)");
}

Result<std::span<std::byte>> map_all(int file, std::size_t bytes, Access access) {
  const int protection = access == Access::write ? PROT_READ | PROT_WRITE : PROT_READ;
  void* const address = ::mmap(nullptr, bytes, protection, MAP_SHARED | MAP_NORESERVE, file, 0);
  if (address == MAP_FAILED) {
    return system_failure("can't map " + std::to_string(bytes) + " shared bytes");
  }
  return std::span(static_cast<std::byte*>(address), bytes);
}

}  // namespace

SharedMemory::~SharedMemory() {
  if (!bytes_.empty()) ::munmap(bytes_.data(), bytes_.size());
}

Result<SharedMemory> SharedMemory::create(const std::string& name, std::size_t bytes) {
  if (bytes == 0) return fail(ErrorKind::invalid_input, name + ": 0 bytes of shared memory");
  SharedMemory made;
  made.file_.reset(::memfd_create(name.substr(0, 200).c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!made.file_) return system_failure(name + ": can't make shared memory");
  if (::ftruncate(made.file_.get(), static_cast<off_t>(bytes)) != 0 ||
      ::fcntl(made.file_.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) != 0) {
    return system_failure(name + ": can't size shared memory");
  }
  Result<std::span<std::byte>> mapped = map_all(made.file_.get(), bytes, Access::write);
  if (!mapped) return std::unexpected(std::move(mapped).error().within(name));
  made.bytes_ = *mapped;
  return made;
}

Result<SharedMemory> SharedMemory::map(Descriptor file, Access access) {
  struct stat status{};
  if (::fstat(file.get(), &status) != 0 || status.st_size <= 0) {
    return fail(ErrorKind::invalid_input, "a descriptor that is no shared memory");
  }
  const int seals = ::fcntl(file.get(), F_GET_SEALS);
  if (seals < 0 || (seals & F_SEAL_SHRINK) == 0) {
    return fail(ErrorKind::invalid_input, "shared memory that its owner could still shorten");
  }
  Result<std::span<std::byte>> mapped =
      map_all(file.get(), static_cast<std::size_t>(status.st_size), access);
  if (!mapped) return std::unexpected(std::move(mapped).error());
  SharedMemory made;
  made.bytes_ = *mapped;  // the mapping outlives the descriptor
  return made;
}

}  // namespace takt::ipc
