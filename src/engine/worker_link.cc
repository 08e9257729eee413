// SPDX-License-Identifier: Apache-2.0
#include "engine/worker_link.h"

#include "core/spin.h"
#include "engine/inbox.h"
#include "engine/output_slots.h"
#include "ipc/batch_wire.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <system_error>
#include <utility>

namespace takt::engine {

// How often the answering thread looks before it lets others have its core, if they want it.
static constexpr unsigned kLooksPerYield = 1024;

std::vector<int> SharedInputs::descriptors() const {
  std::vector<int> numbers;
  numbers.reserve(pools.size());
  for (const std::shared_ptr<SlotPool>& pool : pools) numbers.push_back(pool->descriptor());
  return numbers;
}

Result<std::shared_ptr<WorkerLink>> WorkerLink::create(LinkOptions options,
                                                       std::shared_ptr<const SharedInputs> inputs,
                                                       Alarm alarm) {
  const Signature& signature = options.signature;
  const auto rows_max = static_cast<std::size_t>(std::max(1, signature.batch_max));
  const ipc::ChannelLayout layout{
      .instances = options.instances,
      .request_bytes =
          ipc::request_bytes_max(rows_max, signature.inputs.size(), signature.outputs.size()),
      .reply_bytes = ipc::reply_bytes_max(rows_max, signature.outputs.size())};
  Result<ipc::WorkerChannel> channel = ipc::WorkerChannel::create(layout);
  if (!channel) return std::unexpected(std::move(channel).error());
  const std::vector<SizeClass> classes =
      output_classes(options.output_bytes_max, static_cast<std::int64_t>(rows_max),
                     options.instances, options.results_held_max);
  Result<std::shared_ptr<SlotPool>> outputs =
      SlotPool::create("takt outputs of " + options.label, classes, SlotSharing::write);
  if (!outputs) return std::unexpected(std::move(outputs).error());
  std::shared_ptr<WorkerLink> link(new WorkerLink(std::move(options), std::move(inputs),
                                                  std::move(alarm), std::move(*channel), layout,
                                                  std::move(*outputs)));
  try {
    link->thread_ = std::thread([raw = link.get()] { raw->take_answers(); });
  } catch (const std::system_error& error) {
    return fail(ErrorKind::unavailable, std::string("no thread to be had: ") + error.what() +
                                            "; raise the limit on threads (ulimit -u)");
  }
  return link;
}

WorkerLink::WorkerLink(LinkOptions options, std::shared_ptr<const SharedInputs> inputs, Alarm alarm,
                       ipc::WorkerChannel channel, const ipc::ChannelLayout& layout,
                       std::shared_ptr<SlotPool> outputs)
    : options_(std::move(options)),
      inputs_(std::move(inputs)),
      alarm_(std::move(alarm)),
      channel_(std::move(channel)),
      layout_(layout),
      outputs_(std::move(outputs)),
      completions_(channel_.completions()),
      reply_(layout.reply_bytes) {
  output_table_.add(outputs_->memory());
  lanes_.reserve(layout.instances);
  for (std::uint32_t i = 0; i < layout.instances; ++i)
    lanes_.push_back({ipc::RingProducer(channel_.requests(i)), std::nullopt});
}

WorkerLink::~WorkerLink() {
  end({ErrorKind::worker_lost, "its worker was ended"});
}

std::vector<int> WorkerLink::descriptors() const {
  return {channel_.descriptor(), outputs_->descriptor()};
}

Result<void> WorkerLink::submit(std::uint32_t instance, BatchView batch, BatchCompletion done) {
  const std::scoped_lock lock(mutex_);
  if (ended_) return std::unexpected(*ended_);
  Lane& lane = lanes_[instance];
  if (lane.running) {
    return fail(ErrorKind::unavailable, "the instance runs a batch; submit after its completion");
  }
  for (const Sample& sample : batch) {
    const bool of_this_incarnation = std::ranges::all_of(sample.outputs, [&](const auto& output) {
      return output_table_.find(output.room.data(), output.room.size()).has_value();
    });
    // The worker was replaced after the outputs had been laid out.
    if (!of_this_incarnation) return fail(ErrorKind::worker_lost, "its worker was restarted");
  }
  const Result<std::size_t> used =
      ipc::encode_request(channel_.request_area(instance), batch, inputs_->table, output_table_);
  if (!used) return std::unexpected(used.error());
  lane.running.emplace(++last_ticket_, batch, std::move(done), clock_.now());
  const Result<void> pushed =
      lane.requests.push({last_ticket_, instance, static_cast<std::uint32_t>(*used)});
  if (pushed) return {};
  lane.running.reset();
  return fail(ErrorKind::worker_lost, "its worker takes no request: " + pushed.error().message);
}

void WorkerLink::take_answers() {
  ::pthread_setname_np(::pthread_self(), "takt-answers");
  while (true) {
    const bool last_look = stopping_;
    Result<std::optional<ipc::Ticket>> ticket = completions_.pop();
    Result<void> delivered = ticket ? Result<void>{} : std::unexpected(ticket.error());
    if (ticket && *ticket) delivered = deliver(**ticket);
    if (!delivered) {  // nothing more from this worker can be believed
      alarm_(std::move(delivered).error());
      return;
    }
    if (ticket && *ticket) continue;
    if (last_look) return;
    if (options_.spin > Duration{}) spin();
    completions_.wait({}, std::chrono::seconds(10));
  }
}

// Until there is a ticket, or nothing has come for as long as the options say. What requests want
// decided meanwhile is decided here, on a core that is awake.
void WorkerLink::spin() {
  Inbox* const inbox = options_.inbox.get();
  if (inbox != nullptr) inbox->start_looking();
  TimePoint end = clock_.now() + options_.spin;
  for (unsigned looks = 1; !completions_.something() && clock_.now() < end; ++looks) {
    if (inbox != nullptr && inbox->something_posted()) {
      inbox->look();
      end = clock_.now() + options_.spin;
    }
    if (looks % kLooksPerYield == 0) ::sched_yield();
    pause_cpu();
  }
  if (inbox != nullptr) inbox->stop_looking();
}

Result<void> WorkerLink::deliver(const ipc::Ticket& ticket) {
  const auto corrupt = [](const std::string& what) {
    return fail(ErrorKind::corrupt_output, "its worker " + what);
  };
  if (ticket.instance >= lanes_.size() || ticket.bytes > reply_.size()) {
    return corrupt("answered for an instance that it doesn't have");
  }
  std::unique_lock lock(mutex_);
  std::optional<Running>& running = lanes_[ticket.instance].running;
  if (!running || running->ticket != ticket.number) {
    return corrupt("answered a batch that it was not given");
  }
  // A copy, which nobody can change while it is read.
  std::memcpy(reply_.data(), channel_.reply_area(ticket.instance).data(), ticket.bytes);
  Result<BatchOutcome> outcome =
      ipc::decode_reply(std::span(reply_).first(ticket.bytes), running->batch);
  if (!outcome) return std::unexpected(std::move(outcome).error());
  BatchCompletion done = std::move(running->done);
  running.reset();
  lock.unlock();
  if (outcome->status) ++batches_done_;
  const bool poisoned =
      !outcome->status && outcome->status.error().kind == ErrorKind::device_poisoned;
  if (poisoned) alarm_(outcome->status.error());
  done(std::move(*outcome));
  return {};
}

std::size_t WorkerLink::end(const Error& cause) {
  {
    const std::scoped_lock lock(mutex_);
    if (!ended_) ended_ = cause;
  }
  stopping_ = true;
  completions_.interrupt();
  if (thread_.joinable()) thread_.join();
  std::vector<BatchCompletion> unanswered;
  std::size_t requests = 0;
  {
    const std::scoped_lock lock(mutex_);
    for (Lane& lane : lanes_) {
      if (!lane.running) continue;
      requests += lane.running->batch.size();
      unanswered.push_back(std::move(lane.running->done));
      lane.running.reset();
    }
  }
  for (BatchCompletion& done : unanswered) done({.status = std::unexpected(cause), .times = {}});
  return requests;
}

std::optional<TimePoint> WorkerLink::longest_running_since() const {
  const std::scoped_lock lock(mutex_);
  std::optional<TimePoint> since;
  for (const Lane& lane : lanes_) {
    if (lane.running && (!since || lane.running->since < *since)) since = lane.running->since;
  }
  return since;
}

}  // namespace takt::engine
