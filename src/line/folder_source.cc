// SPDX-License-Identifier: Apache-2.0
#include "line/folder_source.h"

#include "line/capture.h"
#include "line/file_pattern.h"
#include "line/frame_reader.h"
#include "line/pacer.h"
#include "line/stop_signal.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <condition_variable>
#include <limits>
#include <mutex>
#include <set>
#include <system_error>
#include <thread>
#include <utility>

namespace takt::line {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kRepeatMax = 1'000'000'000;

struct Role {
  std::string name;
  FilePattern pattern;
};

// What the folder holds, fixed at the start.
struct Listing {
  std::vector<Role> roles;
  std::vector<std::string> ids;  // with pattern: the ids; without: the files' names

  [[nodiscard]] std::vector<ImageFile> files(const fs::path& folder, std::size_t i) const {
    std::vector<ImageFile> result;
    result.reserve(roles.size());
    for (const Role& role : roles) {
      result.push_back({role.name, role.pattern.file_of(folder, ids[i])});
    }
    return result;
  }
};

bool is_image_name(const std::string& name) {
  std::string ending = fs::path(name).extension().string();
  std::ranges::transform(ending, ending.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  constexpr std::array<std::string_view, 4> kEndings{".png", ".jpg", ".jpeg", ".bmp"};
  return std::ranges::find(kEndings, ending) != kEndings.end();
}

class FolderSource final : public Source {
 public:
  FolderSource(FolderOptions options, Listing listing, std::shared_ptr<SlotPool> pool,
               const Clock& clock)
      : options_(std::move(options)),
        listing_(std::move(listing)),
        total_(options_.repeat == 0 ? std::numeric_limits<std::uint64_t>::max()
                                    : options_.repeat * listing_.ids.size()),
        pool_(std::move(pool)),
        clock_(clock),
        pacer_(options_.frames_per_second, clock, stop_),
        window_(static_cast<std::size_t>(options_.prefetch)) {}

  ~FolderSource() override { stop(); }

  void start() {
    for (int i = 0; i < options_.decode_threads; ++i) threads_.emplace_back([this] { decode(); });
  }

  std::optional<Frame> next() override {
    if (handed_out_ == total_ || !pacer_.wait()) return std::nullopt;
    std::optional<Frame> frame;
    {
      std::unique_lock lock(mutex_);
      std::optional<Frame>& place = window_[handed_out_ % window_.size()];
      changed_.wait(lock, [&] { return stop_.raised() || place.has_value(); });
      if (stop_.raised()) return std::nullopt;
      frame = std::exchange(place, std::nullopt);
      ++handed_out_;
    }
    changed_.notify_all();
    frame->captured = clock_.now();
    frame->captured_wall_us = clock_.wall_time_us();
    return frame;
  }

  void stop() noexcept override {
    stop_.raise();
    // Between a waiter's check and its wait the signal would be missed without the lock.
    {
      const std::scoped_lock lock(mutex_);
    }
    changed_.notify_all();
  }

  std::string describe() const override {
    std::string text = "folder " + options_.directory.string();
    for (std::size_t i = 0; i < options_.roles.size(); ++i) {
      text += (i == 0 ? " (" : ", ") + options_.roles[i].pattern;
    }
    if (!options_.roles.empty()) text += ')';
    text += ", " + std::to_string(listing_.ids.size()) + " frames";
    if (options_.repeat == 0) text += ", again and again";
    if (options_.repeat > 1) text += ", " + std::to_string(options_.repeat) + " times";
    return text;
  }

  Duration interval() const override { return pacer_.interval(); }

  std::optional<std::uint64_t> total() const override {
    if (options_.repeat == 0) return std::nullopt;
    return total_;
  }

 private:
  // One thread of several: takes the next number, reads and decodes that frame, puts it in place.
  void decode() {
    FrameReader reader(options_.format, options_.limits);
    while (const std::optional<std::uint64_t> number = claim()) {
      const auto index = static_cast<std::size_t>(*number % listing_.ids.size());
      const std::vector<ImageFile> files = listing_.files(options_.directory, index);
      Frame frame;
      frame.name = files.front().path.stem().string();
      frame.part_id = options_.roles.empty() ? frame.name : listing_.ids[index];
      frame.trigger_seq = *number + 1;
      frame.recipe = options_.recipe;
      if (!fill(*number, files, reader, frame)) return;
      put(*number, std::move(frame));
    }
  }

  // The next frame's number once its place in the window is free; nullopt at the end.
  std::optional<std::uint64_t> claim() {
    std::unique_lock lock(mutex_);
    if (claimed_ == total_) return std::nullopt;
    const std::uint64_t number = claimed_++;
    changed_.wait(lock, [&] { return stop_.raised() || number < handed_out_ + window_.size(); });
    if (stop_.raised()) return std::nullopt;
    return number;
  }

  // False when the source was stopped.
  bool fill(std::uint64_t number, const std::vector<ImageFile>& files, FrameReader& reader,
            Frame& frame) {
    reader.load(files);
    const std::optional<CaptureSize> size = reader.size();
    // In the order of the frames: otherwise later frames could take the last slots while the one
    // that next() waits for gets none.
    if (!wait_for_turn(number)) return false;
    Result<Capture> capture = fail(ErrorKind::invalid_input, "");
    if (size) capture = take_capture(*pool_, *size, options_.slot_wait_max, stop_);
    pass_turn();
    FrameImages images = reader.decode(capture ? &*capture : nullptr);
    frame.images = std::move(images.images);
    frame.damage = std::move(images.damage);
    if (size && !capture) {
      if (capture.error().kind == ErrorKind::cancelled) return false;
      frame.damage = std::move(capture).error();
    }
    return true;
  }

  bool wait_for_turn(std::uint64_t number) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return stop_.raised() || slots_given_ == number; });
    return !stop_.raised();
  }

  void pass_turn() {
    {
      const std::scoped_lock lock(mutex_);
      ++slots_given_;
    }
    changed_.notify_all();
  }

  void put(std::uint64_t number, Frame frame) {
    {
      const std::scoped_lock lock(mutex_);
      window_[number % window_.size()] = std::move(frame);
    }
    changed_.notify_all();
  }

  // Constant:
  const FolderOptions options_;
  const Listing listing_;
  const std::uint64_t total_;
  const std::shared_ptr<SlotPool> pool_;
  const Clock& clock_;

  StopSignal stop_;
  Pacer pacer_;  // of the thread that calls next()

  std::mutex mutex_;
  std::condition_variable changed_;
  // Guarded by mutex_; handed_out_ is written by the thread that calls next() alone:
  std::uint64_t claimed_ = 0;      // frames taken by decode threads
  std::uint64_t slots_given_ = 0;  // frames that have their slot, or do without
  std::uint64_t handed_out_ = 0;
  std::vector<std::optional<Frame>> window_;  // frame n waits at n modulo its size

  std::vector<std::jthread> threads_;  // last: joined before the rest goes
};

Result<void> check_options(const FolderOptions& options) {
  const auto refuse = [](const std::string& message) {
    return fail(ErrorKind::invalid_input, "folder source: " + message);
  };
  if (options.decode_threads < 1 || options.decode_threads > 64) {
    return refuse("decode_threads is " + std::to_string(options.decode_threads) +
                  "; expected 1 to 64");
  }
  if (options.prefetch < 1 || options.prefetch > 256) {
    return refuse("prefetch is " + std::to_string(options.prefetch) + "; expected 1 to 256");
  }
  if (!std::isfinite(options.frames_per_second) || options.frames_per_second < 0) {
    return refuse("frames_per_second must be 0 (no limit) or more");
  }
  if (options.repeat > kRepeatMax) {
    return refuse("repeat is " + std::to_string(options.repeat) + "; expected 0 (without end) to " +
                  std::to_string(kRepeatMax));
  }
  std::set<std::string> roles;
  for (const RolePattern& role : options.roles) {
    if (!roles.insert(role.role).second) return refuse("the role '" + role.role + "' stands twice");
  }
  return {};
}

Result<Listing> list_folder(const FolderOptions& options) {
  std::error_code error;
  if (!fs::is_directory(options.directory, error)) {
    return fail(ErrorKind::invalid_input, options.directory.string() + ": no such folder");
  }
  Listing listing;
  for (const RolePattern& role : options.roles) {
    Result<FilePattern> pattern = parse_file_pattern(role.pattern);
    if (!pattern) return std::unexpected(std::move(pattern).error());
    listing.roles.push_back({role.role, std::move(*pattern)});
  }
  const bool by_pattern = !listing.roles.empty();
  // Without a pattern the whole name is the id.
  if (!by_pattern) listing.roles.push_back({"board", FilePattern{}});
  if (!listing.roles.front().pattern.has_id) {
    return fail(ErrorKind::invalid_input, "pattern '" + options.roles.front().pattern +
                                              "': the first role needs {id}, such as {id}.png");
  }
  Result<std::vector<std::string>> ids =
      matching_ids(options.directory, listing.roles.front().pattern, options.files_max);
  if (!ids) return std::unexpected(std::move(ids).error());
  if (!by_pattern)
    std::erase_if(*ids, [](const std::string& name) { return !is_image_name(name); });
  if (ids->empty()) {
    return fail(ErrorKind::invalid_input,
                options.directory.string() + ": no file matches " +
                    (by_pattern ? "'" + options.roles.front().pattern + "'"
                                : std::string("*.png, *.jpg, *.jpeg or *.bmp")));
  }
  listing.ids = std::move(*ids);
  return listing;
}

}  // namespace

Result<std::unique_ptr<Source>> make_folder_source(FolderOptions options,
                                                   std::shared_ptr<SlotPool> pool,
                                                   const Clock& clock) {
  if (Result<void> checked = check_options(options); !checked) {
    return std::unexpected(std::move(checked).error());
  }
  Result<Listing> listing = list_folder(options);
  if (!listing) return std::unexpected(std::move(listing).error());
  auto source = std::make_unique<FolderSource>(std::move(options), std::move(*listing),
                                               std::move(pool), clock);
  try {
    source->start();
  } catch (const std::system_error& error) {
    return fail(ErrorKind::out_of_memory,
                std::string("folder source: no thread could be started: ") + error.what());
  }
  return source;
}

}  // namespace takt::line
