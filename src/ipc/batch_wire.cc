// SPDX-License-Identifier: Apache-2.0
#include "ipc/batch_wire.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>
#include <utility>

namespace takt::ipc {
namespace {

constexpr std::size_t kMessageBytesMax = 512;
constexpr std::uint64_t kSamplesMax = 1 << 16;

// Fixed records, copied by value: both sides are one build, so there is no byte order and no
// version to agree on. No record has padding, in which old content of the stack would cross.
struct WireShape {
  std::uint64_t rank = 0;
  std::int64_t dimensions[kRankMax] = {};
};
struct WireSample {
  std::uint32_t inputs = 0;
  std::uint32_t outputs = 0;
  std::int64_t rows = 0;
};
enum class WireInputKind : std::uint32_t { tensor, images };
struct WireInput {
  WireInputKind kind = WireInputKind::tensor;
  std::uint32_t images = 0;  // that follow
};
struct WireTensor {
  DataType type = DataType::fp32;
  std::uint8_t zeros[7] = {};
  WireShape shape;
  Place place;
  std::uint64_t bytes = 0;
};
struct WireImage {
  Place place;
  std::int32_t width = 0;
  std::int32_t height = 0;
  std::int32_t stride_bytes = 0;
  PixelFormat format = PixelFormat::gray8;
  std::uint8_t zeros[3] = {};
};
using WireRegion = std::array<std::uint32_t, 4>;  // the bits of x, y, width, height
struct WireOutputRoom {
  Place place;
  std::uint64_t bytes = 0;
};
struct WireOutcome {
  std::uint32_t failed = 0;
  ErrorKind kind = ErrorKind::internal;
  std::uint8_t zeros[3] = {};
  std::uint32_t message_bytes = 0;
  std::uint32_t samples = 0;
  std::int64_t times_ns[4] = {};
};
struct WireOutput {
  DataType type = DataType::fp32;
  std::uint8_t zeros[7] = {};
  WireShape shape;
  std::uint64_t bytes_used = 0;
};

class Writer {
 public:
  explicit Writer(std::span<std::byte> room) : room_(room) {}

  template <typename T>
  void put(const T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    static_assert(std::has_unique_object_representations_v<T>, "no padding");
    put_bytes({reinterpret_cast<const std::byte*>(&value), sizeof(T)});
  }
  void put_bytes(std::span<const std::byte> bytes) {
    full_ = full_ || bytes.size() > room_.size() - used_;
    if (full_ || bytes.empty()) return;
    std::memcpy(room_.data() + used_, bytes.data(), bytes.size());
    used_ += bytes.size();
  }
  [[nodiscard]] Result<std::size_t> used() const {
    if (!full_) return used_;
    return fail(ErrorKind::invalid_input, "the description of a batch does not fit in " +
                                              std::to_string(room_.size()) +
                                              " bytes; use fewer images or dimensions");
  }

 private:
  const std::span<std::byte> room_;
  std::size_t used_ = 0;
  bool full_ = false;
};

class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  // False, and `value` as it was, when the bytes have come to their end.
  template <typename T>
  [[nodiscard]] bool get(T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    if (sizeof(T) > bytes_.size()) return false;
    std::memcpy(&value, bytes_.data(), sizeof(T));
    bytes_ = bytes_.subspan(sizeof(T));
    return true;
  }
  [[nodiscard]] bool get_text(std::size_t bytes, std::string& text) {
    if (bytes > bytes_.size()) return false;
    text.assign(reinterpret_cast<const char*>(bytes_.data()), bytes);
    bytes_ = bytes_.subspan(bytes);
    return true;
  }
  [[nodiscard]] bool at_end() const noexcept { return bytes_.empty(); }

 private:
  std::span<const std::byte> bytes_;
};

std::unexpected<Error> unshared(const char* what) {
  return fail(ErrorKind::invalid_input,
              std::string(what) +
                  " doesn't lie in memory that the worker shares; take it from a slot of a pool "
                  "that was made before the worker started, or use isolation: thread");
}

Result<WireShape> to_wire(const Shape& shape) {
  if (shape.size() > kRankMax) {
    return fail(ErrorKind::invalid_input, "a tensor of " + std::to_string(shape.size()) +
                                              " dimensions; a worker takes up to " +
                                              std::to_string(kRankMax));
  }
  WireShape wire{.rank = shape.size()};
  std::ranges::copy(shape, wire.dimensions);
  return wire;
}

bool from_wire(const WireShape& wire, Shape& shape) {
  if (wire.rank > kRankMax) return false;
  shape.assign(wire.dimensions, wire.dimensions + wire.rank);
  return true;
}

bool known(DataType type) {
  return type <= DataType::bytes;
}
bool known(PixelFormat format) {
  return format <= PixelFormat::bgr8;
}

Result<void> put_images(Writer& writer, const ImageStack& stack, const RegionTable& regions) {
  if (stack.images.size() > kImagesMax) {
    return fail(ErrorKind::invalid_input, std::to_string(stack.images.size()) +
                                              " images for one input; a worker takes up to " +
                                              std::to_string(kImagesMax));
  }
  writer.put(WireInput{.kind = WireInputKind::images,
                       .images = static_cast<std::uint32_t>(stack.images.size())});
  writer.put(std::bit_cast<WireRegion>(stack.region));
  for (const ImageView& image : stack.images) {
    const std::optional<Place> place = regions.find(image.pixels, image.byte_size());
    if (!place) return unshared("an image");
    writer.put(WireImage{.place = *place,
                         .width = image.width,
                         .height = image.height,
                         .stride_bytes = image.stride_bytes,
                         .format = image.format});
  }
  return {};
}

Result<void> put_tensor(Writer& writer, const TensorView& tensor, const RegionTable& regions) {
  const std::optional<Place> place = regions.find(tensor.bytes.data(), tensor.bytes.size());
  if (!place) return unshared("a tensor");
  Result<WireShape> shape = to_wire(tensor.shape);
  if (!shape) return std::unexpected(std::move(shape).error());
  writer.put(WireInput{.kind = WireInputKind::tensor});
  writer.put(WireTensor{
      .type = tensor.type, .shape = *shape, .place = *place, .bytes = tensor.bytes.size()});
  return {};
}

bool get_images(Reader& reader, std::uint32_t count, const RegionTable& regions,
                ImageStack& stack) {
  WireRegion region{};
  if (count > kImagesMax || !reader.get(region)) return false;
  stack.region = std::bit_cast<Region>(region);
  for (std::uint32_t i = 0; i < count; ++i) {
    WireImage wire;
    if (!reader.get(wire) || !known(wire.format)) return false;
    if (wire.width <= 0 || wire.height <= 0 || wire.stride_bytes <= 0) return false;
    if (wire.stride_bytes / channel_count(wire.format) < wire.width) return false;
    const std::uint64_t bytes =
        static_cast<std::uint64_t>(wire.stride_bytes) * static_cast<std::uint64_t>(wire.height);
    const std::span<std::byte> pixels = regions.at(wire.place, bytes);
    if (pixels.empty()) return false;
    stack.images.push_back({reinterpret_cast<const std::uint8_t*>(pixels.data()), wire.width,
                            wire.height, wire.stride_bytes, wire.format});
  }
  return true;
}

bool get_tensor(Reader& reader, const RegionTable& regions, TensorView& tensor) {
  WireTensor wire;
  if (!reader.get(wire) || !known(wire.type) || !from_wire(wire.shape, tensor.shape)) return false;
  tensor.type = wire.type;
  tensor.bytes = regions.at(wire.place, wire.bytes);
  return tensor.bytes.size() == wire.bytes;
}

bool get_input(Reader& reader, const RegionTable& regions, InputData& data) {
  WireInput wire;
  if (!reader.get(wire)) return false;
  if (wire.kind == WireInputKind::images) {
    return get_images(reader, wire.images, regions, data.emplace<ImageStack>());
  }
  return wire.kind == WireInputKind::tensor &&
         get_tensor(reader, regions, data.emplace<TensorView>());
}

bool get_output(Reader& reader, const RegionTable& regions, OutputBuffer& buffer) {
  WireOutputRoom wire;
  if (!reader.get(wire)) return false;
  buffer = OutputBuffer{};
  buffer.room = regions.at(wire.place, wire.bytes);
  return buffer.room.size() == wire.bytes;
}

std::unexpected<Error> no_batch() {
  return fail(ErrorKind::invalid_input, "the request area holds no batch");
}

std::unexpected<Error> no_reply(const std::string& why) {
  return fail(ErrorKind::corrupt_output, "the worker's reply is " + why);
}

// In the message that the worker made up, nothing but text.
std::string printable(std::string text) {
  std::ranges::replace_if(
      text, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }, ' ');
  return text;
}

Result<void> read_output(Reader& reader, OutputBuffer& buffer) {
  WireOutput wire;
  if (!reader.get(wire)) return no_reply("too short");
  if (!known(wire.type) || !from_wire(wire.shape, buffer.shape)) {
    return no_reply("no description of an output");
  }
  if (wire.bytes_used > buffer.room.size()) {
    return no_reply("larger than its room: " + std::to_string(wire.bytes_used) + " of " +
                    std::to_string(buffer.room.size()) + " bytes");
  }
  buffer.type = wire.type;
  buffer.bytes_used = wire.bytes_used;
  return {};
}

TimePoint time_at(std::int64_t nanoseconds) {
  return TimePoint(Duration(nanoseconds));
}

}  // namespace

std::size_t request_bytes_max(std::size_t samples, std::size_t inputs,
                              std::size_t outputs) noexcept {
  const std::size_t input =
      sizeof(WireInput) +
      std::max(sizeof(WireTensor), sizeof(WireRegion) + kImagesMax * sizeof(WireImage));
  return sizeof(std::uint64_t) +
         samples * (sizeof(WireSample) + inputs * input + outputs * sizeof(WireOutputRoom));
}

std::size_t reply_bytes_max(std::size_t samples, std::size_t outputs) noexcept {
  return sizeof(WireOutcome) + kMessageBytesMax + samples * outputs * sizeof(WireOutput);
}

Result<std::size_t> encode_request(std::span<std::byte> room, BatchView batch,
                                   const RegionTable& inputs, const RegionTable& outputs) {
  Writer writer(room);
  writer.put(static_cast<std::uint64_t>(batch.size()));
  for (const Sample& sample : batch) {
    writer.put(WireSample{static_cast<std::uint32_t>(sample.inputs.size()),
                          static_cast<std::uint32_t>(sample.outputs.size()), sample.rows});
    for (const InputData& input : sample.inputs) {
      const auto* const stack = std::get_if<ImageStack>(&input);
      Result<void> put = stack != nullptr ? put_images(writer, *stack, inputs)
                                          : put_tensor(writer, std::get<TensorView>(input), inputs);
      if (!put) return std::unexpected(std::move(put).error());
    }
    for (const OutputBuffer& output : sample.outputs) {
      const std::optional<Place> place = outputs.find(output.room.data(), output.room.size());
      if (!place) return unshared("the room of an output");
      writer.put(WireOutputRoom{*place, output.room.size()});
    }
  }
  return writer.used();
}

Result<void> DecodedBatch::decode(std::span<const std::byte> bytes, const RegionTable& inputs,
                                  const RegionTable& outputs) {
  Reader reader(bytes);
  std::uint64_t count = 0;
  if (!reader.get(count) || count == 0 || count > kSamplesMax) return no_batch();
  samples_.clear();
  inputs_.resize(std::max<std::size_t>(inputs_.size(), count));
  outputs_.resize(std::max<std::size_t>(outputs_.size(), count));
  for (std::uint64_t i = 0; i < count; ++i) {
    WireSample wire;
    // Each of them takes at least a byte: what claims more than there are is no batch.
    if (!reader.get(wire) || wire.inputs > bytes.size() || wire.outputs > bytes.size()) {
      return no_batch();
    }
    inputs_[i].resize(wire.inputs);
    outputs_[i].resize(wire.outputs);
    for (InputData& input : inputs_[i]) {
      if (!get_input(reader, inputs, input)) return no_batch();
    }
    for (OutputBuffer& output : outputs_[i]) {
      if (!get_output(reader, outputs, output)) return no_batch();
    }
    samples_.push_back({inputs_[i], outputs_[i], wire.rows});
  }
  return reader.at_end() ? Result<void>{} : no_batch();
}

Result<std::size_t> encode_reply(std::span<std::byte> room, BatchView batch,
                                 const BatchOutcome& outcome) {
  Writer writer(room);
  WireOutcome wire{.failed = outcome.status ? 0U : 1U};
  std::string_view message;
  if (!outcome.status) {
    wire.kind = outcome.status.error().kind;
    message = std::string_view(outcome.status.error().message).substr(0, kMessageBytesMax);
  } else {
    wire.samples = static_cast<std::uint32_t>(batch.size());
  }
  wire.message_bytes = static_cast<std::uint32_t>(message.size());
  const BatchTimes& times = outcome.times;
  const TimePoint points[] = {times.exec_start, times.compute_start, times.compute_end,
                              times.exec_end};
  for (std::size_t i = 0; i < std::size(points); ++i) {
    wire.times_ns[i] = points[i].time_since_epoch().count();
  }
  writer.put(wire);
  writer.put_bytes(std::as_bytes(std::span(message)));
  for (std::size_t i = 0; i < wire.samples; ++i) {
    for (const OutputBuffer& output : batch[i].outputs) {
      Result<WireShape> shape = to_wire(output.shape);
      if (!shape) return std::unexpected(std::move(shape).error());
      writer.put(WireOutput{.type = output.type, .shape = *shape, .bytes_used = output.bytes_used});
    }
  }
  return writer.used();
}

Result<BatchOutcome> decode_reply(std::span<const std::byte> bytes, BatchView batch) {
  Reader reader(bytes);
  WireOutcome wire;
  std::string message;
  if (!reader.get(wire) || !reader.get_text(wire.message_bytes, message)) {
    return no_reply("too short");
  }
  BatchOutcome outcome;
  TimePoint* const points[] = {&outcome.times.exec_start, &outcome.times.compute_start,
                               &outcome.times.compute_end, &outcome.times.exec_end};
  for (std::size_t i = 0; i < std::size(points); ++i) *points[i] = time_at(wire.times_ns[i]);
  if (!std::ranges::is_sorted(wire.times_ns)) return no_reply("timed backwards");
  if (wire.failed != 0) {
    if (static_cast<int>(wire.kind) >= kErrorKindCount) return no_reply("an unknown error");
    outcome.status = fail(wire.kind, printable(std::move(message)));
    return outcome;
  }
  if (wire.samples != batch.size()) return no_reply("for another number of requests");
  for (const Sample& sample : batch) {
    for (OutputBuffer& output : sample.outputs) {
      if (Result<void> read = read_output(reader, output); !read) {
        return std::unexpected(std::move(read).error());
      }
    }
  }
  if (!reader.at_end()) return no_reply("too long");
  return outcome;
}

}  // namespace takt::ipc
