// SPDX-License-Identifier: Apache-2.0
#include "backend/simulated/parameters.h"

#include "core/suggest.h"

#include <algorithm>
#include <charconv>
#include <optional>

namespace takt::simulated {
namespace {

constexpr std::string_view kPrefix = "simulated.";
constexpr std::array<std::string_view, kFaultCount> kFaultNames{
    "out_of_memory", "device_poisoned", "crash", "hang", "corrupt_output", "failure"};
constexpr std::array<std::string_view, kComputeCount> kComputeNames{"identity", "add_sub"};

std::unexpected<Error> refuse(const std::string& message) {
  return fail(ErrorKind::invalid_input, message);
}

template <typename Number>
std::optional<Number> number(std::string_view text) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

Result<Duration> read_us(std::string_view text) {
  const std::optional<std::int64_t> value = number<std::int64_t>(text);
  constexpr std::int64_t kHourUs = 3'600'000'000;
  if (!value || *value < 0 || *value > kHourUs) {
    return refuse("expected microseconds, 0 to 3600000000");
  }
  return std::chrono::microseconds(*value);
}

// An enumeration by the names of its values; `what` it is called in the message.
template <typename Enum>
Result<Enum> read_name(std::string_view name, std::span<const std::string_view> known,
                       const std::string& what) {
  const auto found = std::ranges::find(known, name);
  if (found == known.end()) {
    const std::vector<std::string> names(known.begin(), known.end());
    return refuse("unknown " + what + " '" + std::string(name) + "'" + suggestion(name, names));
  }
  return static_cast<Enum>(found - known.begin());
}

Result<Fault> read_fault(std::string_view name) {
  return read_name<Fault>(name, kFaultNames, "fault");
}

// "out_of_memory@3,hang@10"
Result<std::vector<ScheduledFault>> read_schedule(std::string_view text) {
  std::vector<ScheduledFault> faults;
  while (!text.empty()) {
    const std::size_t comma = std::min(text.find(','), text.size());
    const std::string_view entry = text.substr(0, comma);
    text.remove_prefix(std::min(comma + 1, text.size()));
    const std::size_t at = entry.find('@');
    const auto batch =
        at == std::string_view::npos ? std::nullopt : number<std::uint64_t>(entry.substr(at + 1));
    if (!batch || *batch == 0) {
      return refuse("'" + std::string(entry) +
                    "': expected FAULT@BATCH, such as out_of_memory@3, separated by commas");
    }
    const Result<Fault> fault = read_fault(entry.substr(0, at));
    if (!fault) return std::unexpected(fault.error());
    faults.push_back({*fault, *batch});
  }
  return faults;
}

// "FP32[2,640,640]"
Result<TensorSpec> read_spec(std::string name, std::string_view text) {
  const std::size_t open = text.find('[');
  const bool closed = open != std::string_view::npos && text.ends_with(']');
  const Result<DataType> type = parse_data_type(text.substr(0, std::min(open, text.size())));
  if (!closed || !type) return refuse("expected a type with dims, such as FP32[2,640,640]");
  TensorSpec spec{std::move(name), *type, {}};
  std::string_view dims = text.substr(open + 1, text.size() - open - 2);
  while (!dims.empty()) {
    const std::size_t comma = std::min(dims.find(','), dims.size());
    const auto dim = number<std::int64_t>(dims.substr(0, comma));
    if (!dim || *dim < 1) return refuse("every dim must be a number greater than 0");
    spec.shape.push_back(*dim);
    dims.remove_prefix(std::min(comma + 1, dims.size()));
  }
  return spec;
}

template <typename Target, typename T>
Result<void> assign(Target& target, Result<T> value) {
  if (!value) return std::unexpected(std::move(value).error());
  target = *std::move(value);
  return {};
}

template <typename T>
Result<void> append(std::vector<T>& target, Result<T> value) {
  if (!value) return std::unexpected(std::move(value).error());
  target.push_back(*std::move(value));
  return {};
}

Result<bool> read_bool(std::string_view text) {
  if (text == "true" || text == "false") return text == "true";
  return refuse("expected true or false");
}

template <typename Number>
Result<Number> read_number(std::string_view text, Number min, Number max) {
  const std::optional<Number> value = number<Number>(text);
  if (!value || !(*value >= min && *value <= max)) {
    return refuse("expected a number from " + std::to_string(min) + " to " + std::to_string(max));
  }
  return *value;
}

const std::vector<std::string>& known_keys() {
  static const std::vector<std::string> keys{"base_us",
                                             "row_us",
                                             "jitter_us",
                                             "seed",
                                             "faults",
                                             "faults_after",
                                             "faults_until",
                                             "hang_us",
                                             "load_us",
                                             "crash_allowed",
                                             "note",
                                             "compute",
                                             "memory_rows_max",
                                             "input.NAME",
                                             "output.NAME",
                                             "probability.out_of_memory",
                                             "probability.device_poisoned",
                                             "probability.crash",
                                             "probability.hang",
                                             "probability.corrupt_output",
                                             "probability.failure"};
  return keys;
}

Result<void> read_probability(Parameters& into, std::string_view name, std::string_view value) {
  const Result<Fault> fault = read_fault(name);
  if (!fault) return std::unexpected(fault.error());
  return assign(into.probability[static_cast<std::size_t>(*fault)],
                read_number<double>(value, 0, 1));
}

// `key` without the prefix.
Result<void> read_parameter(Parameters& into, std::string_view key, std::string_view value) {
  constexpr std::string_view kProbability = "probability.";
  constexpr std::string_view kInput = "input.";
  constexpr std::string_view kOutput = "output.";
  if (key == "base_us") return assign(into.base, read_us(value));
  if (key == "row_us") return assign(into.per_row, read_us(value));
  if (key == "jitter_us") return assign(into.jitter, read_us(value));
  if (key == "hang_us") return assign(into.hang, read_us(value));
  if (key == "load_us") return assign(into.load, read_us(value));
  if (key == "seed") return assign(into.seed, read_number<std::uint64_t>(value, 0, UINT64_MAX));
  if (key == "faults") return assign(into.faults, read_schedule(value));
  if (key == "faults_after") {
    return assign(into.faults_after, read_number<std::uint64_t>(value, 0, UINT64_MAX));
  }
  if (key == "faults_until") {
    return assign(into.faults_until, read_number<std::uint64_t>(value, 0, UINT64_MAX));
  }
  if (key == "crash_allowed") return assign(into.crash_allowed, read_bool(value));
  if (key == "note") {
    into.note = value;
    return {};
  }
  if (key == "compute") {
    return assign(into.compute, read_name<Compute>(value, kComputeNames, "computation"));
  }
  if (key == "memory_rows_max") {
    return assign(into.memory_rows_max, read_number<std::int64_t>(value, 0, 1 << 20));
  }
  if (key.starts_with(kProbability)) {
    return read_probability(into, key.substr(kProbability.size()), value);
  }
  if (key.starts_with(kInput) && key.size() > kInput.size()) {
    return append(into.inputs, read_spec(std::string(key.substr(kInput.size())), value));
  }
  if (key.starts_with(kOutput) && key.size() > kOutput.size()) {
    return append(into.outputs, read_spec(std::string(key.substr(kOutput.size())), value));
  }
  return refuse("unknown parameter" + suggestion(std::string(key), known_keys()));
}

bool may_crash(const Parameters& parameters) {
  return parameters.probability[static_cast<std::size_t>(Fault::crash)] > 0 ||
         std::ranges::any_of(parameters.faults, [](const ScheduledFault& scheduled) {
           return scheduled.fault == Fault::crash;
         });
}

std::string described(const std::string& key, const std::string& value) {
  return "parameter '" + key + "', value '" + value + "'";
}

}  // namespace

std::string_view to_string(Fault fault) noexcept {
  return kFaultNames[static_cast<std::size_t>(fault)];
}

std::string_view to_string(Compute compute) noexcept {
  return kComputeNames[static_cast<std::size_t>(compute)];
}

Result<Parameters> parse_parameters(
    std::span<const std::pair<std::string, std::string>> parameters) {
  Parameters parsed;
  for (const auto& [key, value] : parameters) {
    if (!key.starts_with(kPrefix)) continue;
    if (Result<void> read =
            read_parameter(parsed, std::string_view(key).substr(kPrefix.size()), value);
        !read) {
      return std::unexpected(std::move(read).error().within(described(key, value)));
    }
  }
  if (may_crash(parsed) && !parsed.crash_allowed) {
    return refuse(
        "a crash is injected, which ends this process; if that is wanted, set the "
        "parameter simulated.crash_allowed to true");
  }
  return parsed;
}

}  // namespace takt::simulated
