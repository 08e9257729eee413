// SPDX-License-Identifier: Apache-2.0
#include "line/verdict_path.h"

#include <algorithm>
#include <utility>

namespace takt::line {
namespace {

constexpr const char* kJournalReason = "journal";

}  // namespace

VerdictPath::VerdictPath(const LineConfig& config, FrameJournal& journal,
                         std::vector<VerdictObserver*> observers, SinkQueue& sinks,
                         LineProbe& probe)
    : config_(config),
      in_order_(config.in_order.value_or(!config.deadline.has_value())),
      journal_(journal),
      observers_(std::move(observers)),
      sinks_(sinks),
      probe_(probe) {}

void VerdictPath::answer_unanswered() {
  Result<std::vector<VerdictRecord>> unanswered = journal_.unanswered(config_.name);
  if (!unanswered) {
    probe_.journal_failed(unanswered.error());
    return;
  }
  for (VerdictRecord& record : *unanswered) {
    record.verdict = Verdict::review;
    record.reasons = {"restart"};
    record.by_fallback = true;
    const auto route = config_.decision.routes.find(Verdict::review);
    if (route != config_.decision.routes.end()) record.route = route->second;
    probe_.restarted();
    if (const Result<void> written = journal_.verdict(record); !written) {
      probe_.journal_failed(written.error());
    }
    for (VerdictObserver* observer : observers_) observer->on_verdict(record);
    to_sinks(std::move(record));
  }
}

VerdictPath::Accepted VerdictPath::accept(const Frame& frame) {
  Accepted accepted{.seq = journal_.next_seq(config_.name)};
  if (const Result<void> written = journal_.accept(accepted.seq, frame, config_.name); !written) {
    accepted.journalled = false;
    probe_.journal_failed(written.error());
  }
  probe_.accepted();
  if (in_order_) owed_.emplace(accepted.seq, std::nullopt);
  return accepted;
}

void VerdictPath::report(VerdictRecord record, bool journalled) {
  if (!journalled) distrust(record);
  if (const Result<void> written = journal_.verdict(record); !written) {
    probe_.journal_failed(written.error());
    distrust(record);
  }
  probe_.verdict(record, config_.deadline.has_value());
  for (VerdictObserver* observer : observers_) observer->on_verdict(record);
  release(std::move(record));
}

void VerdictPath::distrust(VerdictRecord& record) const {
  if (std::ranges::find(record.reasons, kJournalReason) != record.reasons.end()) return;
  record.reasons.emplace_back(kJournalReason);
  if (record.verdict != Verdict::pass) return;
  record.verdict = Verdict::review;
  const auto route = config_.decision.routes.find(Verdict::review);
  record.route = route == config_.decision.routes.end() ? std::string{} : route->second;
}

void VerdictPath::release(VerdictRecord record) {
  if (!in_order_) {
    to_sinks(std::move(record));
    return;
  }
  const FrameSeq seq = record.seq;
  owed_[seq] = std::move(record);
  ++waiting_;
  while (!owed_.empty() && owed_.begin()->second) {
    VerdictRecord next = std::move(*owed_.begin()->second);
    owed_.erase(owed_.begin());
    --waiting_;
    to_sinks(std::move(next));
  }
}

void VerdictPath::to_sinks(VerdictRecord record) {
  if (!config_.pictures.contains(record.verdict)) record.images.clear();
  switch (sinks_.push(std::move(record))) {
    case SinkQueue::Pushed::whole:
      break;
    case SinkQueue::Pushed::without_pictures:
      probe_.pictures_skipped();
      break;
    case SinkQueue::Pushed::skipped:
      probe_.sinks_skipped();
      break;
  }
}

}  // namespace takt::line
