// SPDX-License-Identifier: Apache-2.0
#include "repository/onnx_external.h"

#include "repository/onnx_sniff.h"
#include "repository/read_file.h"

#include <fcntl.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl.h>
#include <onnx/onnx.pb.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

namespace takt::repository {
namespace {

namespace fs = std::filesystem;
namespace io = google::protobuf::io;

std::unexpected<Error> refuse(const fs::path& file, const std::string& message) {
  return fail(ErrorKind::invalid_input, file.string() + ": " + message);
}

Result<void> check_head(const fs::path& file, std::uint64_t size) {
  if (size == 0) return refuse(file, "empty; expected an ONNX model");
  std::string head(std::min<std::uint64_t>(size, 256), '\0');
  std::ifstream stream(file, std::ios::binary);
  if (!stream.read(head.data(), static_cast<std::streamsize>(head.size()))) {
    return refuse(file, "can't be read");
  }
  if (const std::string foreign = foreign_format(head); !foreign.empty()) {
    return refuse(file, "not an ONNX model but " + foreign);
  }
  return {};
}

// Straight from the file: a second copy of the weights in memory would double the peak.
Result<void> parse_file(const fs::path& file, std::uint64_t size, onnx::ModelProto& model) {
  const int descriptor = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return refuse(file, std::string("can't be opened: ") + std::strerror(errno));
  io::FileInputStream stream(descriptor);
  stream.SetCloseOnDelete(true);
  io::CodedInputStream coded(&stream);
  coded.SetTotalBytesLimit(std::numeric_limits<int>::max());
  if (!model.ParsePartialFromCodedStream(&coded) || !coded.ConsumedEntireMessage()) {
    if (stream.GetErrno() != 0) {
      return fail(ErrorKind::internal,
                  file.string() + ": reading failed: " + std::strerror(stream.GetErrno()));
    }
    return refuse(file, explain_damage(file, size));
  }
  return {};
}

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

std::string described(const onnx::TensorProto& tensor) {
  return "the weights '" + printable(tensor.name()) + "' are external data";
}

std::unexpected<Error> refuse_range(const ExternalPlace& place, std::uint64_t length,
                                    std::uint64_t size) {
  return fail(ErrorKind::invalid_input, "at bytes " + std::to_string(place.offset) + " + " +
                                            std::to_string(length) + " of '" +
                                            printable(place.location) + "', but that file has " +
                                            std::to_string(size) + "; copy it again");
}

// Where an external tensor lies: inside the folder, and in a file that is large enough for what is
// stated and for `length_expected`.
Result<ExternalPlace> find_place(const onnx::TensorProto& tensor, const fs::path& folder,
                                 std::uint64_t length_expected) {
  Result<ExternalPlace> place = read_place(tensor);
  if (!place) return place;
  const fs::path location(place->location);
  const bool bad = place->location.empty() || location.is_absolute() ||
                   place->location.find('\0') != std::string::npos ||
                   !lies_inside(folder / location, folder);
  if (bad) {
    return fail(ErrorKind::invalid_input,
                "at '" + printable(place->location) + "', which is not inside the model's folder");
  }
  const Result<std::uint64_t> size = regular_file_size(folder / location, UINT64_MAX);
  if (!size) return std::unexpected(size.error());
  const std::uint64_t length = std::max(place->length, length_expected);
  if (place->offset > *size || length > *size - place->offset) {
    return refuse_range(*place, length, *size);
  }
  return place;
}

Result<void> check_tensor(const onnx::TensorProto& tensor, const fs::path& folder) {
  if (!is_external(tensor)) return {};
  const Result<ExternalPlace> place = find_place(tensor, folder, 0);
  if (!place) return std::unexpected(place.error().within(described(tensor)));
  return {};
}

Result<std::vector<std::byte>> read_bytes(const fs::path& file, std::uint64_t offset,
                                          std::size_t length) {
  std::ifstream stream(file, std::ios::binary);
  std::vector<std::byte> bytes(length);
  if (!stream || !stream.seekg(static_cast<std::streamoff>(offset)) ||
      !stream.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(length))) {
    return fail(ErrorKind::internal, file.string() + ": reading failed");
  }
  return bytes;
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

Result<void> parse_onnx(const fs::path& file, const Limits& limits, onnx::ModelProto& model) {
  const Result<std::uint64_t> size = regular_file_size(file, limits.onnx_bytes_max);
  if (!size) return std::unexpected(size.error());
  if (Result<void> head = check_head(file, *size); !head) return head;
  return parse_file(file, *size, model);
}

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

Result<std::vector<std::byte>> read_external_data(const onnx::TensorProto& tensor,
                                                  const fs::path& folder,
                                                  std::size_t bytes_expected) {
  const Result<ExternalPlace> place = find_place(tensor, folder, bytes_expected);
  if (!place) return std::unexpected(place.error().within(described(tensor)));
  if (place->length != 0 && place->length != bytes_expected) {
    return fail(ErrorKind::invalid_input,
                described(tensor) + " of " + std::to_string(place->length) +
                    " bytes, but the tensor has " + std::to_string(bytes_expected) +
                    "; export the model again");
  }
  return read_bytes(folder / place->location, place->offset, bytes_expected);
}

}  // namespace takt::repository
