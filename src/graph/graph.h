// SPDX-License-Identifier: Apache-2.0
// A model as a graph of operators on tensors whose types and shapes are all known, and the builder that
// types and folds what is added to it.
// Thread-safe: plain values; a builder is one thread's.
// Owns: the constants, shared.
#pragma once

#include "core/ids.h"
#include "core/result.h"
#include "core/tensor.h"
#include "graph/operators.h"

#include <cstddef>
#include <deque>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace takt::graph {

struct TensorType {
  DataType type = DataType::fp32;
  Shape shape;  // no dimension is open

  friend bool operator==(const TensorType&, const TensorType&) = default;
};
[[nodiscard]] std::string to_string(const TensorType& type);  // "FP32[1,3,640,640]"

// A tensor that owns its elements, dense and row by row. Strings don't occur.
struct Constant {
  TensorType type;
  std::vector<std::byte> bytes;

  [[nodiscard]] TensorView view() const { return {type.type, type.shape, bytes}; }
};
using ConstantPtr = std::shared_ptr<const Constant>;

using ValueId = Id<struct ValueTag, std::uint32_t>;  // an index of Graph::values

struct Value {
  std::string name;
  TensorType type;
  ConstantPtr constant;  // null: an input, or what a node computes
};

struct Node {
  std::string name;  // the ONNX node that it comes from: "/model.0/conv/Conv (Conv)"
  Operator op;
  std::vector<ValueId> inputs;  // optional ones only at the end
  std::vector<ValueId> outputs;
};

struct Graph {
  std::vector<Value> values;
  std::vector<Node> nodes;  // each behind what it needs
  std::vector<ValueId> inputs;
  std::vector<ValueId> outputs;

  [[nodiscard]] const Value& value(ValueId id) const { return values.at(id.value); }
};

// Types and shapes of what `op` computes. Errors: invalid_input (types or shapes that it can't take; the
// message says which and what was expected), without the node's name.
[[nodiscard]] Result<std::vector<TensorType>> infer_types(const Operator& op,
                                                          std::span<const TensorType> inputs);

// Multiplications, or as much, that `op` takes, from types that infer_types has checked and given.
[[nodiscard]] double work(const Operator& op, std::span<const TensorType> inputs,
                          std::span<const TensorType> outputs);

// What `op` computes, on this CPU: for folding and as the reference of tests, not for speed. Floating
// point is computed in double and rounded once at the end. `inputs` have been through infer_types.
// Errors: invalid_input (an index outside of its tensor, an integer divided by zero).
[[nodiscard]] Result<std::vector<Constant>> evaluate(const Operator& op,
                                                     std::span<const Constant* const> inputs);
// Node by node; `inputs` as graph.inputs. One for each of graph.outputs.
[[nodiscard]] Result<std::vector<Constant>> evaluate(const Graph& graph,
                                                     std::span<const Constant> inputs);

// What an operator answers that would need to know how many boxes NonMaxSuppression finds.
inline constexpr const char* kRowsVary =
    "its sizes depend on the data: on how many boxes NonMaxSuppression finds; run the model on the "
    "openvino "
    "backend (backends: [cuda, openvino])";

// Adds to a graph; what can be computed now, is. Nodes get the name given last. References and pointers that
// it gives stay valid while it lives.
class GraphBuilder {
 public:
  // What is computed from constants is a constant too, up to so many bytes and multiplications; above
  // that only where elements are moved and don't become more (Reshape, Transpose, Slice). Quantize and
  // Dequantize stay nodes.
  static constexpr std::size_t kFoldedBytesMax = std::size_t{16} << 20;
  static constexpr double kFoldedWorkMax = 1e7;
  // Of all together; what would come beyond stays a node.
  static constexpr std::size_t kFoldedBytesTotalMax = std::size_t{512} << 20;
  static constexpr double kFoldedWorkTotalMax = 1e9;

  void set_node_name(std::string name) { node_name_ = std::move(name); }

  ValueId add_input(std::string name, TensorType type);
  ValueId add_constant(Constant constant, std::string name = {});
  ValueId add_constant(ConstantPtr constant, std::string name = {});
  // The outputs of `op`. Errors: as infer_types and evaluate; kRowsVary where an input's rows vary, but for
  // operators that take each row as it is.
  [[nodiscard]] Result<std::vector<ValueId>> add_all(Operator op, std::vector<ValueId> inputs);
  // Of one with a single output.
  [[nodiscard]] Result<ValueId> add(Operator op, std::vector<ValueId> inputs);

  [[nodiscard]] const TensorType& type(ValueId id) const { return value(id).type; }
  [[nodiscard]] const Shape& shape(ValueId id) const { return type(id).shape; }
  // Null where it is no constant.
  [[nodiscard]] const Constant* constant(ValueId id) const { return value(id).constant.get(); }
  // The node that computes it, null for inputs and constants.
  [[nodiscard]] const Node* producer(ValueId id) const { return values_.at(id.value).producer; }
  // That it has as many rows as NonMaxSuppression finds boxes, of which the type says the most.
  [[nodiscard]] bool rows_vary(ValueId id) const { return values_.at(id.value).rows_vary; }
  void set_name(ValueId id, std::string name) { values_.at(id.value).value.name = std::move(name); }

  // With these outputs, and without what they don't need.
  [[nodiscard]] Graph finish(std::vector<ValueId> outputs) &&;

 private:
  struct Entry {
    Value value;
    const Node* producer = nullptr;
    bool rows_vary = false;
  };

  [[nodiscard]] const Value& value(ValueId id) const { return values_.at(id.value).value; }
  ValueId add_value(std::string name, TensorType type, ConstantPtr constant,
                    const Node* producer = nullptr);
  [[nodiscard]] bool takes_rows_as_they_are(const Operator& op,
                                            std::span<const ValueId> inputs) const;
  [[nodiscard]] Result<std::vector<ValueId>> fold(const Operator& op,
                                                  std::span<const Constant* const> inputs);

  std::deque<Entry> values_;
  std::deque<Node> nodes_;
  std::vector<ValueId> inputs_;
  std::string node_name_;
  std::size_t folded_bytes_ = 0;
  double folded_work_ = 0;
};

}  // namespace takt::graph
