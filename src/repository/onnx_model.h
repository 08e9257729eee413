// SPDX-License-Identifier: Apache-2.0
// What an ONNX file says of itself: inputs, outputs, opset, producer. Nothing is executed.
// Thread-safe: pure functions and plain values.
// Owns: plain values; the weights are dropped after reading.
#pragma once

#include "core/result.h"
#include "core/tensor.h"
#include "repository/limits.h"

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace takt::repository {

struct OnnxTensor {
  std::string name;
  DataType type = DataType::fp32;
  bool shape_known = true;              // false: the file does not even give a rank
  Shape shape;                          // batch dimension included; -1 where it is not fixed
  std::vector<std::string> dim_params;  // as long as shape; "" where there is no name
};

struct OnnxModel {
  std::int64_t ir_version = 0;
  std::int64_t opset = 0;          // of the default domain
  std::string producer;            // "pytorch 2.8.0"
  std::vector<OnnxTensor> inputs;  // what must be fed: without initializers
  std::vector<OnnxTensor> outputs;
};

// Errors: invalid_input for a file that is missing, empty, too large, truncated or not ONNX (the
// message says what was found instead), whose external data is missing or lies outside its folder,
// or whose inputs or outputs are no tensors of a known type; internal when reading fails.
[[nodiscard]] Result<OnnxModel> read_onnx(const std::filesystem::path& file,
                                          const Limits& limits = {});

}  // namespace takt::repository
