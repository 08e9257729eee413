// SPDX-License-Identifier: Apache-2.0
#include "server/grpc/wire_reader.h"

#include "core/utf8.h"
#include "server/grpc/wire_contents.h"

#include <array>
#include <bit>
#include <cstdint>
#include <limits>
#include <optional>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace takt::server::rpc {
namespace {

constexpr std::size_t kAlignment = 64;

std::unexpected<ApiError> invalid(std::string why) {
  return refuse(ApiCode::invalid_argument, std::move(why));
}

std::unexpected<ApiError> malformed(std::string_view message) {
  return invalid("the bytes are no " + std::string(message));
}

std::unexpected<ApiError> too_many(std::string_view what, std::size_t max) {
  return invalid("more than " + std::to_string(max) + " " + std::string(what));
}

std::unexpected<ApiError> within(std::string_view what, std::string_view name, ApiError error) {
  error.message = std::string(what) + " '" + std::string(name) + "': " + std::move(error.message);
  return std::unexpected(std::move(error));
}

ApiResult<void> read_text(const WireField& field, std::string_view what, std::string& text) {
  if (field.type != WireType::bytes) return malformed("ModelInferRequest");
  if (field.bytes.left() > kTextBytesMax) {
    return invalid("a " + std::string(what) + " of " + std::to_string(field.bytes.left()) +
                   " bytes; at most " + std::to_string(kTextBytesMax));
  }
  text.resize(field.bytes.left());
  WireCursor bytes = field.bytes;
  bytes.copy(std::as_writable_bytes(std::span(text)));
  if (!is_utf8(text)) return invalid("a " + std::string(what) + " that is not UTF-8");
  return {};
}

// An InferParameter, as its client typed it. A text is looked at when somebody asks for it.
using Value = std::variant<std::monostate, bool, std::int64_t, std::uint64_t, double, WireField>;

struct Parameter {
  std::string key;
  Value value;
};

bool read_value(WireCursor bytes, Value& value) {
  while (const std::optional<WireField> field = bytes.next_field()) {
    constexpr std::array kTypes{WireType::varint, WireType::varint, WireType::bytes,
                                WireType::fixed64, WireType::varint};
    if (field->number > kTypes.size()) continue;
    if (field->type != kTypes[field->number - 1]) return false;
    switch (field->number) {
      case 1:
        value = field->value != 0;
        break;
      case 2:
        value = static_cast<std::int64_t>(field->value);
        break;
      case 3:
        value = *field;
        break;
      case 4:
        value = std::bit_cast<double>(field->value);
        break;
      default:
        value = field->value;
    }
  }
  return bytes.ok();
}

// One entry of a map of parameters.
ApiResult<Parameter> read_parameter(const WireField& entry) {
  Parameter parameter;
  if (entry.type != WireType::bytes) return malformed("parameters");
  WireCursor bytes = entry.bytes;
  while (const std::optional<WireField> field = bytes.next_field()) {
    if (field->number == 1) {
      if (auto read = read_text(*field, "parameter's key", parameter.key); !read) {
        return std::unexpected(std::move(read).error());
      }
    } else if (field->number == 2) {
      if (field->type != WireType::bytes || !read_value(field->bytes, parameter.value)) {
        return malformed("parameters");
      }
    }
  }
  if (!bytes.ok()) return malformed("parameters");
  return parameter;
}

std::unexpected<ApiError> wrong_value(const Parameter& parameter, std::string_view expected) {
  return invalid("parameter '" + parameter.key + "': expected " + std::string(expected));
}

ApiResult<void> read_count(const Parameter& parameter, std::uint64_t& count) {
  if (const auto* value = std::get_if<std::int64_t>(&parameter.value); value && *value >= 0) {
    count = static_cast<std::uint64_t>(*value);
    return {};
  }
  if (const auto* value = std::get_if<std::uint64_t>(&parameter.value)) {
    count = *value;
    return {};
  }
  return wrong_value(parameter, "an int64_param or uint64_param of 0 or more");
}

ApiResult<void> read_sequence_id(const Parameter& parameter, bool& given) {
  if (const auto* text = std::get_if<WireField>(&parameter.value)) {
    given = text->bytes.left() > 0;
    return {};
  }
  std::uint64_t id = 0;
  if (const auto* number = std::get_if<std::int64_t>(&parameter.value)) {
    id = static_cast<std::uint64_t>(*number);
  } else if (const auto* positive = std::get_if<std::uint64_t>(&parameter.value)) {
    id = *positive;
  } else {
    return wrong_value(parameter, "an int64_param or a string_param");
  }
  given = id != 0;
  return {};
}

ApiResult<void> read_flag(const Parameter& parameter, bool& flag) {
  const auto* value = std::get_if<bool>(&parameter.value);
  if (value == nullptr) return wrong_value(parameter, "a bool_param");
  flag = *value;
  return {};
}

// What says that a request belongs to a sequence.
struct SequenceMarks {
  bool id = false;
  bool start = false;
  bool end = false;
};

// The parameters of a tensor that takt knows.
struct TensorParameters {
  std::optional<std::string> region;
  std::optional<std::uint64_t> region_bytes;
  std::uint64_t region_offset = 0;
  std::uint64_t classes = 0;
  std::size_t count = 0;

  ApiResult<void> apply(const WireField& entry) {
    if (++count > kParametersMax) return too_many("parameters", kParametersMax);
    const ApiResult<Parameter> parameter = read_parameter(entry);
    if (!parameter) return std::unexpected(parameter.error());
    if (parameter->key == "shared_memory_offset") return read_count(*parameter, region_offset);
    if (parameter->key == "shared_memory_byte_size") {
      return read_count(*parameter, region_bytes.emplace());
    }
    if (parameter->key == "classification") return read_count(*parameter, classes);
    if (parameter->key != "shared_memory_region") return {};
    const auto* text = std::get_if<WireField>(&parameter->value);
    if (text == nullptr) return wrong_value(*parameter, "a string_param");
    return read_text(*text, "name of a shared memory region", region.emplace());
  }

  ApiResult<std::optional<SharedPlace>> shared() const {
    if (!region) {
      if (!region_bytes && region_offset == 0) return std::nullopt;
      return invalid("the place in shared memory has no shared_memory_region");
    }
    if (!region_bytes) return invalid("shared_memory_region needs a shared_memory_byte_size");
    return SharedPlace{*region, static_cast<std::size_t>(region_offset),
                       static_cast<std::size_t>(*region_bytes)};
  }
};

ApiResult<void> read_dimensions(const WireField& field, Shape& shape) {
  const auto add = [&shape](std::uint64_t dimension) {
    shape.push_back(static_cast<std::int64_t>(dimension));
    return shape.size() <= kRankMax;
  };
  if (field.type == WireType::varint) {
    if (!add(field.value)) return too_many("dimensions", kRankMax);
    return {};
  }
  if (field.type != WireType::bytes) return malformed("InferInputTensor");
  WireCursor packed = field.bytes;
  while (packed.left() > 0) {
    const std::optional<std::uint64_t> dimension = packed.next_varint();
    if (!dimension) return malformed("InferInputTensor");
    if (!add(*dimension)) return too_many("dimensions", kRankMax);
  }
  return {};
}

// An input whose data are still where they were received.
struct ReadInput {
  CallInput input;
  std::optional<WireCursor> data;  // the elements, raw or as InferTensorContents
  bool raw = false;
  TensorParameters parameters;
};

ApiResult<void> apply_to_input(const WireField& field, ReadInput& read, std::string& datatype) {
  switch (field.number) {
    case 1:
      return read_text(field, "tensor's name", read.input.name);
    case 2:
      return read_text(field, "datatype", datatype);
    case 3:
      return read_dimensions(field, read.input.shape);
    case 4:
      return read.parameters.apply(field);
    case 5:
      if (field.type != WireType::bytes) return malformed("InferInputTensor");
      if (read.data) return invalid("contents that come twice");
      read.data = field.bytes;
      return {};
    default:
      return {};
  }
}

ApiResult<void> read_input_fields(WireCursor bytes, ReadInput& read) {
  std::string datatype;
  while (const std::optional<WireField> field = bytes.next_field()) {
    if (auto applied = apply_to_input(*field, read, datatype); !applied) return applied;
  }
  if (!bytes.ok()) return malformed("InferInputTensor");
  const Result<DataType> type = parse_data_type(datatype);
  if (!type) return invalid(type.error().message);
  read.input.type = *type;
  auto shared = read.parameters.shared();
  if (!shared) return std::unexpected(std::move(shared).error());
  read.input.shared = std::move(*shared);
  if (read.data && read.data->left() == 0) read.data.reset();
  if (read.input.shared && read.data) {
    return invalid("contents, and a place in shared memory as well; expected one of them");
  }
  return {};
}

ApiResult<void> apply_to_output(const WireField& field, CallOutput& output,
                                TensorParameters& parameters) {
  if (field.number == 1) return read_text(field, "tensor's name", output.name);
  if (field.number == 2) return parameters.apply(field);
  return {};
}

ApiResult<void> read_output_fields(WireCursor bytes, CallOutput& output) {
  TensorParameters parameters;
  while (const std::optional<WireField> field = bytes.next_field()) {
    if (auto applied = apply_to_output(*field, output, parameters); !applied) return applied;
  }
  if (!bytes.ok()) return malformed("InferRequestedOutputTensor");
  if (!std::in_range<int>(parameters.classes)) return invalid("classification: too many classes");
  output.classes = static_cast<int>(parameters.classes);
  auto shared = parameters.shared();
  if (!shared) return std::unexpected(std::move(shared).error());
  output.shared = std::move(*shared);
  return {};
}

// A request, before anything of its data has been copied.
class Request {
 public:
  ApiResult<void> read(WireCursor message) {
    while (const std::optional<WireField> field = message.next_field()) {
      if (auto applied = apply(*field); !applied) return applied;
    }
    if (!message.ok()) return malformed("ModelInferRequest");
    call_.sequence = sequence_.id || sequence_.start || sequence_.end;
    return assign_raw();
  }

  // The call, its data copied.
  ApiResult<InferCall> finish(const RoomSource& room) && {
    std::vector<std::size_t> bytes;
    std::size_t total = 0;
    for (const ReadInput& input : inputs_) {
      const ApiResult<std::size_t> needed = tensor_bytes(input);
      if (!needed) return within("input", input.input.name, needed.error());
      bytes.push_back(*needed);
      total += aligned(*needed);
    }
    if (total > 0) {
      ApiResult<Slot> slot = room(total);
      if (!slot) return std::unexpected(std::move(slot).error());
      call_.slots.push_back(std::move(*slot));
    }
    for (std::size_t i = 0, offset = 0; i < inputs_.size(); offset += aligned(bytes[i]), ++i) {
      if (auto filled = fill(inputs_[i], offset, bytes[i]); !filled) {
        return within("input", inputs_[i].input.name, std::move(filled).error());
      }
      call_.inputs.push_back(std::move(inputs_[i].input));
    }
    return std::move(call_);
  }

 private:
  static std::size_t aligned(std::size_t bytes) {
    return (bytes + kAlignment - 1) / kAlignment * kAlignment;
  }

  ApiResult<void> apply(const WireField& field) {
    switch (field.number) {
      case 1:
        return read_text(field, "model's name", call_.model);
      case 2:
        return read_text(field, "model's version", call_.version);
      case 3:
        return read_text(field, "request's id", call_.id);
      case 4:
        return add_parameter(field);
      case 5:
        return add_input(field);
      case 6:
        return add_output(field);
      case 7:
        if (field.type != WireType::bytes) return malformed("ModelInferRequest");
        if (raw_.size() == kTensorsMax) return too_many("raw input contents", kTensorsMax);
        raw_.push_back(field.bytes);
        return {};
      default:
        return {};
    }
  }

  ApiResult<void> add_parameter(const WireField& field) {
    if (++parameters_ > kParametersMax) return too_many("parameters", kParametersMax);
    const ApiResult<Parameter> parameter = read_parameter(field);
    if (!parameter) return std::unexpected(parameter.error());
    const std::string& key = parameter->key;
    if (key == "priority") return read_count(*parameter, call_.priority);
    if (key == "timeout") return read_count(*parameter, call_.timeout_us);
    if (key == "sequence_id") return read_sequence_id(*parameter, sequence_.id);
    if (key == "sequence_start") return read_flag(*parameter, sequence_.start);
    if (key == "sequence_end") return read_flag(*parameter, sequence_.end);
    return {};
  }

  ApiResult<void> add_input(const WireField& field) {
    if (field.type != WireType::bytes) return malformed("ModelInferRequest");
    if (inputs_.size() == kTensorsMax) return too_many("inputs", kTensorsMax);
    ReadInput& input = inputs_.emplace_back();
    if (auto read = read_input_fields(field.bytes, input); !read) {
      return within("input", input.input.name, std::move(read).error());
    }
    return {};
  }

  ApiResult<void> add_output(const WireField& field) {
    if (field.type != WireType::bytes) return malformed("ModelInferRequest");
    if (call_.outputs.size() == kTensorsMax) return too_many("outputs", kTensorsMax);
    CallOutput& output = call_.outputs.emplace_back();
    if (auto read = read_output_fields(field.bytes, output); !read) {
      return within("output", output.name, std::move(read).error());
    }
    return {};
  }

  // The n-th raw contents belong to the n-th input that isn't in shared memory.
  ApiResult<void> assign_raw() {
    if (raw_.empty()) return {};
    std::size_t used = 0;
    for (ReadInput& input : inputs_) {
      if (input.input.shared) continue;
      if (input.data) {
        return within(
            "input", input.input.name,
            {ApiCode::invalid_argument, "contents must not be set beside raw_input_contents"});
      }
      input.raw = true;
      if (used < raw_.size()) input.data = raw_[used];
      ++used;
    }
    if (used == raw_.size()) return {};
    return invalid("expected " + std::to_string(used) +
                   " raw input contents, one for each input outside of shared memory, got " +
                   std::to_string(raw_.size()));
  }

  static ApiResult<std::size_t> tensor_bytes(const ReadInput& input) {
    if (input.input.shared) return 0;
    if (input.raw) return input.data->left();
    const Result<std::size_t> count = element_count(input.input.shape);
    if (!count) return invalid(count.error().message);
    if (!input.data) {
      if (*count == 0) return 0;
      return invalid("no data: expected contents, raw_input_contents or a shared memory region");
    }
    return contents_bytes(*input.data, input.input.type, *count);
  }

  ApiResult<void> fill(ReadInput& input, std::size_t offset, std::size_t bytes) {
    if (!input.data) return {};
    const std::span<std::byte> into = call_.slots.empty()
                                          ? std::span<std::byte>{}
                                          : call_.slots.front().bytes().subspan(offset, bytes);
    input.input.bytes = into;
    if (!input.raw) return read_contents(*input.data, input.input.type, into);
    input.data->copy(into);
    return {};
  }

  InferCall call_;
  std::vector<ReadInput> inputs_;
  std::vector<WireCursor> raw_;
  SequenceMarks sequence_;
  std::size_t parameters_ = 0;
};

}  // namespace

ApiResult<InferCall> read_infer_request(Pieces message, const RoomSource& room) {
  Request request;
  if (auto read = request.read(WireCursor(message)); !read) {
    return std::unexpected(std::move(read).error());
  }
  return std::move(request).finish(room);
}

std::string read_request_id(Pieces message) {
  constexpr std::uint32_t kId = 3;
  std::string id;
  WireCursor cursor(message);
  while (const std::optional<WireField> field = cursor.next_field()) {
    if (field->number == kId && !read_text(*field, "request's id", id)) id.clear();
  }
  return id;
}

}  // namespace takt::server::rpc
