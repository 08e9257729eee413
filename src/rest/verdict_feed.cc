// SPDX-License-Identifier: Apache-2.0
#include "rest/verdict_feed.h"

#include "line/record_json.h"
#include "rest/hide_paths.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <functional>
#include <ranges>
#include <utility>

namespace takt::rest {
namespace {

// Verdicts sent at once; a listener that is behind gets the rest with the next write.
constexpr std::size_t kPartMax = 64;

FeedEntryPtr entry_of(std::uint64_t id, const line::VerdictRecord& record) {
  auto entry = std::make_shared<FeedEntry>(FeedEntry{id, record});
  entry->record.images.clear();  // their slots are the line's
  hide_paths(entry->record);
  return entry;
}

}  // namespace

bool FeedFilter::matches(const line::VerdictRecord& record) const {
  return (line.empty() || line == record.line) && (!verdict || *verdict == record.verdict) &&
         (part_id.empty() || part_id == record.part_id);
}

class VerdictFeed::Listener final : public server::http::EventStream {
 public:
  Listener(FeedFilter filter, std::size_t unheard_max)
      : filter_(std::move(filter)), unheard_max_(unheard_max) {}

  void hear(const FeedEntryPtr& entry) {
    if (!filter_.matches(entry->record)) return;
    const std::scoped_lock lock(mutex_);
    unheard_.push_back(entry);
    if (unheard_.size() > unheard_max_) {
      unheard_.pop_front();
      ++lost_;
    }
    if (changed_) changed_();
  }

  void lose(std::uint64_t verdicts) {
    const std::scoped_lock lock(mutex_);
    lost_ += verdicts;
  }

  void end() {
    const std::scoped_lock lock(mutex_);
    ended_ = true;
    if (changed_) changed_();
  }

  std::optional<std::string> take() override {
    std::uint64_t lost = 0;
    std::vector<FeedEntryPtr> heard;  // written out without the lock, for which a line may wait
    {
      const std::scoped_lock lock(mutex_);
      if (ended_) return std::nullopt;
      lost = std::exchange(lost_, 0);
      while (!unheard_.empty() && heard.size() < kPartMax) {
        heard.push_back(std::move(unheard_.front()));
        unheard_.pop_front();
      }
    }
    std::string text;
    if (lost > 0) text = fmt::format("event: lost\ndata: {{\"verdicts\":{}}}\n\n", lost);
    for (const FeedEntryPtr& entry : heard) {
      text += fmt::format(
          "id: {}\nevent: verdict\ndata: {}\n\n", entry->id,
          to_json(entry->record).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
    }
    return text;
  }

  void on_change(std::function<void()> changed) override {
    const std::scoped_lock lock(mutex_);
    changed_ = std::move(changed);
  }

 private:
  const FeedFilter filter_;
  const std::size_t unheard_max_;
  std::mutex mutex_;
  // Guarded by mutex_:
  std::deque<FeedEntryPtr> unheard_;
  std::uint64_t lost_ = 0;
  bool ended_ = false;
  std::function<void()> changed_;
};

VerdictFeed::VerdictFeed(FeedOptions options) : options_(options) {}

VerdictFeed::~VerdictFeed() {
  close();
}

void VerdictFeed::on_verdict(const line::VerdictRecord& record) {
  const std::scoped_lock lock(mutex_);
  kept_.push_back(entry_of(++last_id_, record));
  if (kept_.size() > options_.kept_max) kept_.pop_front();
  for (const std::weak_ptr<Listener>& one : listeners_) {
    if (const auto listener = one.lock()) listener->hear(kept_.back());
  }
}

VerdictFeed::Page VerdictFeed::page(const FeedFilter& filter, std::uint64_t before,
                                    std::size_t limit) const {
  std::vector<FeedEntryPtr> kept;  // looked through without the lock, for which lines may wait
  {
    const std::scoped_lock lock(mutex_);
    kept.assign(kept_.begin(), kept_.end());
  }
  Page page;
  for (const FeedEntryPtr& entry : kept | std::views::reverse) {
    if (before != 0 && entry->id >= before) continue;
    if (!filter.matches(entry->record)) continue;
    if (page.entries.size() == limit) {
      page.more = true;
      break;
    }
    page.entries.push_back(entry);
  }
  return page;
}

server::ApiResult<std::shared_ptr<server::http::EventStream>> VerdictFeed::listen(
    FeedFilter filter, std::optional<std::uint64_t> after) {
  auto listener = std::make_shared<Listener>(std::move(filter), options_.unheard_max);
  const std::scoped_lock lock(mutex_);
  if (closed_) return server::refuse(server::ApiCode::unavailable, "the server is stopping");
  std::erase_if(listeners_, [](const auto& one) { return one.expired(); });
  if (listeners_.size() >= options_.listeners_max) {
    return server::refuse(
        server::ApiCode::resource_exhausted,
        fmt::format("{} listen to verdicts already; try again later", listeners_.size()));
  }
  if (after && *after > last_id_) after = 0;  // of a run before this one
  if (after) {
    const std::uint64_t first = kept_.empty() ? last_id_ + 1 : kept_.front()->id;
    if (first > *after + 1) listener->lose(first - *after - 1);
    for (const FeedEntryPtr& entry : kept_) {
      if (entry->id > *after) listener->hear(entry);
    }
  }
  listeners_.push_back(listener);
  return listener;
}

void VerdictFeed::close() {
  const std::scoped_lock lock(mutex_);
  closed_ = true;
  for (const std::weak_ptr<Listener>& one : listeners_) {
    if (const auto listener = one.lock()) listener->end();
  }
}

}  // namespace takt::rest
