// SPDX-License-Identifier: Apache-2.0
// ONNX's own node tests: each model is lowered, there is a kernel for each of its steps, and the program, run
// on the CPU, gives what ONNX expects. The kernels are compiled.
#include "backend/cuda/compile/host_run.h"
#include "backend/cuda/device.h"
#include "backend/cuda/device_tests/node_programs.h"
#include "backend/cuda/kernels/compiler_fixture.h"
#include "backend/cuda/kernels/step_code.h"
#include "graph/node_cases.h"
#include "graph/simplify.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <cstddef>
#include <set>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace takt::cuda {
namespace {

using graph::NodeTest;
using graph::NotRun;

class NodeOnHost : public ::testing::TestWithParam<graph::NodeCase> {
 protected:
  void tell(const NotRun& why) {
    RecordProperty(why.property, why.reason);
    GTEST_SKIP() << why.property << ": " << why.reason;
  }
  void expect_outputs(const graph::Graph& graph, const NodeTest& test) {
    const auto program = node_program(graph);
    ASSERT_TRUE(program) << program.error().message;
    if (const auto* const not_run = std::get_if<NotRun>(&*program)) return tell(*not_run);
    const auto results = run_on_host(std::get<Program>(*program), test.inputs);
    ASSERT_TRUE(results) << results.error().message;
    EXPECT_EQ(graph::difference(*results, test.expected), "");
  }
};

TEST_P(NodeOnHost, GivesWhatOnnxExpects) {
  RecordProperty("operators", fmt::format("{}", fmt::join(GetParam().operators, " ")));
  const auto read = graph::read_node_case(GetParam());
  ASSERT_TRUE(read) << read.error().message;
  if (const auto* const not_run = std::get_if<NotRun>(&*read)) return tell(*not_run);
  const auto& test = std::get<NodeTest>(*read);
  expect_outputs(test.graph, test);
  const Result<graph::Graph> simplified = graph::simplify(test.graph);
  ASSERT_TRUE(simplified) << simplified.error().message;
  SCOPED_TRACE("simplified");
  expect_outputs(*simplified, test);
}

// The programs of all cases.
std::vector<Program> all_programs() {
  std::vector<Program> programs;
  for (const graph::NodeCase& node_case : graph::node_cases()) {
    const auto read = graph::read_node_case(node_case);
    const auto* const test = read ? std::get_if<NodeTest>(&*read) : nullptr;
    if (test == nullptr) continue;
    const Result<graph::Graph> simplified = graph::simplify(test->graph);
    if (!simplified) continue;
    auto program = node_program(*simplified);
    if (auto* const made = program ? std::get_if<Program>(&*program) : nullptr) {
      programs.push_back(std::move(*made));
    }
  }
  return programs;
}

// The texts of kernels, each with names of its own. Of those that differ in nothing but numbers the first.
std::vector<std::string> different_kernels() {
  const auto text_of = [](const Step& step, const std::string& name) {
    std::string text;
    const Result<StepCode> code = step_code(step, name);
    if (!code) return text;  // node_program() has asked already
    for (const KernelCall& call : code->calls) text += call.source.text;
    return text;
  };
  std::set<std::string> known;
  std::vector<std::string> kernels;
  for (const Program& program : all_programs()) {
    for (const Step& step : program.steps) {
      std::string kind = text_of(step, "any");
      std::erase_if(kind, [](unsigned char letter) { return std::isdigit(letter) != 0; });
      if (!known.insert(std::move(kind)).second) continue;
      kernels.push_back(text_of(step, "k" + std::to_string(kernels.size())));
    }
  }
  return kernels;
}

// Run on a GPU only.
TEST(NodeKernels, CompileForTheOldestDevice) {
  constexpr std::size_t kernels_of_a_source = 50;
  TAKT_SKIP_COMPILING_WHERE_SANITIZED();
  const auto nvrtc = project_compiler();
  ASSERT_TRUE(nvrtc) << nvrtc.error().message;
  const std::vector<std::string> kernels = different_kernels();
  for (std::size_t begin = 0; begin < kernels.size(); begin += kernels_of_a_source) {
    const std::size_t end = std::min(kernels.size(), begin + kernels_of_a_source);
    std::string source = "#include <takt_kernel.h>\n";
    for (std::size_t i = begin; i < end; ++i) source += kernels[i];
    const auto code = nvrtc->compile(source, "node_tests.cu", kCapabilityMin);
    ASSERT_TRUE(code) << code.error().message;
  }
}

INSTANTIATE_TEST_SUITE_P(All, NodeOnHost, ::testing::ValuesIn(graph::node_cases()),
                         [](const auto& each) { return each.param.name; });

}  // namespace
}  // namespace takt::cuda
