// SPDX-License-Identifier: Apache-2.0
#include "app/compile_options.h"

#include "app/plan_folder.h"
#include "config/units.h"
#include "core/suggest.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace takt::app {
namespace {

constexpr std::int64_t kSizeMax = std::numeric_limits<std::int32_t>::max();

std::unexpected<Error> refuse(std::string_view option, const std::string& message) {
  return fail(ErrorKind::invalid_input, fmt::format("compile: {}: {}", option, message));
}

std::optional<std::int64_t> parse_integer(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<std::int64_t> parse_size(std::string_view text) {
  const std::optional<std::int64_t> size = parse_integer(text);
  return size && *size >= 1 && *size <= kSizeMax ? size : std::nullopt;
}

std::unexpected<Error> refuse_word(std::string_view option, const std::string& word,
                                   const std::vector<std::string>& expected) {
  return refuse(option, fmt::format("'{}' is unknown{}", word, suggestion(word, expected)));
}

Result<int> parse_device(const std::string& text) {
  constexpr std::string_view kPrefix = "cuda:";
  if (text == "cuda") return 0;
  if (text.starts_with(kPrefix)) {
    constexpr std::int64_t kDeviceMax = 1023;
    const auto index = parse_integer(std::string_view(text).substr(kPrefix.size()));
    if (index && *index >= 0 && *index <= kDeviceMax) return static_cast<int>(*index);
  }
  return refuse("--device", fmt::format("'{}' is no device that models are compiled for; expected "
                                        "cuda:N, such as cuda:0 (takt doctor shows them)",
                                        text));
}

Result<std::vector<std::int64_t>> check_batches(std::vector<std::int64_t> batches) {
  for (const std::int64_t batch : batches) {
    if (batch >= 1 && batch <= kCompiledBatchMax) continue;
    return refuse("--batch",
                  fmt::format("{} is no batch size; expected 1 to {}", batch, kCompiledBatchMax));
  }
  std::ranges::sort(batches);
  const auto repeated = std::ranges::unique(batches);
  batches.erase(repeated.begin(), repeated.end());
  return batches;
}

// NAME=VALUE; names may hold '=' themselves.
Result<std::pair<std::string, std::string>> split_setting(std::string_view option,
                                                          const std::string& setting,
                                                          std::string_view example) {
  const std::size_t equals = setting.rfind('=');
  if (equals == std::string::npos || equals == 0) {
    return refuse(option, fmt::format("'{}' names nothing; expected {}", setting, example));
  }
  return std::pair(setting.substr(0, equals), setting.substr(equals + 1));
}

std::optional<Shape> parse_shape(std::string_view text) {
  constexpr std::size_t kRankMax = 16;
  Shape shape;
  while (shape.size() < kRankMax) {
    const std::size_t end = text.find('x');
    const std::optional<std::int64_t> size = parse_size(text.substr(0, end));
    if (!size) return std::nullopt;
    shape.push_back(*size);
    if (end == std::string_view::npos) return shape;
    text.remove_prefix(end + 1);
  }
  return std::nullopt;
}

// Each NAME=VALUE of a list, its value read by `parse`, which gives nothing for nonsense.
template <typename Value, typename Parse>
Result<std::map<std::string, Value>> parse_settings(std::string_view option,
                                                    const std::vector<std::string>& settings,
                                                    std::string_view example, const Parse& parse) {
  std::map<std::string, Value> values;
  for (const std::string& setting : settings) {
    auto parts = split_setting(option, setting, example);
    if (!parts) return std::unexpected(std::move(parts).error());
    std::optional<Value> value = parse(parts->second);
    if (!value) {
      return refuse(option, fmt::format("'{}' has no sizes from 1 to {} behind '='; expected {}",
                                        setting, kSizeMax, example));
    }
    if (!values.emplace(parts->first, std::move(*value)).second) {
      return refuse(option, fmt::format("'{}' is given twice", parts->first));
    }
  }
  return values;
}

}  // namespace

Result<cuda::CompileOptions> compile_options(CompileArguments arguments) {
  if (arguments.precision.empty()) arguments.precision = "fp16";
  if (arguments.batches.empty()) arguments.batches = {1};
  if (arguments.workspace.empty()) arguments.workspace = "1GiB";
  if (arguments.effort.empty()) arguments.effort = "normal";
  cuda::CompileOptions options;
  const Result<int> device = parse_device(arguments.device);
  if (!device) return std::unexpected(device.error());
  const auto precision = cuda::parse_precision(arguments.precision);
  if (!precision) {
    return refuse_word("--precision", arguments.precision, {"fp32", "tf32", "fp16", "bf16"});
  }
  const auto effort = cuda::parse_effort(arguments.effort);
  if (!effort) return refuse_word("--effort", arguments.effort, {"fast", "normal", "max"});
  if (arguments.instances < 1 || arguments.instances > kCompiledInstancesMax) {
    return refuse("--instances", fmt::format("{} is no number of instances; expected 1 to {}",
                                             arguments.instances, kCompiledInstancesMax));
  }
  const Result<std::size_t> workspace = config::parse_bytes(arguments.workspace);
  if (!workspace) return refuse("--workspace", workspace.error().message);
  auto batches = check_batches(arguments.batches);
  if (!batches) return std::unexpected(std::move(batches).error());
  auto shapes =
      parse_settings<Shape>("--input", arguments.inputs, "images=1x3x640x640", &parse_shape);
  if (!shapes) return std::unexpected(std::move(shapes).error());
  auto dimensions =
      parse_settings<std::int64_t>("--dimension", arguments.dimensions, "height=640", &parse_size);
  if (!dimensions) return std::unexpected(std::move(dimensions).error());
  options.device = *device;
  options.precision = *precision;
  options.batches = std::move(*batches);
  options.workspace_bytes = *workspace;
  options.effort = *effort;
  options.instances = static_cast<int>(arguments.instances);
  options.input_shapes = std::move(*shapes);
  options.dimensions = std::move(*dimensions);
  options.plan = arguments.plan;
  options.cache_dir = plan_folder(arguments.cache);
  return options;
}

}  // namespace takt::app
