// SPDX-License-Identifier: Apache-2.0
#include "repository/onnx_external.h"

#include "repository/read_file.h"

#include <onnx/onnx.pb.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

namespace takt::repository {
namespace {

namespace fs = std::filesystem;

struct ExternalPlace {
  std::string location;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;  // 0: not stated
};

Result<std::uint64_t> parse_number(const onnx::StringStringEntryProto& entry) {
  const std::string& text = entry.value();
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    return fail(ErrorKind::invalid_input,
                "external_data." + entry.key() + " is '" + printable(text) + "', not a number");
  }
  return value;
}

Result<ExternalPlace> read_place(const onnx::TensorProto& tensor) {
  ExternalPlace place;
  for (const onnx::StringStringEntryProto& entry : tensor.external_data()) {
    if (entry.key() == "location") place.location = entry.value();
    if (entry.key() != "offset" && entry.key() != "length") continue;
    const Result<std::uint64_t> value = parse_number(entry);
    if (!value) return std::unexpected(value.error());
    (entry.key() == "offset" ? place.offset : place.length) = *value;
  }
  return place;
}

// Follows symbolic links, so that one can't lead out of the folder either.
bool lies_inside(const fs::path& file, const fs::path& folder) {
  std::error_code error;
  const fs::path real_folder = fs::canonical(folder, error);
  if (error) return false;
  const fs::path real_file = fs::weakly_canonical(file, error);
  if (error) return false;
  const auto [end, unused] = std::ranges::mismatch(real_folder, real_file);
  return end == real_folder.end();
}

Result<void> check_tensor(const onnx::TensorProto& tensor, const fs::path& folder) {
  if (!is_external(tensor)) return {};
  const std::string who = "the weights '" + printable(tensor.name()) + "' are external data";
  const Result<ExternalPlace> place = read_place(tensor);
  if (!place) return std::unexpected(place.error().within(who));
  const fs::path location(place->location);
  const bool bad = place->location.empty() || location.is_absolute() ||
                   place->location.find('\0') != std::string::npos ||
                   !lies_inside(folder / location, folder);
  if (bad) {
    return fail(ErrorKind::invalid_input, who + " at '" + printable(place->location) +
                                              "', which is not inside the model's folder");
  }
  const Result<std::uint64_t> size = regular_file_size(folder / location, UINT64_MAX);
  if (!size) return std::unexpected(size.error().within(who));
  if (place->offset > *size || place->length > *size - place->offset) {
    return fail(ErrorKind::invalid_input, who + " at bytes " + std::to_string(place->offset) +
                                              " + " + std::to_string(place->length) + " of '" +
                                              printable(place->location) + "', but that file has " +
                                              std::to_string(*size) + "; copy it again");
  }
  return {};
}

Result<void> check_graph(const onnx::GraphProto& graph, const fs::path& folder);

Result<void> check_attribute(const onnx::AttributeProto& attribute, const fs::path& folder) {
  Result<void> checked;
  if (attribute.has_t()) checked = check_tensor(attribute.t(), folder);
  for (int i = 0; checked && i < attribute.tensors_size(); ++i) {
    checked = check_tensor(attribute.tensors(i), folder);
  }
  if (checked && attribute.has_g()) checked = check_graph(attribute.g(), folder);
  for (int i = 0; checked && i < attribute.graphs_size(); ++i) {
    checked = check_graph(attribute.graphs(i), folder);
  }
  return checked;
}

template <typename Nodes>
Result<void> check_nodes(const Nodes& nodes, const fs::path& folder) {
  for (const onnx::NodeProto& node : nodes) {
    for (const onnx::AttributeProto& attribute : node.attribute()) {
      if (Result<void> checked = check_attribute(attribute, folder); !checked) return checked;
    }
  }
  return {};
}

// Recursion is bounded by protobuf's own limit of 100 nested messages while parsing.
Result<void> check_graph(const onnx::GraphProto& graph, const fs::path& folder) {
  for (const onnx::TensorProto& tensor : graph.initializer()) {
    if (Result<void> checked = check_tensor(tensor, folder); !checked) return checked;
  }
  for (const onnx::SparseTensorProto& sparse : graph.sparse_initializer()) {
    for (const onnx::TensorProto* part : {&sparse.values(), &sparse.indices()}) {
      if (Result<void> checked = check_tensor(*part, folder); !checked) return checked;
    }
  }
  return check_nodes(graph.node(), folder);
}

}  // namespace

bool is_external(const onnx::TensorProto& tensor) noexcept {
  return tensor.data_location() == onnx::TensorProto::EXTERNAL || tensor.external_data_size() > 0;
}

Result<void> check_external_data(const onnx::ModelProto& model, const fs::path& folder) {
  Result<void> checked = check_graph(model.graph(), folder);
  for (const onnx::FunctionProto& function : model.functions()) {
    if (checked) checked = check_nodes(function.node(), folder);
  }
  return checked;
}

}  // namespace takt::repository
