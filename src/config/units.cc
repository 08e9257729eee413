// SPDX-License-Identifier: Apache-2.0
#include "config/units.h"

#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <span>
#include <string>

namespace takt::config {
namespace {

struct Unit {
  std::string_view name;
  double factor;
};

constexpr std::array<Unit, 6> kDurationUnits{
    {{"ns", 1}, {"us", 1e3}, {"ms", 1e6}, {"s", 1e9}, {"min", 60e9}, {"h", 3600e9}}};
constexpr std::array<Unit, 4> kByteUnits{
    {{"B", 1}, {"KiB", 1024}, {"MiB", 1024.0 * 1024}, {"GiB", 1024.0 * 1024 * 1024}}};
constexpr std::array<Unit, 3> kRateUnits{{{"/s", 1}, {"/min", 1.0 / 60}, {"/h", 1.0 / 3600}}};

struct Quantity {
  double number;
  std::string_view unit;
};

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

Result<Quantity> split(std::string_view text, std::string_view expected) {
  const std::string_view body = trimmed(text);
  Quantity quantity{};
  const auto [end, error] =
      std::from_chars(body.data(), body.data() + body.size(), quantity.number);
  if (error != std::errc{} || !std::isfinite(quantity.number)) {
    return fail(ErrorKind::invalid_input, "'" + std::string(text) +
                                              "' is not a value with a unit; expected " +
                                              std::string(expected));
  }
  quantity.unit = trimmed(body.substr(static_cast<std::size_t>(end - body.data())));
  return quantity;
}

// The quantity in the base unit.
Result<double> in_base_unit(std::string_view text, std::span<const Unit> units,
                            std::string_view expected) {
  const Result<Quantity> quantity = split(text, expected);
  if (!quantity) return std::unexpected(quantity.error());
  for (const Unit& unit : units) {
    if (unit.name == quantity->unit) return quantity->number * unit.factor;
  }
  const std::string found = quantity->unit.empty()
                                ? "has no unit"
                                : "has the unknown unit '" + std::string(quantity->unit) + "'";
  return fail(ErrorKind::invalid_input,
              "'" + std::string(text) + "' " + found + "; expected " + std::string(expected));
}

}  // namespace

Result<Duration> parse_duration(std::string_view text) {
  const Result<double> ns = in_base_unit(
      text, kDurationUnits, "a duration such as 250us, 40ms or 2s (units ns, us, ms, s, min, h)");
  if (!ns) return std::unexpected(ns.error());
  constexpr double kYearNs = 365.0 * 24 * 3600e9;
  if (*ns < 0 || *ns > kYearNs) {
    return fail(ErrorKind::invalid_input,
                "'" + std::string(text) + "' is out of range; expected 0 to one year");
  }
  return Duration(static_cast<std::int64_t>(std::llround(*ns)));
}

Result<std::size_t> parse_bytes(std::string_view text) {
  const Result<double> bytes =
      in_base_unit(text, kByteUnits,
                   "a size such as 64KiB, 8MiB or 1GiB (powers of 1024; units B, KiB, MiB, GiB)");
  if (!bytes) return std::unexpected(bytes.error());
  constexpr double kBytesMax = 1e15;
  if (*bytes < 0 || *bytes > kBytesMax) {
    return fail(ErrorKind::invalid_input,
                "'" + std::string(text) + "' is out of range; expected 0 to 1e15 bytes");
  }
  return static_cast<std::size_t>(*bytes);
}

Result<double> parse_rate(std::string_view text) {
  const Result<double> rate =
      in_base_unit(text, kRateUnits, "a rate such as 12.5/s or 600/min (units /s, /min, /h)");
  if (!rate) return rate;
  if (*rate <= 0)
    return fail(ErrorKind::invalid_input, "'" + std::string(text) + "' is not above zero");
  return rate;
}

Result<double> parse_number(std::string_view text) {
  const std::size_t slash = text.find('/');
  const Result<Quantity> numerator =
      split(text.substr(0, slash), "a number such as 0.5 or a fraction such as 1/255");
  if (!numerator) return std::unexpected(numerator.error());
  Result<Quantity> denominator = Quantity{1, {}};
  if (slash != std::string_view::npos)
    denominator = split(text.substr(slash + 1), "a fraction such as 1/255");
  if (!denominator) return std::unexpected(denominator.error());
  if (!numerator->unit.empty() || !denominator->unit.empty() || denominator->number == 0) {
    return fail(ErrorKind::invalid_input,
                "'" + std::string(text) + "' is not a number; expected one such as 0.5 or 1/255");
  }
  return numerator->number / denominator->number;
}

Result<std::vector<int>> parse_cpus(std::string_view text) {
  constexpr int kCpusMax = 4096;
  const std::string_view body = trimmed(text);
  const char* const end = body.data() + body.size();
  int first = 0;
  auto read = std::from_chars(body.data(), end, first);
  int last = first;
  if (read.ec == std::errc{} && read.ptr != end && *read.ptr == '-') {
    read = std::from_chars(read.ptr + 1, end, last);
  }
  if (read.ec != std::errc{} || read.ptr != end || first < 0 || last < first || last >= kCpusMax) {
    return fail(ErrorKind::invalid_input, "'" + std::string(text) +
                                              "' names no CPUs; expected numbers below 4096, such "
                                              "as 0-7 or [0, 1]");
  }
  std::vector<int> cpus;
  for (int cpu = first; cpu <= last; ++cpu) cpus.push_back(cpu);
  return cpus;
}

}  // namespace takt::config
