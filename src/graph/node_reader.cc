// SPDX-License-Identifier: Apache-2.0
#include "graph/node_reader.h"

#include "graph/constants.h"
#include "graph/infer_types.h"
#include "repository/read_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace takt::graph {

using Attribute = onnx::AttributeProto;

NodeReader::NodeReader(const onnx::NodeProto& node, int opset, GraphBuilder& builder,
                       std::vector<std::optional<ValueId>> inputs, std::size_t used_outputs)
    : node_(node),
      opset_(opset),
      builder_(builder),
      inputs_(std::move(inputs)),
      used_outputs_(used_outputs) {
  // An optional input that isn't there may be written as an empty name or be left out.
  while (!inputs_.empty() && !inputs_.back()) inputs_.pop_back();
}

bool NodeReader::has(std::string_view name) const {
  return std::ranges::any_of(node_.attribute(),
                             [name](const Attribute& one) { return one.name() == name; });
}

const Attribute* NodeReader::find(std::string_view name, Attribute::AttributeType type) const {
  for (const Attribute& attribute : node_.attribute()) {
    if (attribute.name() != name) continue;
    if (attribute.type() == type) return &attribute;
    if (attribute_error_.empty()) {
      attribute_error_ = fmt::format("attribute '{}' is of type {}; expected {}", name,
                                     Attribute::AttributeType_Name(attribute.type()),
                                     Attribute::AttributeType_Name(type));
    }
    return nullptr;
  }
  return nullptr;
}

std::int64_t NodeReader::integer(std::string_view name, std::int64_t otherwise) const {
  const Attribute* attribute = find(name, Attribute::INT);
  return attribute != nullptr ? attribute->i() : otherwise;
}

float NodeReader::number(std::string_view name, float otherwise) const {
  const Attribute* attribute = find(name, Attribute::FLOAT);
  return attribute != nullptr ? attribute->f() : otherwise;
}

std::string NodeReader::text(std::string_view name, std::string otherwise) const {
  const Attribute* attribute = find(name, Attribute::STRING);
  return attribute != nullptr ? attribute->s() : otherwise;
}

std::vector<std::int64_t> NodeReader::integers(std::string_view name) const {
  const Attribute* attribute = find(name, Attribute::INTS);
  if (attribute == nullptr) return {};
  return {attribute->ints().begin(), attribute->ints().end()};
}

std::vector<float> NodeReader::numbers(std::string_view name) const {
  const Attribute* attribute = find(name, Attribute::FLOATS);
  if (attribute == nullptr) return {};
  return {attribute->floats().begin(), attribute->floats().end()};
}

std::vector<std::string> NodeReader::texts(std::string_view name) const {
  const Attribute* attribute = find(name, Attribute::STRINGS);
  if (attribute == nullptr) return {};
  return {attribute->strings().begin(), attribute->strings().end()};
}

const onnx::TensorProto* NodeReader::tensor(std::string_view name) const {
  const Attribute* attribute = find(name, Attribute::TENSOR);
  return attribute != nullptr ? &attribute->t() : nullptr;
}

bool NodeReader::has_input(std::size_t index) const noexcept {
  return index < inputs_.size() && inputs_[index].has_value();
}

ValueId NodeReader::input(std::size_t index) const {
  return inputs_.at(index).value();
}

Result<void> NodeReader::check_inputs(std::size_t least, std::size_t most) const {
  if (inputs_.size() < least || inputs_.size() > most) {
    const std::string expected = least == most ? std::to_string(least)
                                 : most == std::numeric_limits<std::size_t>::max()
                                     ? fmt::format("at least {}", least)
                                     : fmt::format("{} to {}", least, most);
    return refuse(fmt::format("it has {} inputs; expected {}", inputs_.size(), expected));
  }
  for (std::size_t index = 0; index < least; ++index) {
    if (!inputs_[index]) return refuse(fmt::format("its input {} is missing", index));
  }
  return {};
}

Result<const Constant*> NodeReader::known(std::size_t index) const {
  if (!has_input(index)) return refuse(fmt::format("its input {} is missing", index));
  const Constant* constant = builder_.constant(input(index));
  if (constant != nullptr) return constant;
  return refuse(fmt::format(
      "its input {} ('{}') depends on the data, but the cuda backend needs it when it loads the "
      "model; {}",
      index, repository::printable(node_.input(static_cast<int>(index))), kOpenvinoAdvice));
}

Result<std::vector<std::int64_t>> NodeReader::integers_of(std::size_t index) const {
  const Result<const Constant*> constant = known(index);
  if (!constant) return std::unexpected(constant.error());
  if (is_floating((*constant)->type.type)) {
    return refuse(
        fmt::format("its input {} is {}; expected integers", index, to_string((*constant)->type)));
  }
  return integers_in(**constant);
}

Result<std::vector<double>> NodeReader::numbers_of(std::size_t index) const {
  const Result<const Constant*> constant = known(index);
  if (!constant) return std::unexpected(constant.error());
  return numbers_in(**constant);
}

Result<std::vector<std::int64_t>> NodeReader::integers_of(std::string_view attribute,
                                                          std::size_t index) const {
  if (has_input(index)) return integers_of(index);
  return integers(attribute);
}

Result<int> NodeReader::axis(std::int64_t axis, int rank) const {
  if (axis < -rank || axis >= rank) {
    return refuse(rank == 0
                      ? fmt::format("axis {} of a tensor without dimensions", axis)
                      : fmt::format("axis {} of a tensor with {} dimensions; expected {} to {}",
                                    axis, rank, -rank, rank - 1));
  }
  return static_cast<int>(axis < 0 ? axis + rank : axis);
}

std::size_t NodeReader::output_count() const noexcept {
  return std::min(used_outputs_, declared_output_count());
}

std::size_t NodeReader::declared_output_count() const noexcept {
  int count = node_.output_size();
  while (count > 0 && node_.output(count - 1).empty()) --count;
  return static_cast<std::size_t>(count);
}

Result<void> NodeReader::check() const {
  if (attribute_error_.empty()) return {};
  return refuse(attribute_error_);
}

}  // namespace takt::graph
