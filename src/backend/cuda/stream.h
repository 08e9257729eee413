// SPDX-License-Identifier: Apache-2.0
// Streams, on which work runs in order, and events, which mark a place in that order.
// Thread-safe: no; one thread at a time uses a stream or an event.
// Owns: the driver's stream or event, and a share of its context.
#pragma once

#include "backend/cuda/context.h"
#include "core/result.h"
#include "core/time.h"

#include <cstdint>
#include <memory>

struct CUstream_st;
struct CUevent_st;

namespace takt::cuda {

class Event;

// One that goes waits for what was queued: memory that outlives it is free then, also where something failed
// half-way.
class Stream {
 public:
  // It doesn't wait for the context's default stream, nor that for it. Errors: out_of_memory,
  // device_poisoned, internal; so of everything below.
  [[nodiscard]] static Result<Stream> create(std::shared_ptr<const Context> context);

  // Both need a Scope of the context on the calling thread.
  [[nodiscard]] Result<void> synchronize() const;             // what was queued has ended
  [[nodiscard]] Result<void> wait(const Event& event) const;  // later work runs after the event

  [[nodiscard]] const std::shared_ptr<const Context>& context() const noexcept {
    return handle_.get_deleter().context;
  }
  [[nodiscard]] CUstream_st* handle() const noexcept { return handle_.get(); }

 private:
  struct Destroy {
    std::shared_ptr<const Context> context;
    void operator()(CUstream_st* stream) const noexcept;
  };
  explicit Stream(std::unique_ptr<CUstream_st, Destroy> handle) : handle_(std::move(handle)) {}
  std::unique_ptr<CUstream_st, Destroy> handle_;
};

enum class EventUse : std::uint8_t {
  timing,    // elapsed() works
  ordering,  // costs the device less
  waiting,   // likewise, and synchronize() sleeps instead of looking again and again
};

class Event {
 public:
  [[nodiscard]] static Result<Event> create(std::shared_ptr<const Context> context, EventUse use);

  // All of them need a Scope of the context on the calling thread.
  [[nodiscard]] Result<void> record(const Stream& stream) const;
  [[nodiscard]] Result<bool> reached() const;  // without waiting
  [[nodiscard]] Result<void> synchronize() const;
  // From `begin` to `end`, both reached; the device counts in steps of about half a microsecond.
  [[nodiscard]] static Result<Duration> elapsed(const Event& begin, const Event& end);

  [[nodiscard]] CUevent_st* handle() const noexcept { return handle_.get(); }

 private:
  struct Destroy {
    std::shared_ptr<const Context> context;
    void operator()(CUevent_st* event) const noexcept;
  };
  [[nodiscard]] const Driver& driver() const noexcept {
    return handle_.get_deleter().context->driver();
  }
  explicit Event(std::unique_ptr<CUevent_st, Destroy> handle) : handle_(std::move(handle)) {}
  std::unique_ptr<CUevent_st, Destroy> handle_;
};

}  // namespace takt::cuda
