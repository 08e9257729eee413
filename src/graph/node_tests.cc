// SPDX-License-Identifier: Apache-2.0
// ONNX's own node tests: each model is imported and evaluated, and what comes out compared with
// what ONNX expects. The cases are written by tests/models/make_onnx_node_tests.py.
#include "core/half.h"
#include "graph/constants.h"
#include "graph/import.h"
#include "graph/simplify.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <onnx/onnx.pb.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace takt::graph {
namespace {

struct Case {
  std::string name;
  std::vector<std::string> operators;
};

void PrintTo(const Case& node_case, std::ostream* out) {
  *out << node_case.name;
}

std::filesystem::path folder_of(const Case& node_case) {
  return std::filesystem::path(TAKT_ONNX_NODE_TESTS) / node_case.name;
}

// Empty where the list isn't there; GoogleTest then reports a suite without tests.
std::vector<Case> all_cases() {
  std::ifstream file(std::filesystem::path(TAKT_ONNX_NODE_TESTS) / "list.json");
  const nlohmann::json list = nlohmann::json::parse(file, nullptr, false);
  std::vector<Case> cases;
  if (list.is_discarded()) return cases;
  for (const auto& entry : list) cases.push_back({entry["name"], entry["operators"]});
  return cases;
}

// Refused although takt has the operator, and why that is meant.
const std::map<std::string, std::string> kRefusals{
    {"test_batchnorm_epsilon_training_mode", "training"},
    {"test_batchnorm_example_training_mode", "training"},
    {"test_dequantizelinear_blocked", "scales of blocks"},
    {"test_einsum_batch_diagonal", "an ellipsis, and a diagonal"},
    {"test_maxpool_with_argmax_2d_precomputed_pads", "the output Indices"},
    {"test_maxpool_with_argmax_2d_precomputed_strides", "the output Indices"},
    {"test_quantizelinear_blocked_asymmetric", "scales of blocks"},
    {"test_quantizelinear_blocked_symmetric", "scales of blocks"},
    {"test_training_dropout", "training"},
    {"test_training_dropout_default", "training"},
    {"test_training_dropout_default_mask", "training"},
    {"test_training_dropout_mask", "training"},
};

template <typename Message>
bool parse(const std::filesystem::path& path, Message& message) {
  std::ifstream file(path, std::ios::binary);
  return file.is_open() && message.ParseFromIstream(&file);
}

using Tensors = std::vector<onnx::TensorProto>;

// input_0.pb, input_1.pb, ... or the same of outputs
Tensors read_tensors(const Case& node_case, std::string_view kind) {
  Tensors tensors;
  for (;;) {
    onnx::TensorProto tensor;
    const std::string file = fmt::format("{}_{}.pb", kind, tensors.size());
    if (!parse(folder_of(node_case) / file, tensor)) return tensors;
    tensors.push_back(std::move(tensor));
  }
}

// Which inputs a model gets as initialisers: some say sizes, and takt needs those when it imports.
enum class Known : std::uint8_t {
  none,
  integers,  // those of INT64
  small,     // and all of up to 1 KiB: scales, thresholds, steps
};

bool becomes_known(const onnx::TensorProto& tensor, Known known) {
  constexpr std::size_t small_bytes = 1024;
  if (known == Known::none) return false;
  const bool integers = tensor.data_type() == onnx::TensorProto::INT64;
  return integers || (known == Known::small && tensor.ByteSizeLong() <= small_bytes);
}

onnx::ModelProto with_known_inputs(const onnx::ModelProto& model, const Tensors& inputs,
                                   Known known) {
  onnx::ModelProto made = model;
  made.mutable_graph()->clear_input();
  for (int i = 0; i < model.graph().input_size(); ++i) {
    const onnx::TensorProto& tensor = inputs[static_cast<std::size_t>(i)];
    if (becomes_known(tensor, known))
      *made.mutable_graph()->add_initializer() = tensor;
    else
      *made.mutable_graph()->add_input() = model.graph().input(i);
  }
  return made;
}

ImportOptions options_for(const onnx::ModelProto& model, const Tensors& inputs) {
  ImportOptions options;
  for (const onnx::ValueInfoProto& input : model.graph().input()) {
    const auto tensor = std::ranges::find(inputs, input.name(), &onnx::TensorProto::name);
    options.input_shapes[input.name()] = Shape(tensor->dims().begin(), tensor->dims().end());
  }
  return options;
}

// With as few inputs made constant as it needs.
Result<Graph> import_case(const onnx::ModelProto& model, const Tensors& inputs) {
  Result<Graph> graph = fail(ErrorKind::internal, "not imported");
  for (const Known known : {Known::none, Known::integers, Known::small}) {
    const onnx::ModelProto made = with_known_inputs(model, inputs, known);
    graph = import_onnx(made, options_for(made, inputs));
    const bool depends = !graph && graph.error().message.contains("depends on the data");
    if (!depends) return graph;
  }
  return graph;
}

Result<std::vector<Constant>> run(const Graph& graph, const Tensors& tensors) {
  std::vector<Constant> inputs;
  for (const ValueId id : graph.inputs) {
    const auto tensor = std::ranges::find(tensors, graph.value(id).name, &onnx::TensorProto::name);
    Result<Constant> input = constant_from(*tensor);
    if (!input) return std::unexpected(std::move(input).error());
    inputs.push_back(std::move(*input));
  }
  return evaluate(graph, inputs);
}

struct Tolerance {
  double relative, absolute;
};

// What ONNX's runner allows, and more for 16 bits: what ONNX computes as one operator may be several
// here, each of which rounds.
Tolerance tolerance_of(DataType type) {
  if (type == DataType::fp16) return {2e-3, 1e-3};
  if (type == DataType::bf16) return {2e-2, 1e-2};
  return {1e-3, 1e-7};
}

bool close(double actual, double expected, const Tolerance& tolerance) {
  if (std::isnan(expected) || std::isnan(actual)) return std::isnan(expected) && std::isnan(actual);
  if (std::isinf(expected) || std::isinf(actual)) return actual == expected;
  return std::abs(actual - expected) <=
         tolerance.absolute + tolerance.relative * std::abs(expected);
}

void expect_floats(const Constant& actual, const Constant& expected) {
  const std::vector<double> numbers = numbers_in(actual);
  const std::vector<double> wanted = numbers_in(expected);
  const Tolerance tolerance = tolerance_of(expected.type.type);
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    ASSERT_TRUE(close(numbers[i], wanted[i], tolerance))
        << "element " << i << " is " << numbers[i] << "; expected " << wanted[i];
  }
}

void expect_integers(const Constant& actual, const Constant& expected) {
  const std::vector<std::int64_t> numbers = integers_in(actual);
  const std::vector<std::int64_t> wanted = integers_in(expected);
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    ASSERT_EQ(numbers[i], wanted[i]) << "element " << i;
  }
}

void expect_same(const Constant& actual, const Constant& expected) {
  ASSERT_EQ(to_string(actual.type), to_string(expected.type));
  ASSERT_EQ(actual.bytes.size(), expected.bytes.size());
  is_floating(expected.type.type) ? expect_floats(actual, expected)
                                  : expect_integers(actual, expected);
}

void expect_outputs(const Graph& graph, const Tensors& inputs, const Tensors& outputs) {
  const Result<std::vector<Constant>> results = run(graph, inputs);
  ASSERT_TRUE(results) << results.error().message;
  ASSERT_EQ(results->size(), outputs.size());
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    SCOPED_TRACE(fmt::format("output {}", i));
    const Result<Constant> expected = constant_from(outputs[i]);
    ASSERT_TRUE(expected) << expected.error().message;
    expect_same((*results)[i], *expected);
  }
}

std::optional<std::string> unsupported_operator(const Case& node_case) {
  static const std::vector<std::string> supported = supported_operators();
  for (const std::string& op : node_case.operators) {
    if (!std::ranges::binary_search(supported, op)) return op;
  }
  return std::nullopt;
}

// Strings and numbers of 8 and fewer bits, which takt has no tensors of.
std::optional<std::string> unsupported_type(const Tensors& tensors) {
  for (const onnx::TensorProto& tensor : tensors) {
    if (Result<TensorType> type = type_of(tensor); !type) return type.error().message;
  }
  return std::nullopt;
}

class OnnxNode : public ::testing::TestWithParam<Case> {};

// The recorded properties are what tests/models/operators_table.py reads.
TEST_P(OnnxNode, GivesWhatOnnxExpects) {
  const Case& node_case = GetParam();
  RecordProperty("operators", fmt::format("{}", fmt::join(node_case.operators, " ")));
  if (const auto op = unsupported_operator(node_case)) {
    RecordProperty("unsupported", *op);
    GTEST_SKIP() << *op << " isn't supported";
  }
  onnx::ModelProto model;
  ASSERT_TRUE(parse(folder_of(node_case) / "model.onnx", model));
  const Tensors inputs = read_tensors(node_case, "input");
  const Tensors outputs = read_tensors(node_case, "output");
  ASSERT_EQ(inputs.size(), static_cast<std::size_t>(model.graph().input_size()));
  ASSERT_EQ(outputs.size(), static_cast<std::size_t>(model.graph().output_size()));
  auto unknown = unsupported_type(inputs);
  if (!unknown) unknown = unsupported_type(outputs);
  if (unknown) {
    RecordProperty("refused", *unknown);
    GTEST_SKIP() << "refused: " << *unknown;
  }
  const Result<Graph> graph = import_case(model, inputs);
  if (const auto known = kRefusals.find(node_case.name); known != kRefusals.end()) {
    ASSERT_FALSE(graph) << "it is imported; take it out of kRefusals";
    RecordProperty("refused", known->second);
    GTEST_SKIP() << "refused: " << known->second << ": " << graph.error().message;
  }
  ASSERT_TRUE(graph) << graph.error().message;
  expect_outputs(*graph, inputs, outputs);
  const Result<Graph> simplified = simplify(*graph);
  ASSERT_TRUE(simplified) << simplified.error().message;
  SCOPED_TRACE("simplified");
  expect_outputs(*simplified, inputs, outputs);
}

INSTANTIATE_TEST_SUITE_P(All, OnnxNode, ::testing::ValuesIn(all_cases()),
                         [](const auto& each) { return each.param.name; });

}  // namespace
}  // namespace takt::graph
