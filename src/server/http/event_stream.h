// SPDX-License-Identifier: Apache-2.0
// What a client hears for as long as it listens: the body of an answer that goes on, such as
// server-sent events.
// Thread-safe: take() and on_change() from the connection's thread, changes from any.
// Owns: what waits to be sent, which is bounded.
#pragma once

#include <functional>
#include <optional>
#include <string>

namespace takt::server::http {

class EventStream {
 public:
  virtual ~EventStream() = default;
  // What there is to send; "" where there is nothing yet, nothing once it has ended.
  [[nodiscard]] virtual std::optional<std::string> take() = 0;
  // `changed` is called, from any thread, when take() has something; it must be quick. An empty
  // function ends that: once on_change() has returned, the one before isn't called any more.
  virtual void on_change(std::function<void()> changed) = 0;
};

}  // namespace takt::server::http
