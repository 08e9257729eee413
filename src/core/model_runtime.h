// SPDX-License-Identifier: Apache-2.0
// A loaded version of a model with its open instances: what a worker hands to the engine.
// Thread-safe: plain values; moved, not shared.
// Owns: its instances (and through them the model's weights).
#pragma once

#include "core/inference.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace takt {

struct ModelRuntime {
  std::string name;
  std::int64_t version = 0;
  std::string backend;
  std::string backend_version;
  // What backends know it by, such as "cpu"; when it goes to the engine, one of the engine's names.
  std::string device;
  Signature signature;
  std::vector<std::size_t>
      output_bytes_max;               // room for one row of each output, in the signature's order
  std::vector<LatencyPoint> profile;  // rising batch sizes, the first is 1
  ModelMemory memory;
  std::vector<std::string> notes;  // LoadedModel::notes()
  std::vector<std::unique_ptr<Instance>> instances;
};

}  // namespace takt
