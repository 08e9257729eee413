// SPDX-License-Identifier: Apache-2.0
#include "config/reader.h"

#include "config/units.h"
#include "core/suggest.h"

#include <algorithm>
#include <charconv>
#include <cmath>

namespace takt::config {
namespace {

// Names of tasks, lines and devices stand in file names, metrics and reasons.
bool is_name(std::string_view name) {
  constexpr std::size_t kNameMax = 64;
  return !name.empty() && name.size() <= kNameMax && std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_';
  });
}

constexpr std::size_t kShownMax = 40;

std::string kind_of(const YAML::Node& node) {
  switch (node.Type()) {
    case YAML::NodeType::Map:
      return "a mapping";
    case YAML::NodeType::Sequence:
      return "a list";
    case YAML::NodeType::Null:
      return "nothing";
    case YAML::NodeType::Scalar:
      // A long one may be a secret in the wrong place.
      return node.Scalar().size() > kShownMax ? "a text" : "'" + node.Scalar() + "'";
    case YAML::NodeType::Undefined:
      break;
  }
  return "nothing";
}

}  // namespace

void Problems::add(const YAML::Mark& mark, const std::string& path, const std::string& message) {
  std::string place = file_;
  if (!mark.is_null()) place += ":" + std::to_string(mark.line + 1);
  messages_.push_back(place + ": " + (path.empty() ? "" : path + ": ") + message);
}

Reader::Reader(const YAML::Node& node, std::string path, Problems& problems)
    : node_(node), path_(std::move(path)), problems_(problems) {
  if (node_.IsDefined() && !node_.IsMap() && !node_.IsNull()) {
    problems_.add(node_.Mark(), path_, "expected a mapping (key: value), found " + kind_of(node_));
    node_ = YAML::Node(YAML::NodeType::Map);
  }
}

std::string Reader::child_path(std::string_view key) const {
  return path_.empty() ? std::string(key) : path_ + "." + std::string(key);
}

YAML::Node Reader::find(std::string_view key) {
  known_.emplace_back(key);
  if (!node_.IsMap()) return YAML::Node(YAML::NodeType::Undefined);
  const YAML::Node& read_only = node_;  // operator[] on a mutable node would insert the key
  return read_only[std::string(key)];
}

bool Reader::has(std::string_view key) {
  return find(key).IsDefined();
}

bool Reader::is_mapping(std::string_view key) {
  const YAML::Node child = find(key);
  return child.IsDefined() && child.IsMap();
}

bool Reader::is_list(std::string_view key) {
  const YAML::Node child = find(key);
  return child.IsDefined() && child.IsSequence();
}

std::vector<std::string> Reader::keys() const {
  std::vector<std::string> names;
  for (const auto& entry : node_) {
    if (entry.first.IsScalar()) names.push_back(entry.first.Scalar());
  }
  return names;
}

void Reader::problem(std::string_view key, const std::string& message) {
  problems_.add(mark_of(key), child_path(key), message);
}

// The place of a dotted path, or of the innermost part of it that stands in the file.
YAML::Mark Reader::mark_of(std::string_view path) const {
  YAML::Node node;
  node.reset(node_);
  for (std::size_t begin = 0; begin <= path.size() && node.IsMap();) {
    const std::size_t end = std::min(path.find('.', begin), path.size());
    const YAML::Node& parent = node;
    const YAML::Node child = parent[std::string(path.substr(begin, end - begin))];
    if (!child.IsDefined()) break;
    node.reset(child);
    begin = end + 1;
  }
  return node.Mark();
}

bool Reader::scalar(std::string_view key, std::string& value) {
  const YAML::Node child = find(key);
  if (!child.IsDefined()) return false;
  if (!child.IsScalar()) {
    problem(key, "expected one value, found " + kind_of(child));
    return false;
  }
  value = child.Scalar();
  return true;
}

void Reader::text(std::string_view key, std::string& target) {
  std::string value;
  if (!scalar(key, value)) return;
  if (value.empty()) return problem(key, "is empty; expected a text");
  target = value;
}

void Reader::texts(std::string_view key, std::vector<std::string>& target) {
  const YAML::Node child = find(key);
  if (!child.IsDefined()) return;
  if (child.IsScalar()) {
    target = {child.Scalar()};
    return;
  }
  if (!child.IsSequence())
    return problem(key, "expected a list such as [a, b], found " + kind_of(child));
  target.clear();
  for (const YAML::Node& item : child) {
    if (item.IsScalar()) {
      target.push_back(item.Scalar());
    } else {
      problem(key, "expected a list of words, found " + kind_of(item) + " in it");
    }
  }
}

void Reader::boolean(std::string_view key, bool& target) {
  std::string value;
  if (!scalar(key, value)) return;
  if (value == "true" || value == "yes" || value == "on") {
    target = true;
  } else if (value == "false" || value == "no" || value == "off") {
    target = false;
  } else {
    problem(key, "'" + value + "' is neither true nor false");
  }
}

void Reader::integer(std::string_view key, std::int64_t& target, std::int64_t min,
                     std::int64_t max) {
  std::string value;
  if (!scalar(key, value)) return;
  std::int64_t parsed = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), parsed);
  if (error != std::errc{} || end != value.data() + value.size() || parsed < min || parsed > max) {
    return problem(key, "'" + value + "' does not fit; expected a whole number from " +
                            std::to_string(min) + " to " + std::to_string(max));
  }
  target = parsed;
}

void Reader::integer(std::string_view key, int& target, int min, int max) {
  std::int64_t wide = target;
  integer(key, wide, min, max);
  target = static_cast<int>(wide);
}

void Reader::number(std::string_view key, float& target, double min, double max) {
  std::string value;
  if (!scalar(key, value)) return;
  const Result<double> parsed = parse_number(value);
  if (!parsed) return problem(key, parsed.error().message);
  if (*parsed < min || *parsed > max) {
    return problem(key, "'" + value + "' is out of range; expected " + YAML::Dump(YAML::Node(min)) +
                            " to " + YAML::Dump(YAML::Node(max)));
  }
  target = static_cast<float>(*parsed);
}

void Reader::numbers(std::string_view key, std::vector<float>& target) {
  std::vector<std::string> words;
  texts(key, words);
  if (words.empty()) return;
  target.clear();
  for (const std::string& item : words) {
    const Result<double> parsed = parse_number(item);
    if (!parsed) return problem(key, parsed.error().message);
    target.push_back(static_cast<float>(*parsed));
  }
}

void Reader::duration(std::string_view key, Duration& target) {
  word<Duration>(key, target, &parse_duration);
}

void Reader::bytes(std::string_view key, std::size_t& target) {
  word<std::size_t>(key, target, &parse_bytes);
}

void Reader::rate(std::string_view key, double& target) {
  word<double>(key, target, &parse_rate);
}

void Reader::mapping(std::string_view key, const std::function<void(Reader&)>& read) {
  const YAML::Node child = find(key);
  if (!child.IsDefined()) return;
  Reader reader(child, child_path(key), problems_);
  read(reader);
  reader.finish();
}

void Reader::entries(std::string_view key,
                     const std::function<void(const std::string& name, Reader&)>& read) {
  const YAML::Node child = find(key);
  if (!child.IsDefined()) return;
  if (!child.IsMap())
    return problem(key, "expected a mapping from name to settings, found " + kind_of(child));
  std::vector<std::string> seen;
  for (const auto& entry : child) {
    const std::string name = entry.first.IsScalar() ? entry.first.Scalar() : std::string();
    if (!is_name(name)) {
      problems_.add(entry.first.Mark(), child_path(key),
                    "'" + name + "' is no name; expected up to 64 letters, digits, '-' and '_'");
      continue;
    }
    if (std::ranges::find(seen, name) != seen.end()) {
      problems_.add(entry.first.Mark(), child_path(key),
                    "the name '" + name + "' stands here twice; keep one");
      continue;
    }
    seen.push_back(name);
    const std::string path = child_path(key) + "." + name;
    Reader reader(entry.second, path, problems_);
    read(name, reader);
    reader.finish();
  }
}

void Reader::list(std::string_view key, const std::function<void(Reader&)>& read) {
  const YAML::Node child = find(key);
  if (!child.IsDefined()) return;
  if (!child.IsSequence()) return problem(key, "expected a list (- ...), found " + kind_of(child));
  std::size_t index = 0;
  for (const YAML::Node& item : child) {
    Reader reader(item, child_path(key) + "[" + std::to_string(index++) + "]", problems_);
    read(reader);
    reader.finish();
  }
}

void Reader::require(std::string_view key, std::string_view expectation) {
  if (!has(key)) problem(key, "is missing; expected " + std::string(expectation));
}

void Reader::finish() {
  if (!node_.IsMap()) return;
  std::ranges::sort(known_);
  const auto repeated = std::ranges::unique(known_);
  known_.erase(repeated.begin(), repeated.end());
  std::vector<std::string> seen;
  for (const auto& entry : node_) {
    const std::string key = entry.first.IsScalar() ? entry.first.Scalar() : kind_of(entry.first);
    if (std::ranges::find(seen, key) != seen.end()) {
      problems_.add(entry.first.Mark(), path_, "the key '" + key + "' stands here twice; keep one");
    } else if (!std::ranges::binary_search(known_, key)) {
      problems_.add(entry.first.Mark(), path_,
                    "unknown key '" + key + "'" + suggestion(key, known_));
    }
    seen.push_back(key);
  }
}

}  // namespace takt::config
