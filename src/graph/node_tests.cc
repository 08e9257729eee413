// SPDX-License-Identifier: Apache-2.0
// ONNX's own node tests: each model is imported and evaluated, and what comes out compared with
// what ONNX expects.
#include "graph/node_cases.h"
#include "graph/simplify.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <variant>

namespace takt::graph {
namespace {

class OnnxNode : public ::testing::TestWithParam<NodeCase> {};

void expect_outputs(const Graph& graph, const NodeTest& test) {
  const auto results = evaluate(graph, test.inputs);
  ASSERT_TRUE(results) << results.error().message;
  EXPECT_EQ(difference(*results, test.expected), "");
}

// The recorded properties are what tests/models/operators_table.py reads.
TEST_P(OnnxNode, GivesWhatOnnxExpects) {
  const NodeCase& node_case = GetParam();
  RecordProperty("operators", fmt::format("{}", fmt::join(node_case.operators, " ")));
  const auto read = read_node_case(node_case);
  ASSERT_TRUE(read) << read.error().message;
  if (const auto* const not_run = std::get_if<NotRun>(&*read)) {
    RecordProperty(not_run->property, not_run->reason);
    GTEST_SKIP() << not_run->property << ": " << not_run->reason;
  }
  const auto& test = std::get<NodeTest>(*read);
  expect_outputs(test.graph, test);
  const Result<Graph> simplified = simplify(test.graph);
  ASSERT_TRUE(simplified) << simplified.error().message;
  SCOPED_TRACE("simplified");
  expect_outputs(*simplified, test);
}

INSTANTIATE_TEST_SUITE_P(All, OnnxNode, ::testing::ValuesIn(node_cases()),
                         [](const auto& each) { return each.param.name; });

}  // namespace
}  // namespace takt::graph
