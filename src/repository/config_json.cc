// SPDX-License-Identifier: Apache-2.0
#include "repository/config_json.h"

#include "repository/config_fields.h"
#include "repository/model_config.h"
#include "repository/model_config.pb.h"

#include <google/protobuf/descriptor.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <cstdio>
#include <optional>
#include <utility>

namespace takt::repository {
namespace {

namespace pb = google::protobuf;
using nlohmann::json;

constexpr std::string_view kPlace = "config";  // in messages, where a file's name would stand

// What text format can hold besides quoted strings.
bool is_word(std::string_view text) {
  const auto fits = [](unsigned char c) {
    return c == '_' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  };
  return !text.empty() && (text[0] < '0' || text[0] > '9') && std::ranges::all_of(text, fits);
}

bool is_integer(std::string_view text) {
  if (text.starts_with('-')) text.remove_prefix(1);
  return !text.empty() && std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
}

std::string in_quotes(std::string_view text) {
  std::string result = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte != 0x7F && c != '"' && c != '\\') {
      result += c;
      continue;
    }
    std::array<char, 5> octal{};
    std::snprintf(octal.data(), octal.size(), "\\%03o", byte);
    result += octal.data();
  }
  return result + '"';
}

// Says nothing where a field without presence would be said to have its default.
bool is_empty(const json& value) {
  return value.is_null() || value == json::array() || value == json::object() || value == "" ||
         value == false;
}

std::unexpected<Error> refuse(const std::string& message) {
  return fail(ErrorKind::invalid_input, std::string(kPlace) + ": " + message);
}

// The first error stays.
class Writer {
 public:
  // The fields of one message, each on a line of its own.
  void write_fields(const json& object, const pb::Descriptor& type, const std::string& path) {
    for (const auto& [key, value] : object.items()) {
      const std::string place = path.empty() ? key : path + "." + key;
      if (const pb::FieldDescriptor* field = type.FindFieldByName(key)) {
        write_field(value, *field, place);
      } else {
        write_unknown(value, type, key, place);
      }
    }
  }
  [[nodiscard]] Result<std::string> take() {
    if (error_) return std::unexpected(std::move(*error_));
    return std::move(text_);
  }

 private:
  void refuse(const std::string& place, const std::string& message) {
    if (!error_) error_ = repository::refuse(place + ": " + message).error();
  }

  // Fields that are passed over or refused for what they say are parse_config_text()'s to judge: it
  // needs their name, not what they hold.
  void write_unknown(const json& value, const pb::Descriptor& type, const std::string& name,
                     const std::string& place) {
    const bool known = find_unused_field(type.name(), name).has_value();
    if (known && is_empty(value)) return;
    if (!is_word(name)) return refuse(place, "no field has this name");
    text_ += name + " { }\n";
  }

  void write_field(const json& value, const pb::FieldDescriptor& field, const std::string& place) {
    if (value.is_null()) return;
    if (field.is_map()) return write_map(value, field, place);
    if (!field.is_repeated()) return write_value(value, field, place);
    if (!value.is_array()) return refuse(place, "expected a list");
    for (std::size_t i = 0; i < value.size(); ++i) {
      write_value(value[i], field, place + "[" + std::to_string(i) + "]");
    }
  }

  void write_map(const json& value, const pb::FieldDescriptor& field, const std::string& place) {
    if (!value.is_object()) return refuse(place, "expected an object");
    for (const auto& [key, entry] : value.items()) {
      text_ += field.name() + " { key: " + in_quotes(key) + "\n";
      write_value(entry, *field.message_type()->map_value(), place + "." + key);
      text_ += "}\n";
    }
  }

  void write_value(const json& value, const pb::FieldDescriptor& field, const std::string& place) {
    if (field.cpp_type() == pb::FieldDescriptor::CPPTYPE_MESSAGE) {
      if (!value.is_object()) return refuse(place, "expected an object");
      text_ += field.name() + " {\n";
      write_fields(value, *field.message_type(), place);
      text_ += "}\n";
    } else if (const std::string scalar = scalar_of(value, field, place); !scalar.empty()) {
      text_ += field.name() + ": " + scalar + "\n";
    }
  }

  std::string scalar_of(const json& value, const pb::FieldDescriptor& field,
                        const std::string& place) {
    const std::string text = value.is_string() ? value.get<std::string>() : std::string();
    switch (field.cpp_type()) {
      case pb::FieldDescriptor::CPPTYPE_STRING:
        if (value.is_string()) return in_quotes(text);
        refuse(place, "expected a string");
        break;
      case pb::FieldDescriptor::CPPTYPE_BOOL:
        if (value.is_boolean()) return value.get<bool>() ? "true" : "false";
        refuse(place, "expected true or false");
        break;
      case pb::FieldDescriptor::CPPTYPE_ENUM:
        if (is_word(text)) return text;
        refuse(place, "expected a name, such as \"" + field.enum_type()->value(1)->name() + "\"");
        break;
      default:
        if (value.is_number_integer()) return value.dump();
        if (is_integer(text)) return text;
        refuse(place, "expected a whole number");
    }
    return {};
  }

  std::string text_;
  std::optional<Error> error_;
};

// Lines and columns of the text would lead nobody to a place in the JSON.
Error without_place(Error error) {
  std::string& message = error.message;
  const std::size_t begin = kPlace.size() + 1;
  const std::size_t end = message.find_first_not_of("0123456789:", begin);
  if (end != std::string::npos && end > begin) message.erase(begin, end - begin);
  return error;
}

}  // namespace

Result<std::string> config_text_of_json(std::string_view json_text, const Limits& limits) {
  if (json_text.size() > limits.config_bytes_max) {
    return refuse("larger than " + std::to_string(limits.config_bytes_max) + " bytes");
  }
  const json config = json::parse(json_text, nullptr, false);
  if (!config.is_object()) {
    return refuse("expected a JSON object, such as {\"max_batch_size\": 8}");
  }
  Writer writer;
  writer.write_fields(config, *schema::ModelConfig::descriptor(), "");
  Result<std::string> text = writer.take();
  if (!text) return text;
  const Result<ModelConfig> parsed = parse_model_config(*text, kPlace, limits);
  if (!parsed) return std::unexpected(without_place(parsed.error()));
  return text;
}

}  // namespace takt::repository
