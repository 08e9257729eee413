// SPDX-License-Identifier: Apache-2.0
// The entry of a program of libFuzzer; TAKT_FUZZ_TARGET names its target.
#include "target.h"

#include <cstdint>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const takt::fuzz::Target target = takt::fuzz::TAKT_FUZZ_TARGET();
  target.run(std::as_bytes(std::span(data, size)));
  return 0;
}
