// SPDX-License-Identifier: Apache-2.0
// Errors by value: the kinds that decide what the engine does, and Result<T>.
// Thread-safe: plain values.
// Owns: the message text.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <utility>

namespace takt {

// The kind decides the reaction; the message is for a person and says what was wrong, where, what
// was expected and what to try.
enum class ErrorKind : std::uint8_t {
  invalid_input,      // the caller's data or configuration: never retried
  unavailable,        // not there now (model not ready, shutting down): may be tried again later
  overloaded,         // a queue or a limit is full: may be tried again once there is less to do
  deadline_exceeded,  // could not be, or was not, done in time
  out_of_memory,  // the device or a pool is full: the ladder makes batches smaller and tries again
  device_poisoned,  // the device context is lost: its workers must restart
  worker_lost,     // the process that ran it died or was ended: tried once more where there is time
  corrupt_output,  // a model answered with something that can't be believed (NaN, wrong shape)
  cancelled,       // the caller withdrew the request
  internal,        // a defect or an unexpected failure of a library
};

inline constexpr int kErrorKindCount = 10;

// Stable lower-case name, as used in metrics labels, JSON and reasons of verdicts.
[[nodiscard]] std::string_view to_string(ErrorKind kind) noexcept;

struct Error {
  ErrorKind kind = ErrorKind::internal;
  std::string message;

  // The same error with `context: ` in front of its message.
  [[nodiscard]] Error within(std::string_view context) const&;
  [[nodiscard]] Error within(std::string_view context) &&;
};

template <typename T>
using Result = std::expected<T, Error>;

[[nodiscard]] inline std::unexpected<Error> fail(ErrorKind kind, std::string message) {
  return std::unexpected(Error{kind, std::move(message)});
}

}  // namespace takt
