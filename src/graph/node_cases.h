// SPDX-License-Identifier: Apache-2.0
// ONNX's own node tests, which tests/models/make_onnx_node_tests.py writes: small models with inputs and the
// outputs that ONNX expects. For tests of whatever computes graphs.
// Thread-safe: functions that only read files.
// Owns: plain values.
#pragma once

#include "core/result.h"
#include "graph/graph.h"

#include <iosfwd>
#include <string>
#include <variant>
#include <vector>

namespace takt::graph {

struct NodeCase {
  std::string name;                    // "test_abs"
  std::vector<std::string> operators;  // of ONNX, that its model holds
};
void PrintTo(const NodeCase& node_case, std::ostream* out);  // for GoogleTest

// Sorted by name. Empty where there is no list; GoogleTest then reports a suite without tests. The folder is
// that of the environment variable TAKT_ONNX_NODE_TESTS, and without it the one of the build.
[[nodiscard]] std::vector<NodeCase> node_cases();

struct NodeTest {
  Graph graph;                     // as imported
  std::vector<Constant> inputs;    // as graph.inputs
  std::vector<Constant> expected;  // as graph.outputs
};

// That takt doesn't run a case, and is meant not to.
struct NotRun {
  std::string
      property;  // what tests/models/operators_table.py calls it: "unsupported" or "refused"
  std::string reason;
};

// Errors: a case that should be run can't be read or imported.
[[nodiscard]] Result<std::variant<NodeTest, NotRun>> read_node_case(const NodeCase& node_case);

// What is wrong with outputs; empty if they are as expected, floating point within what ONNX's runner allows.
[[nodiscard]] std::string difference(const std::vector<Constant>& actual,
                                     const std::vector<Constant>& expected);

}  // namespace takt::graph
