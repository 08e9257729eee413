// SPDX-License-Identifier: Apache-2.0
// One ONNX node while it is translated: its attributes, checked, and its inputs as values of the
// graph being built. Thread-safe: one thread's. Owns: nothing. Private to this layer.
#pragma once

#include "core/result.h"
#include "graph/graph.h"

#include <onnx/onnx.pb.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace takt::graph {

// The way out where this layer can't help.
inline constexpr std::string_view kOpenvinoAdvice =
    "run the model on the openvino backend (backends: [cuda, openvino])";

class NodeReader {
 public:
  // `used_outputs`: how many of the node's outputs, up to the last one that somebody uses.
  NodeReader(const onnx::NodeProto& node, int opset, GraphBuilder& builder,
             std::vector<std::optional<ValueId>> inputs,
             std::size_t used_outputs = std::numeric_limits<std::size_t>::max());

  [[nodiscard]] int opset() const noexcept { return opset_; }
  [[nodiscard]] GraphBuilder& builder() const noexcept { return builder_; }

  // Attributes. Of another type than asked for: the error is kept for check().
  [[nodiscard]] bool has(std::string_view name) const;
  [[nodiscard]] std::int64_t integer(std::string_view name, std::int64_t otherwise) const;
  [[nodiscard]] float number(std::string_view name, float otherwise) const;
  [[nodiscard]] std::string text(std::string_view name, std::string otherwise) const;
  [[nodiscard]] std::vector<std::int64_t> integers(std::string_view name) const;  // empty: absent
  [[nodiscard]] std::vector<float> numbers(std::string_view name) const;
  [[nodiscard]] std::vector<std::string> texts(std::string_view name) const;
  [[nodiscard]] const onnx::TensorProto* tensor(std::string_view name) const;

  [[nodiscard]] std::size_t input_count() const noexcept { return inputs_.size(); }
  [[nodiscard]] bool has_input(std::size_t index) const noexcept;
  // Of one that exists; check_inputs() comes first.
  [[nodiscard]] ValueId input(std::size_t index) const;
  [[nodiscard]] const TensorType& type(std::size_t index) const {
    return builder_.type(input(index));
  }
  [[nodiscard]] const Shape& shape(std::size_t index) const { return type(index).shape; }
  [[nodiscard]] int rank(std::size_t index) const { return static_cast<int>(shape(index).size()); }
  // That `least` to `most` inputs are there, the first `least` of them without a gap.
  [[nodiscard]] Result<void> check_inputs(std::size_t least, std::size_t most) const;

  // The integers of an input that must be known now. Errors: invalid_input: it depends on the data.
  [[nodiscard]] Result<std::vector<std::int64_t>> integers_of(std::size_t index) const;
  [[nodiscard]] Result<std::vector<double>> numbers_of(std::size_t index) const;
  // An attribute up to some opset and an input since; empty where neither is there.
  [[nodiscard]] Result<std::vector<std::int64_t>> integers_of(std::string_view attribute,
                                                              std::size_t index) const;
  // 0 <= axis < rank, counted from the end where negative.
  [[nodiscard]] Result<int> axis(std::int64_t axis, int rank) const;

  // How many outputs the node has, up to the last one that somebody uses.
  [[nodiscard]] std::size_t output_count() const noexcept;
  // How many the file gives it, used or not.
  [[nodiscard]] std::size_t declared_output_count() const noexcept;

  // The first attribute that was of another type than asked for, for the importer to ask at the end.
  [[nodiscard]] Result<void> check() const;
  // An error of this node.
  [[nodiscard]] static std::unexpected<Error> refuse(std::string message) {
    return fail(ErrorKind::invalid_input, std::move(message));
  }

 private:
  [[nodiscard]] const onnx::AttributeProto* find(std::string_view name,
                                                 onnx::AttributeProto::AttributeType type) const;
  [[nodiscard]] Result<const Constant*> known(std::size_t index) const;

  const onnx::NodeProto& node_;
  int opset_;
  GraphBuilder& builder_;
  std::vector<std::optional<ValueId>> inputs_;
  std::size_t used_outputs_;
  mutable std::string attribute_error_;  // for check()
};

// The words that an attribute may hold, and what each stands for.
template <typename Kind, std::size_t Count>
using Words = std::array<std::pair<std::string_view, Kind>, Count>;

// What the attribute's word stands for; the table's first where it is absent.
template <typename Kind, std::size_t Count>
Result<Kind> word_of(const NodeReader& node, std::string_view attribute,
                     const Words<Kind, Count>& words) {
  const std::string said = node.text(attribute, std::string(words[0].first));
  std::string known;
  for (const auto& [word, kind] : words) {
    if (word == said) return kind;
    known.append(known.empty() ? "" : ", ").append(word);
  }
  return NodeReader::refuse("attribute '" + std::string(attribute) + "' is '" + said +
                            "'; expected one of " + known);
}

using Values = Result<std::vector<ValueId>>;
// What a node computes, as values; as many as the operator has outputs that somebody uses, or more.
using Translate = Values (*)(const NodeReader& node);

struct Translation {
  std::string_view op;  // ONNX's name
  Translate translate;
};

// One table a family, each in a file of its own.
[[nodiscard]] std::span<const Translation> elementwise_translations();  // translate_elementwise.cc
[[nodiscard]] std::span<const Translation>
layout_translations();  // translate_layout.cc: shapes, indices
[[nodiscard]] std::span<const Translation>
convolution_translations();  // ..._convolution.cc: Conv, pools, Resize
[[nodiscard]] std::span<const Translation>
algebra_translations();  // ..._algebra.cc: products, norms, reductions
[[nodiscard]] std::span<const Translation>
other_translations();  // ..._other.cc: what else there is

}  // namespace takt::graph
