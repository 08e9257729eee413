// SPDX-License-Identifier: Apache-2.0
// The nodes of an ONNX graph, of its Ifs' branches and of its functions, translated one by one.
// Thread-safe: one thread's. Private to this layer.
// Owns: the names known; the builder is the caller's.
#pragma once

#include "core/result.h"
#include "graph/graph.h"

#include <onnx/onnx.pb.h>

#include <cstddef>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

namespace takt::graph {

// What a name stands for: a value, weights that nobody has asked for yet, or an optional input of a
// function that its caller left out.
struct Named {
  std::optional<ValueId> value;
  const onnx::TensorProto* weights = nullptr;
};

// The names that a graph, a branch or a function's body sees.
struct Scope {
  Scope* outer = nullptr;  // whose names are visible too
  int opset = 0;
  int depth = 0;
  // Of the call whose body this is, by name.
  std::map<std::string, const onnx::AttributeProto*, std::less<>> attributes;
  std::unordered_map<std::string, Named> names;
};

// Version of the default domain. Errors: invalid_input: none, or outside of what import_onnx takes.
[[nodiscard]] Result<int> default_opset(
    const google::protobuf::RepeatedPtrField<onnx::OperatorSetIdProto>& imports);

class NodeImporter {
 public:
  static constexpr std::size_t kNodesMax = 100'000;
  static constexpr int kNestingMax = 16;
  static constexpr std::size_t kRankMax = 16;

  // `folder`: where external weights may lie; nullptr: nowhere.
  NodeImporter(const onnx::ModelProto& model, const std::filesystem::path* folder,
               GraphBuilder& builder)
      : model_(model), folder_(folder), builder_(builder) {}

  [[nodiscard]] Result<ValueId> add_input(std::string name, TensorType type, Scope& scope);
  // The values of the graph's outputs; its inputs are in `scope` already.
  [[nodiscard]] Result<std::vector<ValueId>> add_graph(const onnx::GraphProto& graph, Scope& scope);

 private:
  using Nodes = google::protobuf::RepeatedPtrField<onnx::NodeProto>;
  using Names = std::unordered_set<std::string_view>;

  Result<void> add_weights(const onnx::GraphProto& graph, Scope& scope) const;
  Result<void> add_nodes(const Nodes& nodes, const Names& needed, Scope& scope);
  Result<void> add_node(const onnx::NodeProto& node, const Names& needed, Scope& scope);
  // What the node computes; at least `used` values.
  Result<std::vector<ValueId>> translate(const onnx::NodeProto& node, std::size_t used,
                                         Scope& scope);
  Result<std::vector<ValueId>> add_branch(const onnx::NodeProto& node, Scope& scope);
  Result<std::vector<ValueId>> call(const onnx::FunctionProto& function,
                                    const onnx::NodeProto& node, Scope& caller);
  [[nodiscard]] const onnx::FunctionProto* find_function(const onnx::NodeProto& node) const;
  Result<std::optional<ValueId>> find(const std::string& name, Scope& scope);
  Result<std::vector<std::optional<ValueId>>> find_inputs(const onnx::NodeProto& node,
                                                          Scope& scope);
  Result<ValueId> load(const onnx::TensorProto& weights);
  // Names a value that has none yet.
  void name_value(ValueId id, const std::string& name);

  const onnx::ModelProto& model_;
  const std::filesystem::path* folder_;
  GraphBuilder& builder_;
  std::unordered_set<ValueId> named_;
  std::size_t node_count_ = 0;
};

}  // namespace takt::graph
