// SPDX-License-Identifier: Apache-2.0
#include "engine/inbox.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <string>
#include <utility>

namespace takt::engine {
namespace {

// So much of the others' work a poster does in its turn, before the dispatcher's thread goes on.
constexpr std::size_t kPostersShare = 64;

// Far enough to be rare, near enough to be added to any time without overflow.
constexpr Duration kSleepMax = std::chrono::hours(1);

}  // namespace

void Inbox::push(Lock& lock, Message message, bool may_take_turn) {
  messages_.emplace_back(std::move(message));
  begin(lock, may_take_turn);
}

void Inbox::begin(Lock& lock, bool may_take_turn, Offer* offer) {
  if (turn_taken_) return;  // it will be seen at the end of that turn
  if (may_take_turn && round_ && lookers_.load(std::memory_order_relaxed) > 0) {
    lock.unlock();  // first: whoever looks should not have to wait for it
    posted_.store(true, std::memory_order_seq_cst);
    if (lookers_.load(std::memory_order_seq_cst) == 0) look();
    return;
  }
  if (may_take_turn && round_) {
    take_turn(lock, kPostersShare, offer);
  } else {
    wake(lock);
  }
}

void Inbox::take_turn(Lock& lock, std::size_t messages_max, Offer* offer) {
  turn_taken_ = true;
  std::size_t done = 0;
  do {
    taken_.swap(messages_);
    done += taken_.size();
    lock.unlock();
    const TimePoint timer = round_(taken_, offer);
    taken_.clear();
    lock.lock();
    timer_ = timer;
  } while (!messages_.empty() && done < messages_max);
  turn_taken_ = false;
  if (!messages_.empty() || timer_ < asleep_until_ || closed_) wake(lock);
}

void Inbox::look() {
  Lock lock(mutex_);
  posted_.store(false, std::memory_order_relaxed);
  if (!messages_.empty() && !turn_taken_ && round_) take_turn(lock, kPostersShare);
}

void Inbox::stop_looking() {
  lookers_.fetch_sub(1, std::memory_order_seq_cst);
  if (posted_.load(std::memory_order_seq_cst)) look();
}

void Inbox::wake(Lock& lock) {
  if (asleep_until_ == TimePoint::min()) return;
  asleep_until_ = TimePoint::min();
  lock.unlock();
  wake_.notify_one();
}

Result<void> Inbox::post_request(std::unique_ptr<PendingRequest>& request,
                                 const scheduler::RequestArrived& arrival) {
  Lock lock(mutex_);
  if (closed_)
    return fail(ErrorKind::unavailable, "the engine is stopping; try again after the restart");
  const std::size_t left_to_others =
      requests_max_ / 8 * static_cast<std::size_t>(request->request.priority);
  if (messages_.size() >= requests_max_ - left_to_others)
    return fail(ErrorKind::overloaded, "the engine's inbox is full (inbox_depth_max " +
                                           std::to_string(requests_max_) +
                                           "); send less, or raise inbox_depth_max");
  const bool leave = request->request.more_come && messages_.size() < requests_max_ / 8;
  messages_.emplace_back(Submitted{std::move(request), arrival});
  if (!leave) begin(lock, true);
  return {};
}

void Inbox::flush(Duration spare) {
  Offer offer{spare, {}};
  {
    Lock lock(mutex_);
    if (!messages_.empty()) begin(lock, true, &offer);
  }
  for (auto& errand : offer.errands) errand();
}

bool Inbox::post_withdrawal(RequestId request) {
  Lock lock(mutex_);
  // Twice the bound: withdrawals make room, so they go where requests no longer do.
  if (closed_ || messages_.size() >= 2 * requests_max_) return false;
  push(lock, Withdrawn{request}, true);
  return true;
}

bool Inbox::post_end(BatchEnded message, bool leave) {
  Lock lock(mutex_);
  if (closed_) return false;
  if (leave) {
    messages_.emplace_back(std::move(message));
  } else {
    push(lock, std::move(message), true);
  }
  return true;
}

bool Inbox::post(Message message) {
  Lock lock(mutex_);
  if (closed_) return false;
  push(lock, std::move(message), false);
  return true;
}

void Inbox::serve(const Clock& clock, Round round) {
  Lock lock(mutex_);
  round_ = std::move(round);
  while (true) {
    if (!turn_taken_) {
      if (!messages_.empty() || timer_ <= clock.now()) {
        take_turn(lock, std::numeric_limits<std::size_t>::max());
        continue;
      }
      if (closed_) return;
    }
    // Whoever has the turn says at its end when the timer is due.
    asleep_until_ = turn_taken_ ? kNever : timer_;
    if (asleep_until_ == kNever) {
      wake_.wait(lock);
    } else {
      wake_.wait_for(lock, std::clamp(asleep_until_ - clock.now(), Duration{}, kSleepMax));
    }
    asleep_until_ = TimePoint::min();
  }
}

void Inbox::close() {
  Lock lock(mutex_);
  closed_ = true;
  wake(lock);
}

std::size_t Inbox::depth() const {
  const std::scoped_lock lock(mutex_);
  return messages_.size();
}

}  // namespace takt::engine
