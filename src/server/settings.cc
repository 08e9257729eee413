// SPDX-License-Identifier: Apache-2.0
#include "server/settings.h"

#include "core/suggest.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <span>
#include <utility>

namespace takt::server {
namespace {

constexpr std::size_t kModelsMax = 1024;

const TraceValues& trace_defaults() {
  static const TraceValues defaults{{"log_frequency", {"0"}},   {"trace_count", {"-1"}},
                                    {"trace_file", {""}},       {"trace_level", {"OFF"}},
                                    {"trace_mode", {"triton"}}, {"trace_rate", {"1000"}}};
  return defaults;
}

const LogValues& log_defaults() {
  static const LogValues defaults{{"log_error", true},
                                  {"log_file", std::string()},
                                  {"log_format", std::string("default")},
                                  {"log_info", true},
                                  {"log_verbose_level", std::uint32_t{0}},
                                  {"log_warning", true}};
  return defaults;
}

template <typename Values>
std::unexpected<ApiError> unknown(std::string_view name, const Values& known) {
  std::vector<std::string> names;
  for (const auto& [key, value] : known) names.push_back(key);
  return refuse(ApiCode::invalid_argument,
                fmt::format("no setting '{}'{}", name, suggestion(name, names)));
}

std::unexpected<ApiError> wrong(std::string_view name, std::string_view value,
                                std::string_view expected) {
  return refuse(ApiCode::invalid_argument,
                fmt::format("{}: '{}'; expected {}", name, value, expected));
}

std::unexpected<ApiError> no_file(std::string_view name) {
  return refuse(ApiCode::invalid_argument,
                fmt::format("{}: clients can't choose a file on the server; leave it empty", name));
}

bool is_number(std::string_view text, std::int64_t least, std::int64_t most) {
  std::int64_t number = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), number);
  return failure == std::errc{} && end == text.data() + text.size() && number >= least &&
         number <= most;
}

ApiResult<void> check_levels(std::span<const std::string> levels) {
  for (const std::string& level : levels) {
    const bool known = level == "TIMESTAMPS" || level == "TENSORS";
    if (known || (level == "OFF" && levels.size() == 1)) continue;
    return wrong("trace_level", level, "OFF alone, or some of TIMESTAMPS, TENSORS");
  }
  return {};
}

ApiResult<void> check_trace(std::string_view name, std::span<const std::string> values) {
  if (!trace_defaults().contains(name)) return unknown(name, trace_defaults());
  if (values.empty()) return {};
  if (name == "trace_level") return check_levels(values);
  const std::string& value = values.front();
  if (values.size() > 1) {
    return refuse(ApiCode::invalid_argument, fmt::format("{}: expected one value", name));
  }
  if (name == "trace_file") {
    if (!value.empty()) return no_file(name);
  } else if (name == "trace_mode") {
    if (value != "triton") return wrong(name, value, "triton");
  } else if (name == "trace_count") {
    constexpr std::int64_t kMost = std::numeric_limits<std::int32_t>::max();
    if (!is_number(value, -1, kMost)) return wrong(name, value, fmt::format("-1 to {}", kMost));
  } else {
    constexpr std::int64_t kMost = std::numeric_limits<std::uint32_t>::max();
    if (!is_number(value, 0, kMost)) return wrong(name, value, fmt::format("0 to {}", kMost));
  }
  return {};
}

ApiResult<void> check_log(std::string_view name, const LogValue& value) {
  const auto known = log_defaults().find(name);
  if (known == log_defaults().end()) return unknown(name, log_defaults());
  if (value.index() != known->second.index()) {
    constexpr std::array kTypes{"a boolean", "a number of 0 or more", "a string"};
    return refuse(ApiCode::invalid_argument,
                  fmt::format("{}: expected {}", name, kTypes[known->second.index()]));
  }
  const auto* text = std::get_if<std::string>(&value);
  if (text == nullptr) return {};
  if (name == "log_file" && !text->empty()) return no_file(name);
  if (name == "log_format" && *text != "default" && *text != "ISO8601") {
    return wrong(name, *text, "default or ISO8601");
  }
  return {};
}

}  // namespace

TraceSettings::TraceSettings() : server_(trace_defaults()) {}

TraceValues TraceSettings::values_locked(std::string_view model) const {
  TraceValues all = server_;
  if (const auto own = models_.find(model); own != models_.end()) {
    for (const auto& [name, values] : own->second) all[name] = values;
  }
  return all;
}

TraceValues TraceSettings::values(std::string_view model) const {
  const std::scoped_lock lock(mutex_);
  return values_locked(model);
}

ApiResult<TraceValues> TraceSettings::update(std::string_view model, const TraceValues& changes) {
  for (const auto& [name, values] : changes) {
    if (auto checked = check_trace(name, values); !checked) {
      return std::unexpected(std::move(checked).error());
    }
  }
  const std::scoped_lock lock(mutex_);
  if (changes.empty()) return values_locked(model);
  if (!model.empty() && !models_.contains(model) && models_.size() >= kModelsMax) {
    return refuse(ApiCode::resource_exhausted,
                  fmt::format("{} models have trace settings of their own, the most there can be",
                              kModelsMax));
  }
  TraceValues& target = model.empty() ? server_ : models_[std::string(model)];
  for (const auto& [name, values] : changes) {
    if (!values.empty()) {
      target[name] = values;
    } else if (model.empty()) {
      target[name] = trace_defaults().find(name)->second;
    } else {
      target.erase(name);
    }
  }
  if (!model.empty() && target.empty()) models_.erase(models_.find(model));
  return values_locked(model);
}

LogSettings::LogSettings() : values_(log_defaults()) {}

LogValues LogSettings::values() const {
  const std::scoped_lock lock(mutex_);
  return values_;
}

ApiResult<LogValues> LogSettings::update(const LogValues& changes) {
  for (const auto& [name, value] : changes) {
    if (auto checked = check_log(name, value); !checked) {
      return std::unexpected(std::move(checked).error());
    }
  }
  const std::scoped_lock lock(mutex_);
  for (const auto& [name, value] : changes) values_[name] = value;
  return values_;
}

}  // namespace takt::server
