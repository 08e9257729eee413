// SPDX-License-Identifier: Apache-2.0
// ONNX into a Graph: opset 11 to 21, one batch size and one set of dimensions at a time, so that whatever
// computes shapes disappears.
// Thread-safe: pure functions.
// Owns: nothing.
#pragma once

#include "core/result.h"
#include "graph/graph.h"

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace onnx {
class ModelProto;
}

namespace takt::graph {

struct ImportOptions {
  // Shapes of inputs in place of the file's, by name; open dimensions must be fixed here or below.
  std::map<std::string, Shape> input_shapes;
  // Of dimensions that the file gives a name, such as "height".
  std::map<std::string, std::int64_t> dimensions;
  // Of an input's first dimension where the file leaves it open and nothing above fixes it; 0: none.
  std::int64_t batch = 0;
};

inline constexpr int kOpsetMin = 11;
inline constexpr int kOpsetMax = 21;

// Errors: invalid_input; the message names the node, its operator and the opset, and says what to do: an
// operator that takt's cuda backend doesn't know or sizes that depend on the data (run the model on the
// openvino backend), an open dimension (name it in the options), a damaged graph.
[[nodiscard]] Result<Graph> import_onnx(const onnx::ModelProto& model,
                                        const ImportOptions& options);
// Of a file, with weights that it keeps in others. Messages begin with the file.
[[nodiscard]] Result<Graph> import_onnx_file(const std::filesystem::path& file,
                                             const ImportOptions& options);

// Names of ONNX's operators that import_onnx takes, sorted.
[[nodiscard]] std::vector<std::string> supported_operators();

}  // namespace takt::graph
