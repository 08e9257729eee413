// SPDX-License-Identifier: Apache-2.0
#include "core/result.h"

namespace takt {

std::string_view to_string(ErrorKind kind) noexcept {
  switch (kind) {
    case ErrorKind::invalid_input:
      return "invalid_input";
    case ErrorKind::unavailable:
      return "unavailable";
    case ErrorKind::overloaded:
      return "overloaded";
    case ErrorKind::deadline_exceeded:
      return "deadline_exceeded";
    case ErrorKind::out_of_memory:
      return "out_of_memory";
    case ErrorKind::device_poisoned:
      return "device_poisoned";
    case ErrorKind::worker_lost:
      return "worker_lost";
    case ErrorKind::corrupt_output:
      return "corrupt_output";
    case ErrorKind::cancelled:
      return "cancelled";
    case ErrorKind::internal:
      return "internal";
  }
  return "internal";
}

Error Error::within(std::string_view context) const& {
  return Error{kind, std::string(context) + ": " + message};
}

Error Error::within(std::string_view context) && {
  message.insert(0, ": ");
  message.insert(0, context);
  return std::move(*this);
}

}  // namespace takt
