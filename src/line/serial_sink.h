// SPDX-License-Identifier: Apache-2.0
// A sink that several lines share: their sink threads take turns.
// Thread-safe: every member from any thread.
// Owns: nothing; the sink belongs to the caller and outlives it.
#pragma once

#include "line/sink.h"

#include <mutex>

namespace takt::line {

class SerialSink final : public Sink {
 public:
  explicit SerialSink(Sink& sink) : sink_(sink) {}

  [[nodiscard]] std::string_view name() const noexcept override { return sink_.name(); }
  [[nodiscard]] Result<void> write(const VerdictRecord& record) override {
    const std::scoped_lock lock(mutex_);
    return sink_.write(record);
  }
  [[nodiscard]] Result<void> flush() override {
    const std::scoped_lock lock(mutex_);
    return sink_.flush();
  }

 private:
  std::mutex mutex_;
  Sink& sink_;
};

}  // namespace takt::line
