// SPDX-License-Identifier: Apache-2.0
#include "engine/inbox.h"

#include <string>
#include <utility>

namespace takt::engine {

template <typename M>
void Inbox::push(std::unique_lock<std::mutex>& lock, M message) {
  messages_.emplace_back(std::move(message));
  const bool wake = std::exchange(sleeping_, false);
  lock.unlock();
  if (wake) wake_.notify_one();
}

Result<void> Inbox::post_request(std::unique_ptr<PendingRequest>& request) {
  std::unique_lock lock(mutex_);
  if (closed_)
    return fail(ErrorKind::unavailable, "the engine is stopping; try again after the restart");
  if (messages_.size() >= requests_max_)
    return fail(ErrorKind::unavailable, "the engine's inbox is full (inbox_depth_max " +
                                            std::to_string(requests_max_) +
                                            "); send less, or raise inbox_depth_max");
  push(lock, Submitted{std::move(request)});
  return {};
}

bool Inbox::post_withdrawal(RequestId request) {
  std::unique_lock lock(mutex_);
  // Twice the bound: withdrawals make room, so they go where requests no longer do.
  if (closed_ || messages_.size() >= 2 * requests_max_) return false;
  push(lock, Withdrawn{request});
  return true;
}

bool Inbox::post(Message message) {
  std::unique_lock lock(mutex_);
  if (closed_) return false;
  push(lock, std::move(message));
  return true;
}

bool Inbox::take(std::vector<Message>& taken, std::optional<Duration> wait_max) {
  std::unique_lock lock(mutex_);
  const auto something = [this] { return closed_ || !messages_.empty(); };
  if (!something()) {
    sleeping_ = true;
    if (wait_max) {
      wake_.wait_for(lock, *wait_max, something);
    } else {
      wake_.wait(lock, something);
    }
    sleeping_ = false;
  }
  messages_.swap(taken);
  return !closed_ || !taken.empty();
}

void Inbox::close() {
  {
    const std::scoped_lock lock(mutex_);
    closed_ = true;
    sleeping_ = false;
  }
  wake_.notify_one();
}

std::size_t Inbox::depth() const {
  const std::scoped_lock lock(mutex_);
  return messages_.size();
}

}  // namespace takt::engine
