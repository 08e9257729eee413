// SPDX-License-Identifier: Apache-2.0
// Tensors of strings as a client or a worker wrote them.
#include "core/string_tensor.h"
#include "target.h"

#include <optional>

namespace takt::fuzz {
namespace {

// Writes an element into a room of exactly the size that it needs, and tries one byte less.
std::size_t write(std::span<std::byte> room, std::size_t used, std::string_view element) {
  const std::size_t end = used + kStringLengthBytes + element.size();
  require(!put_string(room.first(end - 1), used, element), "what has no room is not written");
  require(put_string(room.first(end), used, element) == end, "what has room is");
  return end;
}

void run(std::span<const std::byte> input) {
  // An allocation of this very size, so that the sanitizer sees the first byte outside.
  const Bytes bytes(input.begin(), input.end());
  Bytes written(bytes.size());
  StringElements elements(bytes);
  std::size_t count = 0;
  std::size_t used = 0;
  while (const std::optional<std::string_view> element = elements.next()) {
    require(used + kStringLengthBytes + element->size() <= bytes.size(), "elements lie inside");
    require(reinterpret_cast<const std::byte*>(element->data()) ==
                bytes.data() + used + kStringLengthBytes,
            "one follows the other");
    used = write(written, used, *element);
    ++count;
  }
  require(elements.ok() == (used == bytes.size()), "what is left is no element");
  require(!elements.next(), "the end stays the end");
  require(
      std::equal(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(used), written.begin()),
      "what was read is written as the same");
  require(check_strings(bytes, count).has_value() == elements.ok(), "all or none");
  require(!check_strings(bytes, count + 1), "no more than there are");
}

std::vector<Seed> seeds() {
  Bytes whole(64);
  std::size_t used = 0;
  for (const std::string_view element : {"takt", "", "42"}) {
    used = put_string(whole, used, element).value();
  }
  whole.resize(used);
  Bytes cut(whole.begin(), whole.end() - 1);
  Bytes lying = whole;
  lying[0] = std::byte{0xff};
  return {{"whole", whole}, {"cut", cut}, {"lying", lying}};
}

}  // namespace

Target string_tensor() {
  return {"string_tensor", &run, &seeds};
}

}  // namespace takt::fuzz
