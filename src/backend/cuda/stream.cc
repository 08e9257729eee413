// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/stream.h"

#include "backend/cuda/driver_functions.h"

#include <chrono>
#include <utility>

namespace takt::cuda {

void Stream::Destroy::operator()(CUstream_st* stream) const noexcept {
  const Result<Context::Scope> scope = context->enter();
  give_back(context->driver(), &DriverFunctions::stream_synchronize, stream);
  give_back(context->driver(), &DriverFunctions::stream_destroy, stream);
}

Result<Stream> Stream::create(std::shared_ptr<const Context> context) {
  if (Result<void> admitted = context->admit("stream", 0); !admitted) {
    return std::unexpected(std::move(admitted).error());
  }
  Result<Context::Scope> scope = context->enter();
  if (!scope) return std::unexpected(std::move(scope).error());
  CUstream made = nullptr;
  constexpr unsigned kFlags = CU_STREAM_NON_BLOCKING;
  Result<void> done =
      invoke(context->driver(), &DriverFunctions::stream_create_with_priority, &made, kFlags, 0);
  if (!done) return std::unexpected(std::move(done).error());
  return Stream({made, Destroy{std::move(context)}});
}

Result<void> Stream::synchronize() const {
  return invoke(context()->driver(), &DriverFunctions::stream_synchronize, handle());
}

Result<void> Stream::wait(const Event& event) const {
  return invoke(context()->driver(), &DriverFunctions::stream_wait_event, handle(), event.handle(),
                0U);
}

void Event::Destroy::operator()(CUevent_st* event) const noexcept {
  const Result<Context::Scope> scope = context->enter();
  give_back(context->driver(), &DriverFunctions::event_destroy, event);
}

Result<Event> Event::create(std::shared_ptr<const Context> context, EventUse use) {
  if (Result<void> admitted = context->admit("event", 0); !admitted) {
    return std::unexpected(std::move(admitted).error());
  }
  Result<Context::Scope> scope = context->enter();
  if (!scope) return std::unexpected(std::move(scope).error());
  CUevent made = nullptr;
  unsigned flags = CU_EVENT_DEFAULT;
  if (use != EventUse::timing) flags |= CU_EVENT_DISABLE_TIMING;
  if (use == EventUse::waiting) flags |= CU_EVENT_BLOCKING_SYNC;
  Result<void> done = invoke(context->driver(), &DriverFunctions::event_create, &made, flags);
  if (!done) return std::unexpected(std::move(done).error());
  return Event({made, Destroy{std::move(context)}});
}

Result<void> Event::record(const Stream& stream) const {
  return invoke(driver(), &DriverFunctions::event_record, handle(), stream.handle());
}

Result<bool> Event::reached() const {
  const auto& query = driver().functions().event_query;
  const CUresult result = query.pointer(handle());
  if (result == CUDA_SUCCESS) return true;
  if (result == CUDA_ERROR_NOT_READY) return false;
  return std::unexpected(driver().error(result, query.name));
}

Result<void> Event::synchronize() const {
  return invoke(driver(), &DriverFunctions::event_synchronize, handle());
}

Result<Duration> Event::elapsed(const Event& begin, const Event& end) {
  float milliseconds = 0;
  Result<void> asked = invoke(end.driver(), &DriverFunctions::event_elapsed_time, &milliseconds,
                              begin.handle(), end.handle());
  if (!asked) return std::unexpected(std::move(asked).error());
  return std::chrono::duration_cast<Duration>(
      std::chrono::duration<double, std::milli>(milliseconds));
}

}  // namespace takt::cuda
