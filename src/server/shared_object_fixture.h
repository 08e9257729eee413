// SPDX-License-Identifier: Apache-2.0
// A shared-memory object as a client makes one.
// Thread-safe: no.
// Owns: the object, which is gone with it. Its name carries the process, so that tests may run at once.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <span>
#include <string>
#include <vector>

namespace takt::server_test {

class SharedObject {
 public:
  SharedObject(const std::string& name, std::size_t bytes)
      : key_("/" + name + "-" + std::to_string(::getpid())),
        descriptor_(::shm_open(key_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600)) {
    EXPECT_GE(descriptor_, 0);
    resize(bytes);
  }
  ~SharedObject() {
    ::close(descriptor_);
    ::shm_unlink(key_.c_str());
  }
  SharedObject(const SharedObject&) = delete;
  SharedObject& operator=(const SharedObject&) = delete;

  [[nodiscard]] const std::string& key() const { return key_; }
  void resize(std::size_t bytes) const {
    EXPECT_EQ(::ftruncate(descriptor_, static_cast<off_t>(bytes)), 0);
  }
  [[nodiscard]] std::size_t size() const {
    return static_cast<std::size_t>(::lseek(descriptor_, 0, SEEK_END));
  }
  void write(std::size_t offset, std::span<const std::byte> bytes) const {
    EXPECT_EQ(::pwrite(descriptor_, bytes.data(), bytes.size(), static_cast<off_t>(offset)),
              static_cast<ssize_t>(bytes.size()));
  }
  [[nodiscard]] std::vector<std::byte> read(std::size_t offset, std::size_t bytes) const {
    std::vector<std::byte> got(bytes);
    EXPECT_EQ(::pread(descriptor_, got.data(), bytes, static_cast<off_t>(offset)),
              static_cast<ssize_t>(bytes));
    return got;
  }

 private:
  const std::string key_;
  const int descriptor_;
};

}  // namespace takt::server_test
