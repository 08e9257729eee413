// SPDX-License-Identifier: Apache-2.0
// What a model repository may ask of the process that reads it.
// Thread-safe: plain values.
// Owns: nothing.
#pragma once

#include <cstddef>
#include <cstdint>

namespace takt::repository {

struct Limits {
  std::size_t config_bytes_max = std::size_t{256} * 1024;  // config.pbtxt; real ones have a few KiB
  // protobuf can't hold a message of 2 GiB; larger models keep their weights in external files.
  std::uint64_t onnx_bytes_max = (std::uint64_t{1} << 31) - 1;
  std::size_t models_max = 1024;         // folders of one repository
  std::size_t versions_max = 256;        // folders of one model
  std::size_t reference_cases_max = 64;  // of one version
  // All tensors of a version, unpacked.
  std::uint64_t reference_bytes_max = std::uint64_t{256} * 1024 * 1024;
};

}  // namespace takt::repository
