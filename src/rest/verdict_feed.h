// SPDX-License-Identifier: Apache-2.0
// The latest verdicts of all lines: to be looked at page by page, and to be heard as they come.
// Thread-safe: every member from any thread.
// Owns: the records that it keeps, without pixels.
#pragma once

#include "line/sink.h"
#include "server/api_error.h"
#include "server/http/event_stream.h"

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace takt::rest {

struct FeedOptions {
  std::size_t kept_max = 1000;  // verdicts, of all lines
  std::size_t listeners_max = 64;
  std::size_t unheard_max = 1000;  // verdicts that wait for one listener; then the oldest go
};

// A verdict as it came. Numbers rise by one, over all lines, from 1 at each start.
struct FeedEntry {
  std::uint64_t id = 0;
  line::VerdictRecord record;
};
using FeedEntryPtr = std::shared_ptr<const FeedEntry>;

struct FeedFilter {
  std::string line;  // empty: of all
  std::optional<Verdict> verdict{};
  std::string part_id{};  // empty: of all

  [[nodiscard]] bool matches(const line::VerdictRecord& record) const;
};

class VerdictFeed final : public line::VerdictObserver {
 public:
  explicit VerdictFeed(FeedOptions options);
  ~VerdictFeed() override;  // close()

  void on_verdict(const line::VerdictRecord& record) override;

  // At most `limit`, the newest first, of those before `before` (0: all).
  struct Page {
    std::vector<FeedEntryPtr> entries;
    bool more = false;  // further ones match
  };
  [[nodiscard]] Page page(const FeedFilter& filter, std::uint64_t before, std::size_t limit) const;

  // Server-sent events: `id`, event `verdict` and the record as JSON; event `lost` with how many a slow
  // listener has missed. `after`: those behind it that are still kept come first; of an id that this
  // run hasn't given, all that are kept. Errors: resource_exhausted
  // (listeners_max), unavailable (closed).
  [[nodiscard]] server::ApiResult<std::shared_ptr<server::http::EventStream>> listen(
      FeedFilter filter, std::optional<std::uint64_t> after);

  // Ends what is being heard.
  void close();

 private:
  class Listener;

  const FeedOptions options_;
  mutable std::mutex mutex_;
  // Guarded by mutex_:
  std::deque<FeedEntryPtr> kept_;
  std::vector<std::weak_ptr<Listener>> listeners_;
  std::uint64_t last_id_ = 0;
  bool closed_ = false;
};

}  // namespace takt::rest
