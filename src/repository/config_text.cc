// SPDX-License-Identifier: Apache-2.0
#include "repository/config_text.h"

#include "core/suggest.h"
#include "repository/config_fields.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/text_format.h>

#include <algorithm>
#include <optional>
#include <utility>

namespace takt::repository {
namespace {

namespace pb = google::protobuf;

constexpr int kNestingMax = 32;

struct Place {
  int line = 0;  // from 1
  int column = 0;
};

std::string at(std::string_view file, Place place) {
  std::string text(file);
  text += ':' + std::to_string(place.line) + ':' + std::to_string(place.column);
  return text + ": ";
}

struct Diagnostic {
  Place place;
  std::string message;
};

class Collector final : public pb::io::ErrorCollector {
 public:
  void AddError(int line, pb::io::ColumnNumber column, const std::string& message) override {
    if (!error_) error_ = Diagnostic{{line + 1, column + 1}, message};
  }
  void AddWarning(int line, pb::io::ColumnNumber column, const std::string& message) override {
    warnings_.push_back({{line + 1, column + 1}, message});
  }

  [[nodiscard]] const std::optional<Diagnostic>& error() const { return error_; }
  [[nodiscard]] const std::vector<Diagnostic>& warnings() const { return warnings_; }

 private:
  std::optional<Diagnostic> error_;
  std::vector<Diagnostic> warnings_;
};

// The parts of `text` in double quotes, as protobuf's messages quote names.
std::vector<std::string> quoted_names(std::string_view text) {
  std::vector<std::string> names;
  for (std::size_t open = text.find('"'); open != std::string_view::npos;) {
    const std::size_t close = text.find('"', open + 1);
    if (close == std::string_view::npos) break;
    names.emplace_back(text.substr(open + 1, close - open - 1));
    open = text.find('"', close + 1);
  }
  return names;
}

std::vector<std::string> field_names(const pb::Descriptor& message) {
  std::vector<std::string> names;
  names.reserve(static_cast<std::size_t>(message.field_count()));
  for (int i = 0; i < message.field_count(); ++i) names.push_back(message.field(i)->name());
  return names;
}

// Every enumeration value of the schema, for suggestions.
std::vector<std::string> value_names(std::string_view field) {
  const pb::EnumDescriptor* type = field == "kind" ? schema::ModelInstanceGroup::Kind_descriptor()
                                                   : schema::DataType_descriptor();
  std::vector<std::string> names;
  for (int i = 0; i < type->value_count(); ++i) {
    if (type->value(i)->name() != "TYPE_INVALID") names.push_back(type->value(i)->name());
  }
  return names;
}

// protobuf reports an unknown value at the token after it; the value itself is what a person seeks.
Place place_of_value(std::string_view text, std::string_view value, Place after) {
  std::size_t line_start = 0;
  for (int line = 1; line < after.line; ++line) line_start = text.find('\n', line_start) + 1;
  const std::size_t limit =
      std::min(text.size(), line_start + static_cast<std::size_t>(after.column));
  const std::size_t found = text.substr(0, limit).rfind(value);
  if (found == std::string_view::npos) return after;
  const std::string_view before = text.substr(0, found);
  const std::size_t newline = before.rfind('\n');
  return {static_cast<int>(std::ranges::count(before, '\n')) + 1,
          static_cast<int>(newline == std::string_view::npos ? found : found - newline - 1) + 1};
}

std::string explain_error(std::string_view text, std::string_view file, const Diagnostic& error) {
  const std::string& message = error.message;
  const std::vector<std::string> names = quoted_names(message);
  if (message.starts_with("Unknown enumeration value") && names.size() >= 2) {
    return at(file, place_of_value(text, names[0], error.place)) + "unknown value '" + names[0] +
           "' for field '" + names[1] + "'" + suggestion(names[0], value_names(names[1]));
  }
  if (message.find("specified multiple times") != std::string::npos && !names.empty()) {
    return at(file, error.place) + "field '" + names[0] + "' is given twice; keep one of them";
  }
  return at(file, error.place) + message +
         " (expected protobuf text format, such as: max_batch_size: 8)";
}

// A field that the schema doesn't have: passed over, refused, or mistyped.
Result<std::string> judge_unknown_field(const Diagnostic& warning, std::string_view file) {
  const std::vector<std::string> names = quoted_names(warning.message);
  if (names.size() < 2)
    return fail(ErrorKind::invalid_input, at(file, warning.place) + warning.message);
  const std::string message = names[0].substr(names[0].rfind('.') + 1);
  const std::string& field = names[1];
  if (const std::optional<UnusedField> unused = find_unused_field(message, field)) {
    if (unused->refusal.empty())
      return field + " (line " + std::to_string(warning.place.line) + ")";
    return fail(ErrorKind::invalid_input,
                at(file, warning.place) + "field '" + field +
                    "' can't be honoured: " + std::string(unused->refusal));
  }
  const pb::Descriptor* type =
      schema::ModelConfig::descriptor()->file()->pool()->FindMessageTypeByName(names[0]);
  const std::string hint = type == nullptr ? "" : suggestion(field, field_names(*type));
  return fail(ErrorKind::invalid_input,
              at(file, warning.place) + "unknown field '" + field + "'" + hint);
}

// protobuf skips unknown fields by recursion without a limit, so depth is checked before.
Result<void> check_nesting(std::string_view text, std::string_view file) {
  int depth = 0;
  Place place{1, 1};
  char quote = 0;
  bool comment = false;
  for (std::size_t i = 0; i < text.size(); ++i, ++place.column) {
    const char c = text[i];
    if (c == '\n') {
      comment = false;
      quote = 0;
      place = {place.line + 1, 0};
    } else if (comment) {
      continue;
    } else if (quote != 0) {
      // A quoted string ends with its line, also behind a backslash.
      if (c == '\\' && i + 1 < text.size() && text[i + 1] != '\n') ++i, ++place.column;
      if (c == quote) quote = 0;
    } else if (c == '"' || c == '\'') {
      quote = c;
    } else if (c == '#') {
      comment = true;
    } else if (c == '{' || c == '[' || c == '<') {
      if (++depth > kNestingMax) {
        return fail(ErrorKind::invalid_input, at(file, place) + "more than " +
                                                  std::to_string(kNestingMax) + " nested brackets");
      }
    } else if (c == '}' || c == ']' || c == '>') {
      --depth;
    }
  }
  return {};
}

}  // namespace

Result<ConfigText> parse_config_text(std::string_view text, std::string_view file,
                                     const Limits& limits) {
  if (text.size() > limits.config_bytes_max) {
    return fail(ErrorKind::invalid_input, std::string(file) + ": larger than " +
                                              std::to_string(limits.config_bytes_max) +
                                              " bytes; is this a config.pbtxt?");
  }
  if (const std::size_t zero = text.find('\0'); zero != std::string_view::npos) {
    return fail(ErrorKind::invalid_input, std::string(file) + ": a zero byte at offset " +
                                              std::to_string(zero) +
                                              "; expected protobuf text format");
  }
  if (Result<void> nesting = check_nesting(text, file); !nesting) {
    return std::unexpected(std::move(nesting).error());
  }
  ConfigText config;
  Collector collector;
  pb::TextFormat::Parser parser;
  parser.RecordErrorsTo(&collector);
  parser.AllowUnknownField(true);  // they come as warnings, which are judged below
  parser.SetRecursionLimit(kNestingMax);
  const bool parsed = parser.ParseFromString(std::string(text), &config.message);
  // A mistyped name comes first: what follows it is often only its consequence.
  for (const Diagnostic& warning : collector.warnings()) {
    Result<std::string> ignored = judge_unknown_field(warning, file);
    if (!ignored) return std::unexpected(std::move(ignored).error());
    config.ignored_fields.push_back(std::move(*ignored));
  }
  if (!parsed) {
    const Diagnostic error = collector.error().value_or(Diagnostic{{1, 1}, "can't be parsed"});
    return fail(ErrorKind::invalid_input, explain_error(text, file, error));
  }
  return config;
}

}  // namespace takt::repository
