// SPDX-License-Identifier: Apache-2.0
#include "memory/frame_ring.h"

#include "core/suggest.h"

#include <array>
#include <string>

namespace takt {

std::string_view to_string(RingPolicy policy) noexcept {
  switch (policy) {
    case RingPolicy::block:
      return "block";
    case RingPolicy::drop_oldest:
      return "drop_oldest";
    case RingPolicy::drop_newest:
      return "drop_newest";
  }
  return "block";
}

Result<RingPolicy> parse_ring_policy(std::string_view name) {
  std::array<std::string, 3> names;
  std::size_t i = 0;
  for (const RingPolicy policy :
       {RingPolicy::block, RingPolicy::drop_oldest, RingPolicy::drop_newest}) {
    if (to_string(policy) == name) return policy;
    names[i++] = to_string(policy);
  }
  return fail(ErrorKind::invalid_input,
              "unknown ring policy '" + std::string(name) + "'" + suggestion(name, names));
}

}  // namespace takt
