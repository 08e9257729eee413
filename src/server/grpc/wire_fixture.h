// SPDX-License-Identifier: Apache-2.0
// For tests: requests made with protobuf's own classes, their bytes in pieces, and slots that are counted.
// Thread-safe: no.
// Owns: plain values, and the pool that its calls' slots come from.
#pragma once

#include "memory/slot_pool.h"
#include "server/grpc/inference.pb.h"
#include "server/grpc/wire_reader.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace takt::server::rpc {

inline std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

template <typename T>
std::string raw(const std::vector<T>& elements) {
  return {reinterpret_cast<const char*>(elements.data()), elements.size() * sizeof(T)};
}

// Bytes in allocations of their own, so that the sanitizer sees the first byte outside of each.
class Split {
 public:
  Split(std::string_view whole, std::vector<std::size_t> sizes) {
    sizes.push_back(whole.size());
    for (const std::size_t size : sizes) {
      const std::string_view part = whole.substr(0, size);
      whole.remove_prefix(part.size());
      parts_.push_back(std::make_unique<std::byte[]>(part.size()));
      std::memcpy(parts_.back().get(), part.data(), part.size());
      pieces_.emplace_back(parts_.back().get(), part.size());
    }
  }
  [[nodiscard]] Pieces pieces() const { return pieces_; }

 private:
  std::vector<std::unique_ptr<std::byte[]>> parts_;
  std::vector<std::span<const std::byte>> pieces_;
};

class CallReader {
 public:
  ApiResult<InferCall> read(std::string_view bytes, std::vector<std::size_t> sizes = {}) {
    const Split split(bytes, std::move(sizes));
    return read_infer_request(split.pieces(), [this](std::size_t wanted) -> ApiResult<Slot> {
      ++asked;
      Result<Slot> slot = pool->acquire(wanted);
      if (slot) return std::move(*slot);
      return refuse(ApiCode::payload_too_large, slot.error().message);
    });
  }
  ApiResult<InferCall> read(const inference::ModelInferRequest& request) {
    return read(request.SerializeAsString());
  }

  std::shared_ptr<SlotPool> pool =
      SlotPool::create("wire-test", std::array{SizeClass{64 << 10, 8}}).value();
  int asked = 0;  // slots
};

inline bool same(const std::optional<SharedPlace>& a, const std::optional<SharedPlace>& b) {
  if (!a || !b) return a.has_value() == b.has_value();
  return a->region == b->region && a->offset == b->offset && a->bytes == b->bytes;
}

inline bool same(const InferCall& a, const InferCall& b) {
  return a.model == b.model && a.version == b.version && a.id == b.id && a.priority == b.priority &&
         a.timeout_us == b.timeout_us && a.sequence == b.sequence &&
         std::ranges::equal(a.inputs, b.inputs,
                            [](const CallInput& x, const CallInput& y) {
                              return x.name == y.name && x.type == y.type && x.shape == y.shape &&
                                     same(x.shared, y.shared) &&
                                     std::ranges::equal(x.bytes, y.bytes);
                            }) &&
         std::ranges::equal(a.outputs, b.outputs, [](const CallOutput& x, const CallOutput& y) {
           return x.name == y.name && x.classes == y.classes && same(x.shared, y.shared);
         });
}

inline inference::ModelInferRequest::InferInputTensor& add_input(
    inference::ModelInferRequest& request, const std::string& name, const std::string& type,
    const std::vector<std::int64_t>& shape) {
  auto& input = *request.add_inputs();
  input.set_name(name);
  input.set_datatype(type);
  for (const std::int64_t dimension : shape) input.add_shape(dimension);
  return input;
}

inline void add_raw_input(inference::ModelInferRequest& request, const std::string& name,
                          const std::string& type, const std::vector<std::int64_t>& shape,
                          std::string bytes) {
  add_input(request, name, type, shape);
  request.add_raw_input_contents(std::move(bytes));
}

inline void put_in_region(google::protobuf::Map<std::string, inference::InferParameter>& parameters,
                          const std::string& region, std::int64_t bytes, std::int64_t offset) {
  parameters["shared_memory_region"].set_string_param(region);
  parameters["shared_memory_byte_size"].set_int64_param(bytes);
  if (offset != 0) parameters["shared_memory_offset"].set_int64_param(offset);
}

// Changes, inserts, removes or repeats a few bytes.
inline std::string mutated(std::string bytes, std::mt19937& random) {
  const auto edits = 1 + random() % 4;
  for (std::size_t i = 0; i < edits && !bytes.empty(); ++i) {
    const std::size_t at = random() % bytes.size();
    const std::size_t length = 1 + random() % 8;
    switch (random() % 5) {
      case 0:
        bytes[at] = static_cast<char>(random());
        break;
      case 1:
        bytes[at] = static_cast<char>(bytes[at] ^ (1 << (random() % 8)));
        break;
      case 2:
        bytes.insert(at, bytes.substr(at, length));
        break;
      case 3:
        bytes.erase(at, length);
        break;
      default:
        bytes.resize(at);
        break;
    }
  }
  return bytes;
}

}  // namespace takt::server::rpc
