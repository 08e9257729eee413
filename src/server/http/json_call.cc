// SPDX-License-Identifier: Apache-2.0
#include "server/http/json_call.h"

#include "core/string_tensor.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace takt::server::http {
namespace {

namespace json = simdjson::ondemand;

constexpr std::size_t kTensorsMax = 1024;  // inputs, and outputs
constexpr std::size_t kRankMax = 16;
constexpr std::size_t kDepthMax = 32;
constexpr int kClassesMax = 1 << 20;

// What is wrong, thrown within this file only: simdjson's own errors come the same way.
struct Wrong {
  ApiError error;
};

// Where in the request something stands, "inputs[0].shape": put into words only where that is wrong.
// Views what it is made of.
class Place {
 public:
  // NOLINTNEXTLINE(google-explicit-constructor): a name is a place.
  Place(std::string_view name) : name_(name) {}
  // NOLINTNEXTLINE(google-explicit-constructor)
  Place(const char* name) : name_(name) {}
  Place(const Place& whole, std::string_view field) : whole_(&whole), name_(field) {}
  Place(const Place& list, std::size_t index) : whole_(&list), index_(index) {}

  [[nodiscard]] std::string text() const {
    const std::string whole = whole_ == nullptr ? "" : whole_->text();
    if (index_) return fmt::format("{}[{}]", whole, *index_);
    return whole.empty() ? std::string(name_) : fmt::format("{}.{}", whole, name_);
  }

 private:
  const Place* whole_ = nullptr;
  std::string_view name_;
  std::optional<std::size_t> index_;
};

[[noreturn]] void wrong(const Place& place, const std::string& what) {
  const std::string text = place.text();
  throw Wrong{{ApiCode::invalid_argument, text.empty() ? what : text + ": " + what}};
}

template <typename T>
T take(ApiResult<T> result) {
  if (!result) throw Wrong{std::move(result).error()};
  return std::move(*result);
}

std::uint64_t get_count(json::value value, const Place& place) {
  std::uint64_t count = 0;
  if (value.get_uint64().get(count) != simdjson::SUCCESS) {
    wrong(place, "expected a number of 0 or more");
  }
  return count;
}

std::string get_text(json::value value, const Place& place) {
  std::string_view text;
  if (value.get_string().get(text) != simdjson::SUCCESS) wrong(place, "expected a string");
  return std::string(text);
}

bool get_flag(json::value value, const Place& place) {
  bool flag = false;
  if (value.get_bool().get(flag) != simdjson::SUCCESS) wrong(place, "expected true or false");
  return flag;
}

// The parameters of an input or output.
struct TensorParameters {
  std::optional<SharedPlace> shared;
  std::optional<std::size_t> binary_bytes;
  std::optional<bool> binary;
  int classes = 0;
};

TensorParameters read_parameters(json::value parameters, const Place& place) {
  json::object object;
  if (parameters.get_object().get(object) != simdjson::SUCCESS) wrong(place, "expected an object");
  TensorParameters read;
  SharedPlace shared;
  bool has_bytes = false;
  for (auto field : object) {
    const std::string_view key = field.unescaped_key();
    const Place where(place, key);
    json::value value = field.value();
    if (key == "shared_memory_region") {
      shared.region = get_text(value, where);
    } else if (key == "shared_memory_offset") {
      shared.offset = get_count(value, where);
    } else if (key == "shared_memory_byte_size") {
      shared.bytes = get_count(value, where);
      has_bytes = true;
    } else if (key == "binary_data_size") {
      read.binary_bytes = get_count(value, where);
    } else if (key == "binary_data") {
      read.binary = get_flag(value, where);
    } else if (key == "classification") {
      const std::uint64_t classes = get_count(value, where);
      if (classes > kClassesMax) wrong(where, "more classes than any model has");
      read.classes = static_cast<int>(classes);
    }  // others are for other servers
  }
  if (!shared.region.empty()) {
    if (!has_bytes) wrong(place, "'shared_memory_byte_size' must be given with a region");
    read.shared = std::move(shared);
  }
  return read;
}

// Writes one value after the other, checking that there are as many as the shape says.
class Values {
 public:
  Values(std::span<std::byte> room, std::size_t count, const Place& place)
      : room_(room), count_(count), place_(place) {}

  template <typename T>
  void put(T value) {
    if (put_ == count_) too_many();
    std::memcpy(room_.data() + used_, &value, sizeof(T));
    used_ += sizeof(T);
    ++put_;
  }
  void put_text(std::string_view text) {
    if (put_ == count_) too_many();
    const auto used = put_string(room_, used_, text);
    if (!used) wrong(place_, "strings longer than the request");
    used_ = *used;
    ++put_;
  }
  [[nodiscard]] std::size_t finish() const {
    if (put_ < count_) {
      wrong(place_, fmt::format("unable to parse 'data': its shape asks for {} elements, got {}",
                                count_, put_));
    }
    return used_;
  }
  [[noreturn]] void bad(std::string_view expected) const {
    wrong(place_, fmt::format("element {} is not {}", put_, expected));
  }

 private:
  [[noreturn]] void too_many() const {
    wrong(place_, fmt::format("more than the {} elements that its shape asks for", count_));
  }

  const std::span<std::byte> room_;
  const std::size_t count_;
  const Place& place_;
  std::size_t used_ = 0;
  std::size_t put_ = 0;
};

template <typename T>
void put_number(Values& values, json::value& value) {
  if constexpr (std::is_same_v<T, bool>) {
    bool flag = false;
    if (value.get_bool().get(flag) != simdjson::SUCCESS) values.bad("true or false");
    values.put<std::uint8_t>(flag ? 1 : 0);
  } else if constexpr (std::is_floating_point_v<T>) {
    double number = 0;
    if (value.get_double().get(number) != simdjson::SUCCESS) values.bad("a number");
    const auto narrow = static_cast<T>(number);
    if (!std::isfinite(narrow)) values.bad("a number that the datatype can hold");
    values.put(narrow);
  } else if constexpr (std::is_signed_v<T>) {
    std::int64_t number = 0;
    if (value.get_int64().get(number) != simdjson::SUCCESS || !std::in_range<T>(number)) {
      values.bad("a whole number that the datatype can hold");
    }
    values.put(static_cast<T>(number));
  } else {
    std::uint64_t number = 0;
    if (value.get_uint64().get(number) != simdjson::SUCCESS || !std::in_range<T>(number)) {
      values.bad("a whole number that the datatype can hold");
    }
    values.put(static_cast<T>(number));
  }
}

// Flat, or nested as the shape is: both are the elements in their order.
template <typename Put>
void read_array(json::array array, std::size_t depth, Values& values, Put& put) {
  if (depth > kRankMax) values.bad("nested less deeply");
  for (auto element : array) {
    json::value value = element.value();
    if (value.type() == json::json_type::array) {
      read_array(value.get_array(), depth + 1, values, put);
    } else {
      put(value);
    }
  }
}

template <typename T>
void read_numbers(json::array array, Values& values) {
  const auto put = [&values](json::value& value) { put_number<T>(values, value); };
  read_array(array, 1, values, put);
}

void read_strings(json::array array, Values& values) {
  const auto put = [&values](json::value& value) {
    std::string_view text;
    if (value.get_string().get(text) != simdjson::SUCCESS) values.bad("a string");
    values.put_text(text);
  };
  read_array(array, 1, values, put);
}

void read_data(json::array array, DataType type, Values& values) {
  switch (type) {
    case DataType::boolean:
      return read_numbers<bool>(array, values);
    case DataType::uint8:
      return read_numbers<std::uint8_t>(array, values);
    case DataType::uint16:
      return read_numbers<std::uint16_t>(array, values);
    case DataType::uint32:
      return read_numbers<std::uint32_t>(array, values);
    case DataType::uint64:
      return read_numbers<std::uint64_t>(array, values);
    case DataType::int8:
      return read_numbers<std::int8_t>(array, values);
    case DataType::int16:
      return read_numbers<std::int16_t>(array, values);
    case DataType::int32:
      return read_numbers<std::int32_t>(array, values);
    case DataType::int64:
      return read_numbers<std::int64_t>(array, values);
    case DataType::fp32:
      return read_numbers<float>(array, values);
    case DataType::fp64:
      return read_numbers<double>(array, values);
    case DataType::bytes:
      return read_strings(array, values);
    case DataType::fp16:
    case DataType::bf16:
      break;
  }
  values.bad("of a datatype that JSON can send: send this input as binary data");
}

class Reading {
 public:
  Reading(std::size_t text_bytes, std::uint64_t binary_bytes, const RoomSource& room)
      : text_bytes_(text_bytes), binary_bytes_(binary_bytes), room_(room) {}

  JsonCall read(json::document& document) {
    json::object object;
    if (document.get_object().get(object) != simdjson::SUCCESS) {
      wrong("", "failed to parse the request JSON buffer: expected an object");
    }
    for (auto field : object) {
      const std::string_view key = field.unescaped_key();
      json::value value = field.value();
      note(key);
      if (key == "id") {
        call().id = read_id(value);
      } else if (key == "parameters") {
        read_request_parameters(value);
      } else if (key == "inputs") {
        read_list(value, "inputs",
                  [this](json::object item, const Place& place) { read_input(item, place); });
      } else if (key == "outputs") {
        read_list(value, "outputs",
                  [this](json::object item, const Place& place) { read_output(item, place); });
      }
    }
    if (!has_inputs_) wrong("", "unable to find 'inputs' in the request");
    if (document.current_location().error() == simdjson::SUCCESS)
      wrong("", "failed to parse the request JSON buffer: text behind its end");
    if (binary_stated_ < binary_bytes_) {
      wrong("", fmt::format("the inputs state {} bytes of binary data, but {} follow the JSON",
                            binary_stated_, binary_bytes_));
    }
    for (CallOutput& output : call().outputs) {
      if (!stated_binary_.contains(output.name)) output.binary = call().binary_outputs;
    }
    return std::move(read_);
  }

 private:
  InferCall& call() { return read_.call; }

  // Which of two lists of inputs counts, servers don't agree on.
  void note(std::string_view key) {
    bool* const came = key == "inputs"       ? &has_inputs_
                       : key == "outputs"    ? &has_outputs_
                       : key == "parameters" ? &has_parameters_
                       : key == "id"         ? &has_id_
                                             : nullptr;
    if (came != nullptr && std::exchange(*came, true)) wrong(key, "comes twice");
  }

  static std::string read_id(json::value value) {
    if (value.type() != json::json_type::number) return get_text(value, "id");
    const std::string_view digits = value.raw_json_token();
    if (value.get_double().error() != simdjson::SUCCESS) wrong("id", "expected a string");
    return std::string(digits.substr(0, digits.find_first_of(" \t\r\n")));
  }

  template <typename Read>
  static void read_list(json::value value, const Place& list, Read read) {
    json::array array;
    if (value.get_array().get(array) != simdjson::SUCCESS) wrong(list, "expected an array");
    std::size_t index = 0;
    for (auto element : array) {
      if (index == kTensorsMax) wrong(list, fmt::format("more than {}", kTensorsMax));
      const Place place(list, index++);
      json::object item;
      if (element.get_object().get(item) != simdjson::SUCCESS) wrong(place, "expected an object");
      read(item, place);
    }
  }

  void read_request_parameters(json::value value) {
    json::object object;
    if (value.get_object().get(object) != simdjson::SUCCESS) {
      wrong("parameters", "expected an object");
    }
    for (auto field : object) {
      const std::string_view key = field.unescaped_key();
      const Place parameters("parameters");
      const Place where(parameters, key);
      json::value parameter = field.value();
      if (key == "priority") {
        call().priority = get_count(parameter, where);
      } else if (key == "timeout") {
        call().timeout_us = get_count(parameter, where);
      } else if (key == "binary_data_output") {
        call().binary_outputs = get_flag(parameter, where);
      } else if (key == "sequence_id") {
        const bool none = parameter.type() == json::json_type::number
                              ? get_count(parameter, where) == 0
                              : get_text(parameter, where).empty();
        if (!none) call().sequence = true;
      } else if (key == "sequence_start" || key == "sequence_end") {
        if (get_flag(parameter, where)) call().sequence = true;
      }  // others are for other servers
    }
  }

  // What has come of an input. Fields are taken in the order in which they come: looking for one by its
  // name isn't safe on text that is no JSON.
  struct InputFields {
    bool name = false;
    bool type = false;
    bool shape = false;
    bool parameters = false;
    bool data = false;
    bool data_read = false;
  };

  static void note_field(bool& came, const Place& where) {
    if (std::exchange(came, true)) wrong(where, "comes twice");
  }

  void read_input(json::object item, const Place& place) {
    CallInput input;
    InputFields came;
    TensorParameters parameters;
    for (auto field : item) {
      const std::string_view key = field.unescaped_key();
      read_input_field(key, field.value(), place, came, input, parameters);
    }
    if (!came.name) wrong(place, "unable to find 'name'");
    if (!came.type) wrong(place, "unable to find 'datatype'");
    if (!came.shape) wrong(Place(place, "shape"), "expected an array of dimensions");
    if (came.data && !came.data_read) read_late_data(item, place, input);
    if (came.data + parameters.shared.has_value() + parameters.binary_bytes.has_value() > 1) {
      wrong(place, "expected either 'data', binary data or shared memory, got two of them");
    }
    if (parameters.shared) {
      input.shared = std::move(parameters.shared);
    } else if (parameters.binary_bytes) {
      read_.binary.push_back(make_binary_room(input, *parameters.binary_bytes, place));
    } else if (!came.data) {
      wrong(place, "must have 'data', the parameter binary_data_size, or a shared memory region");
    }
    call().inputs.push_back(std::move(input));
  }

  void read_input_field(std::string_view key, json::value value, const Place& place,
                        InputFields& came, CallInput& input, TensorParameters& parameters) {
    if (key == "name") {
      note_field(came.name, Place(place, "name"));
      input.name = get_text(value, Place(place, "name"));
    } else if (key == "datatype") {
      note_field(came.type, Place(place, "datatype"));
      const Result<DataType> type = parse_data_type(get_text(value, Place(place, "datatype")));
      if (!type) wrong(Place(place, "datatype"), type.error().message);
      input.type = *type;
    } else if (key == "shape") {
      note_field(came.shape, Place(place, "shape"));
      input.shape = read_shape(value, Place(place, "shape"));
    } else if (key == "parameters") {
      note_field(came.parameters, Place(place, "parameters"));
      parameters = read_parameters(value, Place(place, "parameters"));
    } else if (key == "data") {
      note_field(came.data, Place(place, "data"));
      came.data_read = came.type && came.shape;
      if (came.data_read) read_values(input, value, Place(place, "data"));
    }
  }

  // Of an input that says only behind its data how they are to be read.
  void read_late_data(json::object& item, const Place& place, CallInput& input) {
    static_cast<void>(item.reset().value());
    for (auto field : item) {
      const std::string_view key = field.unescaped_key();
      if (key == "data") read_values(input, field.value(), Place(place, "data"));
    }
  }

  // Memory only for what is there.
  std::span<std::byte> make_binary_room(CallInput& input, std::uint64_t bytes, const Place& place) {
    if (bytes > binary_bytes_ - binary_stated_) {
      wrong(place, fmt::format("{} bytes of binary data, but {} are left of the {} that follow the "
                               "JSON",
                               bytes, binary_bytes_ - binary_stated_, binary_bytes_));
    }
    binary_stated_ += bytes;
    return make_room(input, bytes);
  }

  std::span<std::byte> make_room(CallInput& input, std::size_t bytes) {
    if (bytes == 0) return {};
    Slot slot = take(room_(bytes));
    const std::span<std::byte> part = slot.bytes().first(bytes);
    input.bytes = part;
    call().slots.push_back(std::move(slot));
    return part;
  }

  void read_values(CallInput& input, json::value data, const Place& place) {
    const Result<std::size_t> count = element_count(input.shape);
    if (!count) wrong(place, count.error().message);
    // No element takes less than two characters, but the last; so what doesn't fit is known early.
    if (*count > text_bytes_) wrong(place, "fewer elements than its shape asks for");
    json::array array;
    if (data.get_array().get(array) != simdjson::SUCCESS) wrong(place, "expected an array");
    const std::size_t bytes = input.type == DataType::bytes
                                  ? *count * sizeof(std::uint32_t) + text_of(array).size()
                                  : *count * element_bytes(input.type);
    const std::span<std::byte> part = make_room(input, bytes);
    Values values(part, *count, place);
    read_data(array, input.type, values);
    input.bytes = part.first(values.finish());
  }

  // Its strings take no more than the whole.
  static std::string_view text_of(json::array& array) {
    const std::string_view text = array.raw_json();
    static_cast<void>(array.reset().value());
    return text;
  }

  void read_output(json::object item, const Place& place) {
    CallOutput output;
    TensorParameters parameters;
    bool has_name = false;
    bool has_parameters = false;
    for (auto field : item) {
      const std::string_view key = field.unescaped_key();
      if (key == "name") {
        note_field(has_name, Place(place, "name"));
        output.name = get_text(field.value(), Place(place, "name"));
      } else if (key == "parameters") {
        note_field(has_parameters, Place(place, "parameters"));
        parameters = read_parameters(field.value(), Place(place, "parameters"));
      }
    }
    if (!has_name) wrong(place, "unable to find 'name'");
    output.classes = parameters.classes;
    output.shared = std::move(parameters.shared);
    if (parameters.binary) {
      output.binary = *parameters.binary;
      stated_binary_.insert(output.name);
    }
    call().outputs.push_back(std::move(output));
  }

  static Shape read_shape(json::value value, const Place& place) {
    json::array array;
    if (value.get_array().get(array) != simdjson::SUCCESS) {
      wrong(place, "expected an array of dimensions");
    }
    Shape shape;
    for (auto element : array) {
      std::int64_t dim = 0;
      if (element.get_int64().get(dim) != simdjson::SUCCESS || dim < 0) {
        wrong(place, "expected whole numbers of 0 or more");
      }
      if (shape.size() == kRankMax) wrong(place, fmt::format("more than {} dimensions", kRankMax));
      shape.push_back(dim);
    }
    return shape;
  }

  const std::size_t text_bytes_;
  const std::uint64_t binary_bytes_;
  const RoomSource& room_;
  bool has_id_ = false;
  bool has_parameters_ = false;
  bool has_inputs_ = false;
  bool has_outputs_ = false;
  std::uint64_t binary_stated_ = 0;
  JsonCall read_;
  std::set<std::string> stated_binary_;
};

}  // namespace

struct JsonCallReader::Parser {
  json::parser parser;
};

JsonCallReader::JsonCallReader() : parser_(std::make_unique<Parser>()) {}
JsonCallReader::~JsonCallReader() = default;

std::size_t JsonCallReader::padding() noexcept {
  return simdjson::SIMDJSON_PADDING;
}

ApiResult<JsonCall> JsonCallReader::read(std::span<const char> text, std::uint64_t binary_bytes,
                                         const RoomSource& room) {
  try {
    // simdjson has room for each string once, and doesn't look whether that is enough; the keys of an
    // input whose data come early are read twice.
    if (parser_->parser.allocate(2 * text.size(), kDepthMax) != simdjson::SUCCESS) {
      return refuse(ApiCode::resource_exhausted, "no memory to read the request");
    }
    const simdjson::padded_string_view padded(text.data(), text.size(), text.size() + padding());
    json::document document = parser_->parser.iterate(padded);
    return Reading(text.size(), binary_bytes, room).read(document);
  } catch (Wrong& error) {
    return std::unexpected(std::move(error.error));
  } catch (const simdjson::simdjson_error& error) {
    return refuse(ApiCode::invalid_argument,
                  std::string("failed to parse the request JSON buffer: ") + error.what());
  }
}

}  // namespace takt::server::http
