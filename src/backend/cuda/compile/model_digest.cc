// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/compile/model_digest.h"

#include "backend/cuda/compile/sha256.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl.h>
#include <google/protobuf/wire_format_lite.h>
#include <onnx/onnx.pb.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <limits>
#include <set>
#include <system_error>
#include <utility>
#include <vector>

namespace takt::cuda {
namespace {

namespace fs = std::filesystem;
namespace pb = google::protobuf;
using pb::internal::WireFormatLite;

class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Descriptor& operator=(Descriptor&&) = delete;
  ~Descriptor() {
    if (number_ >= 0) ::close(number_);
  }
  [[nodiscard]] int number() const noexcept { return number_; }

 private:
  int number_;
};

std::string error_text(int error) {
  return std::generic_category().message(error);
}

// O_NONBLOCK: a pipe would wait for a writer; it is refused afterwards.
Result<Descriptor> open_regular(const fs::path& file) {
  Descriptor descriptor(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (descriptor.number() < 0) {
    return fail(ErrorKind::invalid_input,
                fmt::format("{}: can't be opened: {}", file.string(), error_text(errno)));
  }
  struct stat status{};
  if (::fstat(descriptor.number(), &status) != 0 || !S_ISREG(status.st_mode)) {
    return fail(ErrorKind::invalid_input, fmt::format("{}: not a regular file", file.string()));
  }
  return descriptor;
}

Result<std::string> file_digest(const fs::path& file) {
  const Result<Descriptor> descriptor = open_regular(file);
  if (!descriptor) return std::unexpected(descriptor.error());
  Sha256 sum;
  std::vector<std::byte> buffer(std::size_t{1} << 20);
  while (true) {
    const ssize_t count = ::read(descriptor->number(), buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) {
      return fail(ErrorKind::unavailable,
                  fmt::format("{}: reading failed: {}", file.string(), error_text(errno)));
    }
    if (count == 0) return to_hex(sum.finish());
    sum.update(std::span(buffer).first(static_cast<std::size_t>(count)));
  }
}

using Locations = std::set<std::string>;

// One of TensorProto::external_data.
bool add_location(pb::io::CodedInputStream& stream, Locations& locations) {
  std::string bytes;
  onnx::StringStringEntryProto entry;
  if (!WireFormatLite::ReadBytes(&stream, &bytes) || !entry.ParseFromString(bytes)) return false;
  if (entry.key() == "location") locations.insert(entry.value());
  return true;
}

// The messages on the way to a model's tensors.
enum class Message : std::uint8_t { model, graph, node, attribute, function, sparse, tensor };

struct Nested {
  Message outer;
  int field;
  Message inner;
};

constexpr std::array kNested{
    Nested{Message::model, onnx::ModelProto::kGraphFieldNumber, Message::graph},
    Nested{Message::model, onnx::ModelProto::kFunctionsFieldNumber, Message::function},
    Nested{Message::graph, onnx::GraphProto::kNodeFieldNumber, Message::node},
    Nested{Message::graph, onnx::GraphProto::kInitializerFieldNumber, Message::tensor},
    Nested{Message::graph, onnx::GraphProto::kSparseInitializerFieldNumber, Message::sparse},
    Nested{Message::function, onnx::FunctionProto::kNodeFieldNumber, Message::node},
    Nested{Message::function, onnx::FunctionProto::kAttributeProtoFieldNumber, Message::attribute},
    Nested{Message::node, onnx::NodeProto::kAttributeFieldNumber, Message::attribute},
    Nested{Message::attribute, onnx::AttributeProto::kTFieldNumber, Message::tensor},
    Nested{Message::attribute, onnx::AttributeProto::kTensorsFieldNumber, Message::tensor},
    Nested{Message::attribute, onnx::AttributeProto::kGFieldNumber, Message::graph},
    Nested{Message::attribute, onnx::AttributeProto::kGraphsFieldNumber, Message::graph},
    Nested{Message::attribute, onnx::AttributeProto::kSparseTensorFieldNumber, Message::sparse},
    Nested{Message::attribute, onnx::AttributeProto::kSparseTensorsFieldNumber, Message::sparse},
    Nested{Message::sparse, onnx::SparseTensorProto::kValuesFieldNumber, Message::tensor},
    Nested{Message::sparse, onnx::SparseTensorProto::kIndicesFieldNumber, Message::tensor},
};

bool find_locations(pb::io::CodedInputStream& stream, Message message, Locations& locations);

bool enter(pb::io::CodedInputStream& stream, Message message, Locations& locations) {
  std::uint32_t length = 0;
  if (!stream.ReadVarint32(&length) || length > std::numeric_limits<int>::max()) return false;
  const auto [outer, depth_left] =
      stream.IncrementRecursionDepthAndPushLimit(static_cast<int>(length));
  return depth_left >= 0 && find_locations(stream, message, locations) &&
         stream.DecrementRecursionDepthAndPopLimit(outer);
}

// Walks the fields without reading the weights among them: a parsed model would need all its memory.
bool find_locations(pb::io::CodedInputStream& stream, Message message, Locations& locations) {
  constexpr auto kBytes = WireFormatLite::WIRETYPE_LENGTH_DELIMITED;
  while (const std::uint32_t tag = stream.ReadTag()) {
    const int field = WireFormatLite::GetTagFieldNumber(tag);
    const auto* const nested = std::ranges::find_if(
        kNested, [&](const Nested& one) { return one.outer == message && one.field == field; });
    const bool holds_bytes = WireFormatLite::GetTagWireType(tag) == kBytes;
    const bool location = holds_bytes && message == Message::tensor &&
                          field == onnx::TensorProto::kExternalDataFieldNumber;
    const bool read = location ? add_location(stream, locations)
                      : holds_bytes && nested != kNested.end()
                          ? enter(stream, nested->inner, locations)
                          : WireFormatLite::SkipField(&stream, tag);
    if (!read) return false;
  }
  return true;
}

Result<Locations> locations_of(const fs::path& file) {
  const Result<Descriptor> descriptor = open_regular(file);
  if (!descriptor) return std::unexpected(descriptor.error());
  pb::io::FileInputStream stream(descriptor->number());
  pb::io::CodedInputStream coded(&stream);
  coded.SetTotalBytesLimit(std::numeric_limits<int>::max());
  Locations locations;
  if (!find_locations(coded, Message::model, locations) || !coded.ConsumedEntireMessage()) {
    return fail(ErrorKind::invalid_input,
                file.string() + ": not an ONNX model, or damaged; copy or export it again");
  }
  return locations;
}

// As the import takes them: without a way out of the model's folder.
bool lies_inside(const std::string& location, const fs::path& folder) {
  const fs::path path(location);
  if (location.empty() || location.contains('\0') || path.is_absolute()) return false;
  std::error_code error;
  const fs::path real_folder = fs::canonical(folder, error);
  if (error) return false;
  const fs::path real_file = fs::weakly_canonical(folder / path, error);
  if (error) return false;
  return std::ranges::mismatch(real_folder, real_file).in1 == real_folder.end();
}

}  // namespace

Result<std::string> model_digest(const fs::path& onnx) {
  Result<std::string> digest = file_digest(onnx);
  if (!digest) return digest;
  const Result<Locations> locations = locations_of(onnx);
  if (!locations) return std::unexpected(locations.error());
  if (locations->empty()) return digest;
  const fs::path folder = onnx.has_parent_path() ? onnx.parent_path() : fs::path(".");
  std::string text = *digest + "\n";
  for (const std::string& location : *locations) {
    if (!lies_inside(location, folder)) {
      return fail(
          ErrorKind::invalid_input,
          fmt::format("{}: keeps weights in a file that is not inside its folder", onnx.string()));
    }
    const Result<std::string> weights = file_digest(folder / location);
    if (!weights) return std::unexpected(weights.error().within(onnx.string()));
    text += fmt::format("{}  {}\n", *weights, location);
  }
  return sha256_hex(text);
}

}  // namespace takt::cuda
