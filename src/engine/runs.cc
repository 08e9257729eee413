// SPDX-License-Identifier: Apache-2.0
// The dispatcher's part that runs batches on instances, tries failed ones again in smaller runs and
// gives up instances that hang.
#include "engine/dispatcher.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace takt::engine {
namespace {

// How often a request waits again after its worker or device was lost under it.
constexpr int kMovesMax = 1;

// Called by the instance, on a thread of its own, or by who ran the batch. What waits for the instance goes first, so that its
// next batch is under way while the answers are given; where nothing waits, the answers do.
void finish_run(const std::shared_ptr<RunningBatch>& run, BatchOutcome outcome, Inbox& inbox,
                const Counters& counters) {
  if (run->claimed.exchange(true)) return;  // abandoned, and answered then
  BatchEnded ended{run, std::max(Duration{}, outcome.times.exec_end - outcome.times.exec_start),
                   std::nullopt};
  if (!outcome.status) ended.error = outcome.status.error().within(run->model->label());
  if (ended.error &&
      (worth_splitting(*run, ended.error->kind) || worth_moving(*run, ended.error->kind))) {
    const Error error = *ended.error;
    if (!inbox.post_end(std::move(ended))) answer_all(run->members, error);
    return;
  }
  PendingRequests members = std::move(run->members);
  const std::optional<Error> error = ended.error;
  const int rows = run->rows;
  const bool nothing_waits = counters.queue_depth.load(std::memory_order_relaxed) == 0;
  inbox.post_end(std::move(ended), nothing_waits);
  if (!error) run->model->statistics().executed(rows, outcome.times);
  for (const std::unique_ptr<PendingRequest>& member : members) {
    if (error) {
      member->answer_error(*error);
    } else {
      member->answer_outputs(outcome.times, rows);
    }
  }
  if (nothing_waits) inbox.look();
}

}  // namespace

// Sets slot.run when the instance took it; otherwise the failure is settled.
void Dispatcher::start_run(InstanceId id, PendingRequests members, bool may_split) {
  InstanceSlot& slot = slots_[id.value];
  auto run = std::make_shared<RunningBatch>();
  run->id = slot.batch;
  run->instance = id;
  run->model = members.front()->model;
  run->members = std::move(members);
  run->may_split = may_split;
  run->may_move = slot.remote != nullptr;
  run->samples.reserve(run->members.size());
  for (const std::unique_ptr<PendingRequest>& member : run->members) {
    run->samples.push_back(member->sample());
    run->rows += static_cast<int>(member->request.rows);
  }
  slot.run = run;
  if (run_by_offer(slot, run)) return;
  const Result<void> taken = slot.instance->submit(
      run->samples, [run, inbox = inbox_, counters = counters_](BatchOutcome outcome) {
        finish_run(run, std::move(outcome), *inbox, *counters);
      });
  if (taken) return;
  slot.run.reset();
  if (taken.error().kind == ErrorKind::worker_lost) {
    for (const auto& member : run->members) --member->runs_lost;  // it has not run
  }
  settle_failure(id, *run, taken.error().within(run->model->label()));
}

// On the thread that has the turn, after it.
bool Dispatcher::run_by_offer(const InstanceSlot& slot, const std::shared_ptr<RunningBatch>& run) {
  const bool fits = offer_ != nullptr && slot.remote == nullptr && slot.usual > Duration{} &&
                    slot.usual <= offer_->spare;
  if (!fits) return false;
  offer_->spare -= slot.usual;
  // Nothing is started on the instance, and it isn't destroyed, until the run has ended.
  offer_->errands.emplace_back(
      [run, instance = slot.instance.get(), inbox = inbox_, counters = counters_] {
        finish_run(run, instance->run(run->samples), *inbox, *counters);
      });
  ++counters_->batches_by_callers;
  return true;
}

// The scheduler starts nothing on them until they are back.
void Dispatcher::lose_instances(ModelId model, DeviceId device) {
  for (std::uint32_t i = 0; i < slots_.size(); ++i) {
    InstanceSlot& slot = slots_[i];
    if (!slot.instance || slot.model != model || slot.device != device) continue;
    if (std::exchange(slot.lost, true)) continue;
    events_.push_back(scheduler::InstanceLost{InstanceId{i}});
  }
}

// Members of a run that ended with its worker or device wait again, once each: whoever brings a
// worker down twice does not get a third.
void Dispatcher::move(PendingRequests members, const Error& cause) {
  const TimePoint now = clock_.now();
  for (std::unique_ptr<PendingRequest>& member : members) {
    const InferRequest& request = member->request;
    const Duration p99 =
        scheduler_.expected_p99(member->model->info().id, static_cast<int>(request.rows));
    const bool in_time = request.deadline == kNever || now + p99 <= request.deadline;
    if (++member->runs_lost > kMovesMax || !in_time) {
      Error error = cause;
      error.message += in_time ? "; tried before" : "; no time was left to try it again";
      member->answer_error(std::move(error));
      continue;
    }
    ++counters_->retries_moved;
    member->release_outputs();
    events_.push_back(arrival_of(*member));
    const RequestId id = member->id;
    waiting_.emplace(id, std::move(member));
  }
}

void Dispatcher::settle_failure(InstanceId id, RunningBatch& run, const Error& error) {
  InstanceSlot& slot = slots_[id.value];
  ++counters_->batches_failed;
  if (!slot.failure) slot.failure = error.kind;
  if (error.kind == ErrorKind::out_of_memory)
    events_.push_back(scheduler::RanOutOfMemory{id, run.rows});
  // Its worker has ended or will be, and the news is on its way.
  if (worth_moving(run, error.kind)) lose_instances(slot.model, slot.device);
  if (slot.retry_allowed && worth_splitting(run, error.kind)) {
    split(slot, run, error);
  } else if (slot.retry_allowed && worth_moving(run, error.kind)) {
    move(std::move(run.members), error);
  } else {
    answer_all(run.members, error);  // nobody is left when the completion has answered
  }
}

// Out of memory: two halves need less at a time. Invalid input: it is one member's, and the others
// must not fail with it, so each runs alone.
void Dispatcher::split(InstanceSlot& slot, RunningBatch& run, const Error& error) {
  const std::size_t half = (run.members.size() + 1) / 2;
  try_in_parts(slot, std::move(run.members), error.kind == ErrorKind::out_of_memory ? half : 1,
               error);
}

// Before what waits to be tried already: that is less urgent.
void Dispatcher::try_in_parts(InstanceSlot& slot, PendingRequests members, std::size_t size,
                              const Error& cause) {
  auto place = slot.retries.begin();
  for (std::size_t first = 0; first < members.size(); first += size) {
    const std::size_t last = std::min(first + size, members.size());
    PendingRequests part(
        std::make_move_iterator(members.begin() + static_cast<std::ptrdiff_t>(first)),
        std::make_move_iterator(members.begin() + static_cast<std::ptrdiff_t>(last)));
    place = std::next(slot.retries.insert(place, {std::move(part), cause}));
  }
}

// Only those that can still be in time are tried again. What is too large by what memory has shown
// meanwhile isn't tried as it is.
void Dispatcher::retry(InstanceId id, Retry again) {
  int rows = 0;
  for (const auto& member : again.members) rows += static_cast<int>(member->request.rows);
  const ModelId model = slots_[id.value].model;
  const DeviceId device = slots_[id.value].device;
  const bool memory = again.cause.kind == ErrorKind::out_of_memory;
  if (memory && again.members.size() > 1 && rows > scheduler_.batch_limit(model, device)) {
    const std::size_t half = (again.members.size() + 1) / 2;
    return try_in_parts(slots_[id.value], std::move(again.members), half, again.cause);
  }
  const TimePoint now = clock_.now();
  const Duration p99 = scheduler_.expected_p99(model, device, rows);
  const auto late = std::ranges::stable_partition(again.members, [&](const auto& member) {
    return member->request.deadline == kNever || now + p99 <= member->request.deadline;
  });
  for (const auto& member : late) {
    Error error = again.cause;
    error.message += "; no time was left to try it again";
    member->answer_error(std::move(error));
  }
  again.members.erase(late.begin(), late.end());
  if (again.members.empty()) return;
  ++(memory ? counters_->retries_memory : counters_->retries_alone);
  start_run(id, std::move(again.members), memory);
}

void Dispatcher::advance(InstanceId id) {
  InstanceSlot& slot = slots_[id.value];
  while (!slot.run && !slot.retries.empty()) {
    Retry next = std::move(slot.retries.front());
    slot.retries.pop_front();
    retry(id, std::move(next));
  }
  if (slot.run) return;
  if (!slot.failure) {
    Model& model = models_.at(slot.model);
    ++model.batches_completed;
    // A quantile of a window moves slowly: a few times at the start, then now and again.
    if (model.batches_completed <= 8 || model.batches_completed % 8 == 0) publish_p99(slot.model);
  }
  events_.push_back(scheduler::BatchCompleted{slot.batch, id, slot.exec, slot.failure});
}

void Dispatcher::publish_p99(ModelId id) {
  const auto found = models_.find(id);
  if (found == models_.end()) return;
  const Model& model = found->second;
  model.served->publish_p99([this, id](int rows) { return scheduler_.expected_p99(id, rows); });
  for (const Replica& replica : model.replicas) {
    if (replica.remote == nullptr) continue;
    replica.remote->publish_longest(
        scheduler_.longest(id, replica.served->device, model.served->rows_max()));
  }
}

// The time for this instance is over. Its requests are answered, their memory stays until it calls
// back, and the instance is never destroyed, because that would wait for it.
void Dispatcher::abandon(InstanceId id) {
  InstanceSlot& slot = slots_[id.value];
  slot.retry_allowed = false;
  for (Retry& again : slot.retries) answer_all(again.members, again.cause);
  slot.retries.clear();
  if (!slot.run) return;
  if (slot.run->claimed.exchange(true)) return;  // it has ended: the message is on its way
  ++counters_->instances_abandoned;
  const Error error{ErrorKind::unavailable,
                    slot.run->model->label() +
                        ": its instance did not finish in time and was given up; look for what "
                        "blocks the model, or raise batch_end_wait_max"};
  answer_all(slot.run->members, error);
  // NOLINTNEXTLINE(bugprone-unused-return-value): left to its fate on purpose, see above.
  static_cast<void>(slot.instance.release());
  slot = {};
  apply(scheduler::InstanceLost{id});
}

}  // namespace takt::engine
