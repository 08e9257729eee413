// SPDX-License-Identifier: Apache-2.0
#include "repository/tensor_proto.h"

#include "repository/onnx_external.h"
#include "repository/onnx_tensor.h"
#include "repository/onnx_types.h"
#include "repository/read_file.h"

#include <fcntl.h>
#include <google/protobuf/io/gzip_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl.h>
#include <onnx/onnx.pb.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <optional>
#include <string>
#include <utility>

namespace takt::repository {
namespace {

namespace fs = std::filesystem;
namespace io = google::protobuf::io;

std::unexpected<Error> refuse(const fs::path& file, const std::string& message) {
  return fail(ErrorKind::invalid_input, file.string() + ": " + message);
}

// Besides its elements a TensorProto holds names and a few numbers.
constexpr std::uint64_t kOverheadBytesMax = std::uint64_t{64} * 1024;

// Everything that the stream gives; nullopt above `bytes_max`: a few KiB of gzip can unpack to
// gigabytes.
std::optional<std::string> drain(io::ZeroCopyInputStream& stream, std::uint64_t bytes_max) {
  std::string bytes;
  const void* piece = nullptr;
  int size = 0;
  while (stream.Next(&piece, &size)) {
    if (bytes.size() + static_cast<std::size_t>(size) > bytes_max) return std::nullopt;
    bytes.append(static_cast<const char*>(piece), static_cast<std::size_t>(size));
  }
  return bytes;
}

Result<onnx::TensorProto> parse_file(const fs::path& file, std::uint64_t bytes_max) {
  const std::uint64_t total_max =
      std::min<std::uint64_t>(bytes_max + kOverheadBytesMax, std::numeric_limits<int>::max());
  const Result<std::uint64_t> size = regular_file_size(file, total_max);
  if (!size) return std::unexpected(size.error());
  const int descriptor = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return refuse(file, std::string("can't be opened: ") + std::strerror(errno));
  io::FileInputStream stream(descriptor);
  stream.SetCloseOnDelete(true);
  io::GzipInputStream unpacked(&stream, io::GzipInputStream::GZIP);
  const bool packed = file.extension() == ".gz";
  const std::optional<std::string> bytes =
      drain(packed ? static_cast<io::ZeroCopyInputStream&>(unpacked) : stream, total_max);
  if (!bytes) {
    return refuse(file, "more than " + std::to_string(total_max) + " bytes unpacked");
  }
  onnx::TensorProto tensor;
  const bool whole = !packed || unpacked.ZlibErrorCode() == Z_STREAM_END;
  if (stream.GetErrno() != 0 || !whole || bytes->empty() || !tensor.ParseFromString(*bytes)) {
    return refuse(file, packed ? "damaged or truncated; expected a gzipped ONNX TensorProto"
                               : "damaged or truncated; expected an ONNX TensorProto");
  }
  return tensor;
}

}  // namespace

Result<ReferenceTensor> read_tensor_proto(const fs::path& file, std::uint64_t bytes_max) {
  const Result<onnx::TensorProto> tensor = parse_file(file, bytes_max);
  if (!tensor) return std::unexpected(tensor.error());
  const std::optional<DataType> type = from_onnx_type(tensor->data_type());
  if (!type) {
    return refuse(file, "element type " + onnx_type_name(tensor->data_type()) +
                            " can't be compared; expected numbers or strings");
  }
  if (is_external(*tensor)) return refuse(file, "the elements must lie in the file itself");
  ReferenceTensor result{
      tensor->name(), *type, Shape(tensor->dims().begin(), tensor->dims().end()), {}};
  Result<std::vector<std::byte>> bytes = elements_of(*tensor, *type, result.shape);
  if (!bytes) return std::unexpected(std::move(bytes).error().within(file.string()));
  result.bytes = std::move(*bytes);
  if (result.bytes.size() > bytes_max) {
    return refuse(file, "the reference tensors of a version are too large");
  }
  return result;
}

}  // namespace takt::repository
