// SPDX-License-Identifier: Apache-2.0
#include "app/plan_arrivals.h"

#include "core/suggest.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <fstream>
#include <sstream>
#include <string>

namespace takt::app {
namespace {

constexpr std::uintmax_t kFileBytesMax = 256 << 20;
constexpr std::size_t kProblemsShown = 10;
constexpr double kSecondsMax = 1e9;  // Unix time fits
constexpr int kRowsMax = 4096;

std::string_view trimmed(std::string_view text) {
  const std::size_t first = text.find_first_not_of(" \t\r");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r") - first + 1);
}

std::vector<std::string_view> fields_of(std::string_view line) {
  std::vector<std::string_view> fields;
  while (true) {
    const std::size_t comma = line.find(',');
    fields.push_back(trimmed(line.substr(0, comma)));
    if (comma == std::string_view::npos) return fields;
    line.remove_prefix(comma + 1);
  }
}

template <typename T>
bool parse_number(std::string_view text, T& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

class Parser {
 public:
  explicit Parser(const config::Config& config) : config_(config) {
    for (const TaskSpec& task : config.tasks) tasks_.push_back(task.name);
    for (const config::LineEntry& entry : config.lines) lines_.push_back(entry.line.name);
  }

  Result<RecordedArrival> parse(std::string_view text) const {
    const std::vector<std::string_view> fields = fields_of(text);
    const auto wrong = [](std::string what) {
      return fail(ErrorKind::invalid_input, std::move(what));
    };
    if (fields.size() < 2 || fields.size() > 4) {
      return wrong(fmt::format("{} fields; expected seconds,task[,rows[,line]]", fields.size()));
    }
    RecordedArrival arrival;
    double seconds = 0;
    if (!parse_number(fields[0], seconds) || !(seconds >= 0 && seconds <= kSecondsMax)) {
      return wrong(fmt::format("'{}' is no time; expected seconds, such as 12.5", fields[0]));
    }
    arrival.at = Duration(std::llround(seconds * 1e9));
    const auto task = std::ranges::find(tasks_, fields[1]);
    if (task == tasks_.end()) {
      const std::string name(fields[1]);
      return wrong("no task '" + name + "'" + suggestion(name, tasks_));
    }
    arrival.task = static_cast<std::size_t>(task - tasks_.begin());
    if (fields.size() > 2 && !fields[2].empty() &&
        (!parse_number(fields[2], arrival.rows) || arrival.rows < 1 || arrival.rows > kRowsMax)) {
      return wrong(fmt::format("'{}' is no number of rows; expected 1 to {}", fields[2], kRowsMax));
    }
    const std::string line(fields.size() > 3 ? fields[3] : std::string_view{});
    return with_line(arrival, line);
  }

 private:
  Result<RecordedArrival> with_line(RecordedArrival arrival, const std::string& name) const {
    const std::string& task = tasks_[arrival.task];
    for (std::size_t i = 0; i < lines_.size(); ++i) {
      if (!name.empty() && name != lines_[i]) continue;
      const std::vector<std::string>& of_line = config_.lines[i].line.tasks;
      if (std::ranges::find(of_line, task) != of_line.end()) {
        arrival.line = i;
        return arrival;
      }
      if (!name.empty()) {
        return fail(ErrorKind::invalid_input, "line '" + name + "' has no task '" + task + "'");
      }
    }
    return fail(ErrorKind::invalid_input,
                name.empty() ? "no line has the task '" + task + "'"
                             : "no line '" + name + "'" + suggestion(name, lines_));
  }

  const config::Config& config_;
  std::vector<std::string> tasks_;
  std::vector<std::string> lines_;
};

}  // namespace

Result<std::vector<RecordedArrival>> parse_arrivals(const config::Config& config,
                                                    std::string_view text,
                                                    const std::filesystem::path& file) {
  const Parser parser(config);
  std::vector<RecordedArrival> arrivals;
  std::string problems;
  std::size_t problem_count = 0;
  for (std::size_t number = 1; !text.empty(); ++number) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = trimmed(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.empty() || line.starts_with('#')) continue;
    if (number == 1 && line.starts_with("seconds")) continue;
    const Result<RecordedArrival> arrival = parser.parse(line);
    if (arrival) {
      arrivals.push_back(*arrival);
    } else if (++problem_count <= kProblemsShown) {
      problems += fmt::format("{}{}:{}: {}", problems.empty() ? "" : "\n", file.string(), number,
                              arrival.error().message);
    }
  }
  if (problem_count > kProblemsShown) {
    problems += fmt::format("\n{}: and {} more", file.string(), problem_count - kProblemsShown);
  }
  if (!problems.empty()) return fail(ErrorKind::invalid_input, problems);
  if (arrivals.empty()) {
    return fail(ErrorKind::invalid_input,
                file.string() + ": no arrivals; expected lines seconds,task[,rows[,line]]");
  }
  std::ranges::stable_sort(arrivals, {}, &RecordedArrival::at);
  const Duration first = arrivals.front().at;
  for (RecordedArrival& arrival : arrivals) arrival.at -= first;
  return arrivals;
}

Result<std::vector<RecordedArrival>> read_arrivals(const config::Config& config,
                                                   const std::filesystem::path& file) {
  std::error_code failure;
  const std::uintmax_t size = std::filesystem::file_size(file, failure);
  std::ifstream stream(file);
  if (failure || !stream) {
    return fail(ErrorKind::invalid_input,
                file.string() +
                    ": can't be read; name a CSV file with seconds,task[,rows[,line]], "
                    "or poisson or periodic");
  }
  if (size > kFileBytesMax) {
    return fail(ErrorKind::invalid_input,
                file.string() + ": more than 256 MiB; take a shorter part of the recording");
  }
  std::ostringstream text;
  text << stream.rdbuf();
  return parse_arrivals(config, text.str(), file);
}

}  // namespace takt::app
