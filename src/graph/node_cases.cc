// SPDX-License-Identifier: Apache-2.0
#include "graph/node_cases.h"

#include "graph/constants.h"
#include "graph/import.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <onnx/onnx.pb.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <ostream>
#include <string_view>
#include <utility>

namespace takt::graph {
namespace {

std::filesystem::path folder() {
  const char* const configured = std::getenv("TAKT_ONNX_NODE_TESTS");
  return configured != nullptr ? configured : TAKT_ONNX_NODE_TESTS;
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
Tensors read_tensors(const NodeCase& node_case, std::string_view kind) {
  Tensors tensors;
  for (;;) {
    onnx::TensorProto tensor;
    const std::string file = fmt::format("{}_{}.pb", kind, tensors.size());
    if (!parse(folder() / node_case.name / file, tensor)) return tensors;
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

template <typename Number, typename Same>
std::string first_difference(const std::vector<Number>& actual, const std::vector<Number>& expected,
                             Same same) {
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (same(actual[i], expected[i])) continue;
    return fmt::format("element {} is {}; expected {}", i, actual[i], expected[i]);
  }
  return {};
}

std::string difference(const Constant& actual, const Constant& expected) {
  if (actual.type != expected.type || actual.bytes.size() != expected.bytes.size()) {
    return fmt::format("is {}; expected {}", to_string(actual.type), to_string(expected.type));
  }
  if (!is_floating(expected.type.type)) {
    return first_difference(integers_in(actual), integers_in(expected), std::equal_to{});
  }
  const Tolerance tolerance = tolerance_of(expected.type.type);
  return first_difference(numbers_in(actual), numbers_in(expected),
                          [&](double a, double b) { return close(a, b, tolerance); });
}

std::optional<std::string> unsupported_operator(const NodeCase& node_case) {
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

Result<NodeTest> made_test(Graph graph, const Tensors& inputs, const Tensors& outputs) {
  NodeTest test{std::move(graph), {}, {}};
  const auto append = [](std::vector<Constant>& to,
                         const onnx::TensorProto& tensor) -> Result<void> {
    Result<Constant> constant = constant_from(tensor);
    if (!constant) return std::unexpected(std::move(constant).error().within(tensor.name()));
    to.push_back(*std::move(constant));
    return {};
  };
  Result<void> appended;
  for (const ValueId id : test.graph.inputs) {
    const auto tensor =
        std::ranges::find(inputs, test.graph.value(id).name, &onnx::TensorProto::name);
    if (tensor == inputs.end()) return fail(ErrorKind::internal, "an input without a tensor");
    if (appended) appended = append(test.inputs, *tensor);
  }
  for (const onnx::TensorProto& tensor : outputs) {
    if (appended) appended = append(test.expected, tensor);
  }
  if (!appended) return std::unexpected(std::move(appended).error());
  return test;
}

}  // namespace

void PrintTo(const NodeCase& node_case, std::ostream* out) {
  *out << node_case.name;
}

std::vector<NodeCase> node_cases() {
  std::ifstream file(folder() / "list.json");
  const nlohmann::json list = nlohmann::json::parse(file, nullptr, false);
  std::vector<NodeCase> cases;
  if (list.is_discarded()) return cases;
  for (const auto& entry : list) cases.push_back({entry["name"], entry["operators"]});
  return cases;
}

Result<std::variant<NodeTest, NotRun>> read_node_case(const NodeCase& node_case) {
  if (auto op = unsupported_operator(node_case)) return NotRun{"unsupported", *std::move(op)};
  onnx::ModelProto model;
  if (!parse(folder() / node_case.name / "model.onnx", model)) {
    return fail(ErrorKind::invalid_input, "model.onnx can't be read");
  }
  const Tensors inputs = read_tensors(node_case, "input");
  const Tensors outputs = read_tensors(node_case, "output");
  if (std::cmp_not_equal(inputs.size(), model.graph().input_size()) ||
      std::cmp_not_equal(outputs.size(), model.graph().output_size())) {
    return fail(
        ErrorKind::invalid_input,
        fmt::format("files of {} inputs and {} outputs; the model has {} and {}", inputs.size(),
                    outputs.size(), model.graph().input_size(), model.graph().output_size()));
  }
  auto unknown = unsupported_type(inputs);
  if (!unknown) unknown = unsupported_type(outputs);
  if (unknown) return NotRun{"refused", *std::move(unknown)};
  Result<Graph> graph = import_case(model, inputs);
  if (const auto known = kRefusals.find(node_case.name); known != kRefusals.end()) {
    if (!graph) return NotRun{"refused", known->second};
    return fail(ErrorKind::internal, "it is imported; take it out of kRefusals");
  }
  if (!graph) return std::unexpected(std::move(graph).error());
  return made_test(*std::move(graph), inputs, outputs);
}

std::string difference(const std::vector<Constant>& actual, const std::vector<Constant>& expected) {
  if (actual.size() != expected.size()) {
    return fmt::format("{} outputs; expected {}", actual.size(), expected.size());
  }
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const std::string found = difference(actual[i], expected[i]);
    if (!found.empty()) return fmt::format("output {}: {}", i, found);
  }
  return {};
}

}  // namespace takt::graph
