// SPDX-License-Identifier: Apache-2.0
// Takes a client's inference to the engine and brings its answer back: names, shapes and versions are
// resolved here, once for every protocol.
// Thread-safe: every member from any thread.
// Owns: nothing; client, catalog, regions and pool outlive it.
#pragma once

#include "core/priority.h"
#include "core/time.h"
#include "engine/inference_client.h"
#include "memory/slot_pool.h"
#include "server/api_error.h"
#include "server/infer_call.h"
#include "server/model_catalog.h"
#include "server/shared_regions.h"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace takt::server {

struct InferOptions {
  // Of a request that states none; 0: no deadline.
  Duration deadline{};
  // The priority classes of Triton's priorities 1, 2, ...; those beyond the last are as the last.
  // 0 is PriorityClass::normal.
  std::vector<PriorityClass> priorities{PriorityClass::high, PriorityClass::normal,
                                        PriorityClass::background};
  // Requests that are not answered yet, of all clients; further ones get resource_exhausted, those of
  // lower classes an eighth earlier each, so that they leave room for more urgent ones.
  std::size_t in_flight_max = 1024;
  std::size_t request_bytes_max = std::size_t{64} << 20;
  // Batches that usually take no longer run on the thread that read their requests, where their model is
  // in this process; 0: none.
  Duration own_run_max = std::chrono::microseconds(50);
};

// A call on its way. cancel() withdraws it where it still waits; its completion is called all the same.
class InferTicket {
 public:
  InferTicket() = default;
  InferTicket(InferenceClient& client, RequestId request) noexcept
      : client_(&client), request_(request) {}
  void cancel() noexcept {
    if (client_ != nullptr) client_->cancel(request_);
    client_ = nullptr;
  }

 private:
  InferenceClient* client_ = nullptr;
  RequestId request_;
};

class InferService {
 public:
  using Completion = std::move_only_function<void(ApiResult<InferAnswer>)>;

  InferService(InferenceClient& client, ModelCatalog& catalog, SharedRegions& regions,
               std::shared_ptr<SlotPool> inputs, const Clock& clock, InferOptions options);

  // Room for an input of a call, 64-byte aligned. Errors: payload_too_large, resource_exhausted.
  [[nodiscard]] ApiResult<Slot> room(std::size_t bytes);

  // A raw call has one input without name, datatype and shape: they are the model's, a missing dimension
  // is computed from the bytes, which are one row or one string. Calls `done` exactly once, here or on a thread of the engine; as InferCompletion, it must be
  // short. Errors that reach it are typed and say what was expected; nothing of the call is kept
  // afterwards but what the answer holds.
  InferTicket submit(InferCall call, Completion done);

  // As InferenceClient::flush.
  void flush() { client_.flush(options_.own_run_max); }

  [[nodiscard]] std::size_t in_flight() const noexcept { return in_flight_; }

 private:
  [[nodiscard]] PriorityClass class_of(std::uint64_t priority) const;
  [[nodiscard]] std::size_t in_flight_max_of(PriorityClass priority) const;
  [[nodiscard]] TimePoint deadline_of(const InferCall& call) const;
  [[nodiscard]] ApiResult<void> complete_raw(const ModelCard& card, InferCall& call);
  [[nodiscard]] ApiResult<void> prepare(const ModelCard& card, InferCall& call,
                                        InferRequest& request);

  InferenceClient& client_;
  ModelCatalog& catalog_;
  SharedRegions& regions_;
  const std::shared_ptr<SlotPool> inputs_;
  const Clock& clock_;
  const InferOptions options_;
  std::atomic<std::size_t> in_flight_{0};
};

}  // namespace takt::server
