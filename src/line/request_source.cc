// SPDX-License-Identifier: Apache-2.0
#include "line/request_source.h"

#include "core/suggest.h"
#include "line/capture.h"
#include "line/stop_signal.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <new>
#include <optional>
#include <set>
#include <system_error>
#include <thread>
#include <utility>

namespace takt::line {
namespace {

// A line that is behind gives its slots back frame by frame; a frame that gets none by then is judged
// without its pixels.
constexpr Duration kSlotWaitMax = std::chrono::seconds(1);

struct Waiting {
  std::uint64_t number = 0;  // the frame's trigger_seq
  std::int64_t wall_us = 0;
  Submission submission;
};

// One frame's call that waits for its verdict. Frames of an earlier run may have the same number.
struct Owed {
  std::int64_t captured_wall_us = 0;
  FrameAnswer done;
  bool accepted = false;  // handed out to the line
};

std::string listed(const std::vector<std::string>& roles) {
  std::string text;
  for (const std::string& role : roles) text += (text.empty() ? "'" : ", '") + role + "'";
  return text;
}

// What inlet and source share.
class Desk final : public FrameInlet {
 public:
  Desk(std::string line, RequestOptions options, std::shared_ptr<SlotPool> pool, const Clock& clock)
      : line_(std::move(line)),
        options_(std::move(options)),
        pool_(std::move(pool)),
        clock_(clock) {}

  Result<void> put(Submission submission, FrameAnswer done) override {
    if (Result<void> checked = check(submission); !checked) return checked;
    {
      const std::scoped_lock lock(mutex_);
      if (stop_.raised()) return stopping();
      if (inside_ >= static_cast<std::size_t>(options_.waiting_max)) {
        return fail(ErrorKind::overloaded, std::to_string(inside_) +
                                               " frames wait for this line already (waiting_max); "
                                               "try again later");
      }
      ++inside_;
      const std::int64_t wall_us = clock_.wall_time_us();
      owed_.emplace(++number_, Owed{wall_us, std::move(done), false});
      waiting_.push_back({number_, wall_us, std::move(submission)});
    }
    changed_.notify_all();
    return {};
  }

  const RequestOptions& options() const noexcept override { return options_; }

  void on_verdict(const VerdictRecord& record) override {
    std::optional<Owed> owed;
    {
      const std::scoped_lock lock(mutex_);
      const auto found = owed_.find(record.trigger_seq);
      if (found == owed_.end() || found->second.captured_wall_us != record.captured_wall_us) return;
      owed.emplace(std::move(found->second));
      owed_.erase(found);
    }
    owed->done(&record);
  }

  // A decode thread: pictures into a frame, until it is stopped.
  void decode() {
    FrameReader reader(options_.format, options_.limits);
    while (std::optional<Waiting> next = take_waiting()) {
      Frame frame = frame_of(*next);
      try {
        fill(frame, next->submission, reader);
      } catch (const std::bad_alloc&) {
        frame.damage = Error{ErrorKind::out_of_memory, "no memory to decode the pictures"};
      }
      {
        const std::scoped_lock lock(mutex_);
        ready_.push_back(std::move(frame));
      }
      changed_.notify_all();
    }
  }

  std::optional<Frame> next() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return stop_.raised() || !ready_.empty(); });
    if (stop_.raised()) return std::nullopt;
    Frame frame = std::move(ready_.front());
    ready_.pop_front();
    --inside_;
    owed_.at(frame.trigger_seq).accepted = true;
    return frame;
  }

  void stop() noexcept {
    {
      const std::scoped_lock lock(mutex_);
      stop_.raise();
    }
    changed_.notify_all();
  }

  // After stop(): what was not handed out has not been accepted.
  void refuse_rest() {
    std::vector<FrameAnswer> refused;
    {
      const std::scoped_lock lock(mutex_);
      for (auto it = owed_.begin(); it != owed_.end();) {
        if (it->second.accepted) {
          ++it;
          continue;
        }
        refused.push_back(std::move(it->second.done));
        it = owed_.erase(it);
      }
      waiting_.clear();
      ready_.clear();
    }
    for (FrameAnswer& done : refused) done(std::unexpected(stopping().error()));
  }

 private:
  static std::unexpected<Error> stopping() {
    return fail(ErrorKind::unavailable, "this line takes no further frames: it is stopping");
  }

  Result<void> check(const Submission& submission) const {
    const std::vector<std::string>& roles = options_.roles;
    std::set<std::string_view> seen;
    for (const EncodedImage& image : submission.images) {
      if (std::ranges::find(roles, image.role) == roles.end()) {
        return fail(ErrorKind::invalid_input, "no picture '" + image.role + "' in this line" +
                                                  suggestion(image.role, roles) + "; it takes " +
                                                  listed(roles));
      }
      if (!seen.insert(image.role).second) {
        return fail(ErrorKind::invalid_input, "the picture '" + image.role + "' is there twice");
      }
    }
    for (const std::string& role : roles) {
      if (seen.contains(role)) continue;
      return fail(ErrorKind::invalid_input,
                  "the picture '" + role + "' is missing; this line takes " + listed(roles) +
                      (roles.size() > 1 ? ", as multipart/form-data" : ""));
    }
    return {};
  }

  std::optional<Waiting> take_waiting() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return stop_.raised() || !waiting_.empty(); });
    if (stop_.raised()) return std::nullopt;
    Waiting next = std::move(waiting_.front());
    waiting_.pop_front();
    return next;
  }

  Frame frame_of(const Waiting& waiting) const {
    Frame frame;
    frame.name = line_ + "-" + std::to_string(waiting.number);
    frame.part_id = waiting.submission.part_id.empty() ? frame.name : waiting.submission.part_id;
    frame.trigger_seq = waiting.number;
    frame.recipe = waiting.submission.recipe.empty() ? options_.recipe : waiting.submission.recipe;
    frame.captured = waiting.submission.captured;
    frame.captured_wall_us = waiting.wall_us;
    return frame;
  }

  void fill(Frame& frame, Submission& submission, FrameReader& reader) {
    // In the order of the roles, so that a backend may take them as one tensor.
    std::ranges::sort(submission.images, {}, [this](const EncodedImage& image) {
      return std::ranges::find(options_.roles, image.role) - options_.roles.begin();
    });
    reader.load(submission.images);
    const std::optional<CaptureSize> size = reader.size();
    Result<Capture> capture = fail(ErrorKind::invalid_input, "");
    if (size) capture = take_capture(*pool_, *size, kSlotWaitMax, stop_);
    FrameImages images = reader.decode(capture ? &*capture : nullptr);
    frame.images = std::move(images.images);
    frame.damage = std::move(images.damage);
    if (size && !capture) frame.damage = std::move(capture).error();
  }

  const std::string line_;
  const RequestOptions options_;
  const std::shared_ptr<SlotPool> pool_;
  const Clock& clock_;
  StopSignal stop_;
  std::mutex mutex_;
  std::condition_variable changed_;
  // Guarded by mutex_:
  std::deque<Waiting> waiting_;
  std::deque<Frame> ready_;
  std::size_t inside_ = 0;  // put in and not handed out
  std::uint64_t number_ = 0;
  std::map<std::uint64_t, Owed> owed_;
};

class DeskSource final : public Source {
 public:
  explicit DeskSource(std::shared_ptr<Desk> desk) : desk_(std::move(desk)) {}
  ~DeskSource() override {
    desk_->stop();
    for (std::thread& thread : threads_) thread.join();
    desk_->refuse_rest();
  }

  void start() {
    for (int i = 0; i < desk_->options().decode_threads; ++i) {
      threads_.emplace_back([desk = desk_.get()] { desk->decode(); });
    }
  }

  std::optional<Frame> next() override {
    std::optional<Frame> frame = desk_->next();
    if (!frame) desk_->refuse_rest();
    return frame;
  }
  void stop() noexcept override { desk_->stop(); }
  std::string describe() const override {
    return "requests (" + listed(desk_->options().roles) + ")";
  }
  Duration interval() const override { return {}; }
  std::optional<std::uint64_t> total() const override { return std::nullopt; }

 private:
  const std::shared_ptr<Desk> desk_;
  std::vector<std::thread> threads_;
};

Result<void> check_options(const RequestOptions& options) {
  const auto refuse = [](const std::string& message) {
    return fail(ErrorKind::invalid_input, message);
  };
  if (options.roles.empty()) return refuse("images: at least one role is needed, such as [board]");
  if (std::set(options.roles.begin(), options.roles.end()).size() != options.roles.size()) {
    return refuse("images: a role stands twice");
  }
  constexpr int kThreadsMax = 64;
  constexpr int kWaitingMax = 4096;
  if (options.decode_threads < 1 || options.decode_threads > kThreadsMax) {
    return refuse("decode_threads: expected 1 to 64");
  }
  if (options.waiting_max < 1 || options.waiting_max > kWaitingMax) {
    return refuse("waiting_max: expected 1 to 4096");
  }
  return {};
}

}  // namespace

Result<RequestSource> make_request_source(const std::string& line, RequestOptions options,
                                          std::shared_ptr<SlotPool> pool, const Clock& clock) {
  if (Result<void> checked = check_options(options); !checked) {
    return std::unexpected(std::move(checked).error());
  }
  auto desk = std::make_shared<Desk>(line, std::move(options), std::move(pool), clock);
  auto source = std::make_unique<DeskSource>(desk);
  try {
    source->start();
  } catch (const std::system_error& error) {
    return fail(ErrorKind::out_of_memory,
                std::string("request source: no thread could be started: ") + error.what());
  }
  return RequestSource{std::move(source), std::move(desk)};
}

}  // namespace takt::line
