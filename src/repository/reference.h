// SPDX-License-Identifier: Apache-2.0
// Reference cases of a version: inputs with the outputs that a right execution gives.
// Thread-safe: pure functions and plain values.
// Owns: the tensors that were read.
#pragma once

#include "core/inference.h"
#include "core/result.h"
#include "core/tensor.h"
#include "repository/limits.h"

#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

namespace takt::repository {

// reference/tolerance.json. A value fits when |got - expected| <= absolute + relative * |expected|.
struct Tolerance {
  double absolute = 1e-4;
  double relative = 1e-3;
};

struct ReferenceTensor {
  std::string name;                // as in the signature
  DataType type = DataType::fp32;  // as stored; an input may be UINT8 whatever the model takes
  Shape shape;                     // rows first when the model has a batch dimension
  std::vector<std::byte> bytes;

  [[nodiscard]] TensorView view() const { return {type, shape, bytes}; }
};

struct ReferenceCase {
  std::string name;                      // the folder's
  std::int64_t rows = 1;                 // along the batch dimension; 1 without one
  std::vector<ReferenceTensor> inputs;   // in the order of the signature
  std::vector<ReferenceTensor> outputs;  // likewise
};

struct Reference {
  Tolerance tolerance;
  std::vector<ReferenceCase> cases;  // sorted by name; empty: the version has no reference
};

// Reads `folder`/tolerance.json and `folder`/CASE/{input,output}_K.pb[.gz] (ONNX TensorProto).
// Tensors are matched with the signature by their names, or by K where they have none. A folder
// that does not exist gives no cases. Errors: invalid_input, which names the file (damaged, too
// large, a type or shape that doesn't fit the signature, a missing input or output).
[[nodiscard]] Result<Reference> read_reference(const std::filesystem::path& folder,
                                               const Signature& signature,
                                               const Limits& limits = {});

}  // namespace takt::repository
