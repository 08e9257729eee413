// SPDX-License-Identifier: Apache-2.0
#include "scheduler/event.h"

namespace takt::scheduler {

std::string_view to_string(RefusalReason reason) noexcept {
  switch (reason) {
    case RefusalReason::cannot_meet_deadline:
      return "cannot_meet_deadline";
    case RefusalReason::queue_full:
      return "queue_full";
    case RefusalReason::unknown_model:
      return "unknown_model";
    case RefusalReason::model_draining:
      return "model_draining";
    case RefusalReason::stopping:
      return "stopping";
    case RefusalReason::rows_out_of_range:
      return "rows_out_of_range";
    case RefusalReason::model_suspended:
      return "model_suspended";
    case RefusalReason::queue_bytes_full:
      return "queue_bytes_full";
    case RefusalReason::shed:
      return "shed";
  }
  return "unknown";
}

namespace {

std::string message_of(const Refuse& refusal) {
  switch (refusal.reason) {
    case RefusalReason::cannot_meet_deadline:
      return "would finish " + std::to_string(to_us(refusal.late_by)) +
             " us after its deadline behind the work already accepted; give it more time, add "
             "instances or "
             "devices, or send less";
    case RefusalReason::queue_full:
      return "its queue is full (queue_depth_max " + std::to_string(refusal.limit) +
             "); send less, add instances, or raise queue_depth_max";
    case RefusalReason::unknown_model:
      return "not loaded; load it, or wait until it is ready";
    case RefusalReason::model_draining:
      return "is being removed and takes no new requests; use the version that replaces it";
    case RefusalReason::stopping:
      return "the scheduler is stopping and takes no new requests; try again after the restart";
    case RefusalReason::rows_out_of_range:
      return "a request needs 1 to " + std::to_string(refusal.limit) +
             " rows (batch_max); split it, or raise the model's max_batch_size";
    case RefusalReason::model_suspended:
      return "its circuit is open because its worker failed again and again; its fallback stands "
             "in until a probe of the worker succeeds; look at the worker's log";
    case RefusalReason::queue_bytes_full:
      return "its queue has no room for the request's bytes (queue_bytes_max " +
             std::to_string(refusal.limit) +
             "); send less or smaller images, add instances, or raise queue_bytes_max";
    case RefusalReason::shed:
      return "gave way to a more urgent request, because its queue was full; send less, add "
             "instances, or raise queue_depth_max or queue_bytes_max";
  }
  return "refused";
}

}  // namespace

Error describe(const Refuse& refusal) {
  return Error{refusal.kind, message_of(refusal)};
}

}  // namespace takt::scheduler
