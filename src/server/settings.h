// SPDX-License-Identifier: Apache-2.0
// The settings of the protocol's trace and logging extensions, checked when a client changes them.
// Thread-safe: every member from any thread.
// Owns: the values.
#pragma once

#include "server/api_error.h"

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace takt::server {

// By name: trace_level, trace_rate, trace_count, log_frequency, trace_file, trace_mode.
using TraceValues = std::map<std::string, std::vector<std::string>, std::less<>>;

class TraceSettings {
 public:
  TraceSettings();

  // Of a model: its own values, and for the rest those of the server. An empty name: of the server.
  [[nodiscard]] TraceValues values(std::string_view model = {}) const;

  // All of the changes or none; returns what values() does then. A change without values takes a
  // model's setting back to the server's, and the server's to its default. Errors: invalid_argument
  // (unknown names, values out of range), unimplemented (a file), resource_exhausted (too many models
  // have settings of their own).
  [[nodiscard]] ApiResult<TraceValues> update(std::string_view model, const TraceValues& changes);

 private:
  [[nodiscard]] TraceValues values_locked(std::string_view model) const;

  mutable std::mutex mutex_;
  // Guarded by mutex_:
  TraceValues server_;
  std::map<std::string, TraceValues, std::less<>> models_;
};

// By name: log_file, log_info, log_warning, log_error, log_verbose_level, log_format.
using LogValue = std::variant<bool, std::uint32_t, std::string>;
using LogValues = std::map<std::string, LogValue, std::less<>>;

class LogSettings {
 public:
  LogSettings();

  [[nodiscard]] LogValues values() const;
  // As for traces. Errors: invalid_argument (unknown names, values of the wrong type or unknown),
  // unimplemented (a file).
  [[nodiscard]] ApiResult<LogValues> update(const LogValues& changes);

 private:
  mutable std::mutex mutex_;
  LogValues values_;  // guarded by mutex_
};

}  // namespace takt::server
