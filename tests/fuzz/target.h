// SPDX-License-Identifier: Apache-2.0
// What a fuzz target is: a function that takes any bytes and ends the process when an invariant
// doesn't hold, and the seeds that its search begins with.
// Thread-safe: a target runs on one thread at a time.
// Owns: plain values.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

namespace takt::fuzz {

using Bytes = std::vector<std::byte>;

struct Seed {
  std::string name;  // of the file
  Bytes bytes;
};

struct Target {
  std::string name;  // of the folder below corpus/
  void (*run)(std::span<const std::byte> input);
  std::vector<Seed> (*seeds)();  // written by the encoding side
};

// One a file. A program of libFuzzer runs one of them, the unit test runs all.
[[nodiscard]] Target batch_wire();
[[nodiscard]] Target http_connection();
[[nodiscard]] Target http_parts();
[[nodiscard]] Target infer_request();
[[nodiscard]] Target json_call();
[[nodiscard]] Target model_config();
[[nodiscard]] Target onnx_import();
[[nodiscard]] Target picture();
[[nodiscard]] Target plan_file();
[[nodiscard]] Target review_decision();
[[nodiscard]] Target ring();
[[nodiscard]] Target slots();
[[nodiscard]] Target string_tensor();
[[nodiscard]] Target takt_yaml();
[[nodiscard]] Target worker_protocol();

inline void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "does not hold: %s\n", what);
  std::abort();
}

// Reads values from the input as long as there are any; then zeros.
class Input {
 public:
  explicit Input(std::span<const std::byte> bytes) : bytes_(bytes) {}

  [[nodiscard]] bool at_end() const noexcept { return bytes_.empty(); }
  [[nodiscard]] std::span<const std::byte> rest() const noexcept { return bytes_; }
  template <typename T>
  T take() {
    static_assert(std::is_trivially_copyable_v<T>);
    T value{};
    const std::size_t count = std::min(sizeof(T), bytes_.size());
    std::memcpy(&value, bytes_.data(), count);
    bytes_ = bytes_.subspan(count);
    return value;
  }

 private:
  std::span<const std::byte> bytes_;
};

// The counterpart, for seeds.
class Script {
 public:
  template <typename T>
  Script& put(const T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    const auto bytes = std::as_bytes(std::span(&value, 1));
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
    return *this;
  }
  Script& put_bytes(std::span<const std::byte> bytes) {
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
    return *this;
  }
  [[nodiscard]] Bytes bytes() const { return bytes_; }

 private:
  Bytes bytes_;
};

}  // namespace takt::fuzz
