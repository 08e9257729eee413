// SPDX-License-Identifier: Apache-2.0
#include "app/plan_report.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace takt::app {
namespace {

using nlohmann::json;

double ms(Duration duration) {
  return std::chrono::duration<double, std::milli>(duration).count();
}

std::string rows(const char* what, const char* counted,
                 const std::vector<LatencyForecast>& forecasts) {
  if (forecasts.empty()) return {};
  std::string text = fmt::format("  {:<16} {:>8} {:>10} {:>10} {:>10} {:>8} {:>9}\n", what, counted,
                                 "p50", "p99", "p99.9", "missed", "");
  for (const LatencyForecast& one : forecasts) {
    text += fmt::format("  {:<16} {:>8} {:>7.1f} ms {:>7.1f} ms {:>7.1f} ms {:>8} {:>7.2f} %\n",
                        one.name, one.count, ms(one.p50), ms(one.p99), ms(one.p999), one.missed,
                        100 * one.miss_share());
  }
  return text;
}

json json_of(const char* counted, const std::vector<LatencyForecast>& forecasts) {
  json all = json::object();
  for (const LatencyForecast& one : forecasts) {
    all[one.name] = {{counted, one.count},
                     {"missed", one.missed},
                     {"p50_us", to_us(one.p50)},
                     {"p99_us", to_us(one.p99)},
                     {"p999_us", to_us(one.p999)}};
  }
  return all;
}

std::string plural(int devices) {
  return devices == 1 ? "1 device" : fmt::format("{} devices", devices);
}

}  // namespace

std::string to_table(const PlanReport& report) {
  const Forecast& forecast = report.forecast;
  std::string text = fmt::format("plan for {}, {:.1f} s of arrivals\n", plural(forecast.devices),
                                 std::chrono::duration<double>(forecast.time).count());
  text += rows("task", "requests", forecast.tasks);
  text += rows("line", "frames", forecast.lines);
  for (std::size_t i = 0; i < forecast.utilisation.size(); ++i) {
    text += fmt::format("  device {:<2} {:<6} {:>7.1f} % busy\n", i, forecast.names[i],
                        100 * forecast.utilisation[i]);
  }
  for (const std::string& note : report.notes) text += "note: " + note + "\n";
  text += fmt::format("{} {} the deadlines (at most {} % missed)\n", plural(forecast.devices),
                      forecast.devices == 1 ? (forecast.holds ? "holds" : "does not hold")
                                            : (forecast.holds ? "hold" : "do not hold"),
                      report.miss_max_percent);
  if (!report.searched) return text;
  if (report.devices_needed) {
    return text + "smallest number that holds: " + plural(*report.devices_needed) + "\n";
  }
  return text + fmt::format(
                    "no number up to {} holds: a batch of its own may take longer than its "
                    "deadline, or the load needs more (--devices-max)\n",
                    report.devices_max);
}

std::string to_json(const PlanReport& report) {
  const Forecast& forecast = report.forecast;
  json out{{"devices", forecast.devices},
           {"holds", forecast.holds},
           {"miss_max_percent", report.miss_max_percent},
           {"seconds", std::chrono::duration<double>(forecast.time).count()},
           {"device_names", forecast.names},
           {"utilisation", forecast.utilisation},
           {"tasks", json_of("requests", forecast.tasks)},
           {"lines", json_of("frames", forecast.lines)},
           {"notes", report.notes}};
  if (report.searched) {
    out["devices_max"] = report.devices_max;
    out["devices_needed"] = report.devices_needed ? json(*report.devices_needed) : json(nullptr);
  }
  return out.dump(2) + "\n";
}

}  // namespace takt::app
