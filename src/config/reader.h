// SPDX-License-Identifier: Apache-2.0
// Reads a YAML mapping key by key, knows where it is, and collects everything that is wrong with it.
// Thread-safe: no; one thread reads one file.
// Owns: the list of problems (shared by the readers of one file).
#pragma once

#include "core/result.h"
#include "core/time.h"

#include <yaml-cpp/yaml.h>

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace takt::config {

// Problems of one file, each as "FILE:LINE: PATH: what, expectation, remedy".
class Problems {
 public:
  explicit Problems(std::string file) : file_(std::move(file)) {}
  void add(const YAML::Mark& mark, const std::string& path, const std::string& message);
  [[nodiscard]] const std::vector<std::string>& all() const noexcept { return messages_; }

 private:
  std::string file_;
  std::vector<std::string> messages_;
};

class Reader {
 public:
  Reader(const YAML::Node& node, std::string path, Problems& problems);

  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  [[nodiscard]] bool has(std::string_view key);
  [[nodiscard]] bool is_mapping(std::string_view key);  // false when it is absent
  [[nodiscard]] bool is_list(std::string_view key);
  [[nodiscard]] std::vector<std::string> keys() const;  // in the file's order

  // Each leaves `target` as it is when the key is absent, and reports a value that doesn't fit.
  void text(std::string_view key, std::string& target);
  void texts(std::string_view key, std::vector<std::string>& target);  // a list, or one word
  void boolean(std::string_view key, bool& target);
  void integer(std::string_view key, std::int64_t& target, std::int64_t min, std::int64_t max);
  void integer(std::string_view key, int& target, int min, int max);
  void number(std::string_view key, float& target, double min, double max);
  void numbers(std::string_view key, std::vector<float>& target);
  void duration(std::string_view key, Duration& target);
  void bytes(std::string_view key, std::size_t& target);
  void rate(std::string_view key, double& target);

  // A word that `parse` turns into a T.
  template <typename T>
  void word(std::string_view key, T& target, Result<T> (*parse)(std::string_view)) {
    if (std::string value; scalar(key, value)) {
      const Result<T> parsed = parse(value);
      if (parsed) {
        target = *parsed;
      } else {
        problem(key, parsed.error().message);
      }
    }
  }

  // Calls `read` with the mapping under `key`, if it is there.
  void mapping(std::string_view key, const std::function<void(Reader&)>& read);
  // Calls `read` for each entry of the mapping under `key`, in the file's order.
  void entries(std::string_view key,
               const std::function<void(const std::string& name, Reader&)>& read);
  // Calls `read` for each mapping in the list under `key`.
  void list(std::string_view key, const std::function<void(Reader&)>& read);
  // Reports a missing key.
  void require(std::string_view key, std::string_view expectation);
  // `key` may be a dotted path into the mapping.
  void problem(std::string_view key, const std::string& message);
  // Reports every key that nothing has asked for, with the nearest known one. Call it last.
  void finish();

 private:
  [[nodiscard]] YAML::Node find(std::string_view key);
  [[nodiscard]] YAML::Mark mark_of(std::string_view path) const;
  [[nodiscard]] bool scalar(std::string_view key, std::string& value);
  [[nodiscard]] std::string child_path(std::string_view key) const;

  YAML::Node node_;
  std::string path_;
  Problems& problems_;
  std::vector<std::string> known_;
};

}  // namespace takt::config
