// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/cuda_parameters.h"

#include "core/suggest.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <string>
#include <utility>

namespace takt::cuda {
namespace {

constexpr std::int64_t kBatchMax = 1 << 16;
constexpr std::string_view kPrefix = "cuda.";
constexpr std::string_view kDevicePrefix = "cuda:";
constexpr std::int64_t kWorkspaceMibMax = std::int64_t{1} << 20;

std::optional<std::int64_t> parse_number(std::string_view text) {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return {};
  return number;
}

std::unexpected<Error> refuse(std::string_view key, std::string_view value,
                              std::string_view expected) {
  return fail(ErrorKind::invalid_input,
              fmt::format("parameter {}: '{}'; expected {}", key, value, expected));
}

Result<int> device_index(const std::string& device) {
  const bool is_gpu = device.starts_with(kDevicePrefix);
  const auto index = is_gpu ? parse_number(device.substr(kDevicePrefix.size())) : std::nullopt;
  if (index && *index >= 0 && *index <= 1024) return static_cast<int>(*index);
  return fail(
      ErrorKind::unavailable,
      fmt::format("the cuda backend runs on devices 'cuda:0', 'cuda:1', ..., not '{}'", device));
}

// A task may take fewer rows than the model, for whose batches the sizes are written.
Result<std::vector<std::int64_t>> read_batches(std::string_view key, const std::string& value,
                                               int batch_max) {
  const std::string expected =
      fmt::format("batch sizes from 1 to {}, with commas between", kBatchMax);
  std::vector<std::int64_t> batches;
  for (std::size_t begin = 0; begin <= value.size();) {
    const std::size_t end = std::min(value.find(',', begin), value.size());
    const auto number = parse_number(std::string_view(value).substr(begin, end - begin));
    if (!number || *number < 1 || *number > kBatchMax) return refuse(key, value, expected);
    if (*number < batch_max) batches.push_back(*number);
    begin = end + 1;
  }
  batches.push_back(batch_max);
  std::ranges::sort(batches);
  const auto [first, last] = std::ranges::unique(batches);
  batches.erase(first, last);
  return batches;
}

Result<void> read_parameter(const std::string& key, const std::string& value, int batch_max,
                            CudaParameters& parameters) {
  const std::string_view name = std::string_view(key).substr(kPrefix.size());
  if (name == "precision") {
    const std::optional<Precision> precision = parse_precision(value);
    if (!precision) return refuse(key, value, "fp32, tf32, fp16 or bf16");
    parameters.precision = *precision;
  } else if (name == "effort") {
    const std::optional<Effort> effort = parse_effort(value);
    if (!effort) return refuse(key, value, "fast, normal or max");
    parameters.effort = *effort;
  } else if (name == "workspace_mib") {
    const auto mib = parse_number(value);
    if (!mib || *mib < 0 || *mib > kWorkspaceMibMax) return refuse(key, value, "a number of MiB");
    parameters.workspace_bytes_max = static_cast<std::size_t>(*mib) << 20;
  } else if (name == "tune") {
    if (value != "true" && value != "false") return refuse(key, value, "true or false");
    parameters.may_tune = parameters.may_tune && value == "true";
  } else if (name == "batches") {
    if (batch_max == 0) return refuse(key, value, "none, for the model has no batch dimension");
    Result<std::vector<std::int64_t>> batches = read_batches(key, value, batch_max);
    if (!batches) return std::unexpected(std::move(batches).error());
    parameters.batches = *std::move(batches);
  } else {
    const std::vector<std::string> names{"cuda.batches", "cuda.effort", "cuda.precision",
                                         "cuda.tune", "cuda.workspace_mib"};
    return fail(ErrorKind::invalid_input, fmt::format("the cuda backend has no parameter '{}'{}",
                                                      key, suggestion(key, names)));
  }
  return {};
}

}  // namespace

std::vector<std::int64_t> default_batches(int batch_max) {
  if (batch_max == 0) return {0};
  std::vector<std::int64_t> batches;
  for (std::int64_t batch = 1; batch < batch_max; batch *= 2) batches.push_back(batch);
  batches.push_back(batch_max);
  return batches;
}

Result<CudaParameters> read_parameters(const LoadOptions& options) {
  CudaParameters parameters;
  const Result<int> device = device_index(options.device);
  if (!device) return std::unexpected(device.error());
  parameters.device = *device;
  const std::optional<Precision> precision = parse_precision(options.precision);
  if (!precision) {
    return refuse("precision", options.precision, "fp32, tf32, fp16 or bf16");
  }
  parameters.precision = *precision;
  parameters.batches = default_batches(options.batch_max);
  parameters.may_tune = options.may_tune;
  parameters.concurrent = options.tuned_instances > 0 ? options.tuned_instances : options.instances;
  for (const auto& [key, value] : options.parameters) {
    if (!key.starts_with(kPrefix)) continue;
    if (Result<void> read = read_parameter(key, value, options.batch_max, parameters); !read) {
      return std::unexpected(std::move(read).error());
    }
  }
  return parameters;
}

}  // namespace takt::cuda
