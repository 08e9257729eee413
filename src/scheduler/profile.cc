// SPDX-License-Identifier: Apache-2.0
#include "scheduler/profile.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <tuple>

namespace takt::scheduler {

void SlidingQuantiles::fill(Duration p50, Duration p99) {
  // Six of 256 at the p99 keep the third largest there until most of the window is real; they lie
  // evenly, so that they leave evenly.
  constexpr int kSlow = 6;
  constexpr int kStride = kCapacity / kSlow;
  const std::int64_t slow = std::max(p50, p99).count();
  for (int i = 0; i < kCapacity; ++i) {
    const bool is_slow = i % kStride == kStride - 1 && i / kStride < kSlow;
    by_age_[static_cast<std::size_t>(i)] = is_slow ? slow : p50.count();
    sorted_[static_cast<std::size_t>(i)] = i < kCapacity - kSlow ? p50.count() : slow;
  }
  count_ = kCapacity;
  next_ = 0;
}

void SlidingQuantiles::add(Duration value) {
  const std::int64_t added = std::max<std::int64_t>(0, value.count());
  auto* const begin = sorted_.data();
  auto* end = begin + count_;
  if (count_ == kCapacity) {
    auto* const oldest = std::lower_bound(begin, end, by_age_[static_cast<std::size_t>(next_)]);
    std::move(oldest + 1, end, oldest);
    --end;
  } else {
    ++count_;
  }
  auto* const place = std::upper_bound(begin, end, added);
  std::move_backward(place, end, end + 1);
  *place = added;
  by_age_[static_cast<std::size_t>(next_)] = added;
  next_ = (next_ + 1) % kCapacity;
}

Duration SlidingQuantiles::p50() const noexcept {
  return count_ == 0 ? Duration{} : Duration(sorted_[static_cast<std::size_t>((count_ - 1) / 2)]);
}

Duration SlidingQuantiles::p99() const noexcept {
  const int excused = 1 + count_ / kCapacity;
  return count_ == 0
             ? Duration{}
             : Duration(sorted_[static_cast<std::size_t>(std::max(0, count_ - 1 - excused))]);
}

Duration SlidingQuantiles::longest() const noexcept {
  return count_ == 0 ? Duration{} : Duration(sorted_[static_cast<std::size_t>(count_ - 1)]);
}

std::vector<Duration> SlidingQuantiles::sorted() const {
  std::vector<Duration> values;
  values.reserve(static_cast<std::size_t>(count_));
  for (int i = 0; i < count_; ++i) values.emplace_back(sorted_[static_cast<std::size_t>(i)]);
  return values;
}

std::vector<LatencyPoint> merge_profile(std::span<const LatencyPoint> measured,
                                        std::span<const ProfilePoint> stored,
                                        std::int64_t executions_min) {
  std::map<int, LatencyPoint> merged;
  for (const LatencyPoint& point : measured) merged[point.batch] = point;
  for (const ProfilePoint& point : stored) {
    const bool sensible = point.batch >= 1 && point.p50 >= Duration{} && point.p99 >= point.p50 &&
                          point.p99 > Duration{};
    if (!sensible || point.executions < executions_min) continue;
    merged[point.batch] = {point.batch, point.p50, point.p99};
  }
  std::vector<LatencyPoint> points;
  points.reserve(merged.size());
  for (const auto& [batch, point] : merged) points.push_back(point);
  return points;
}

bool LatencyProfile::Knot::usable() const noexcept {
  return prior.p99 > Duration{} || (window && window->count() >= kSamplesBeforeUse);
}

LatencyProfile::LatencyProfile(std::span<const LatencyPoint> loaded, int batch_max)
    : batch_max_(std::max(1, batch_max)) {
  knots_.reserve(loaded.size());
  for (const LatencyPoint& point : loaded) {
    Knot knot;
    knot.batch = point.batch;
    knot.loaded = true;
    knot.prior = point;
    knots_.push_back(std::move(knot));
  }
  refresh();
}

double LatencyProfile::interpolate(std::int64_t rows, Duration Knot::* quantile) const {
  const auto value = [quantile](const Knot& knot) {
    return static_cast<double>((knot.*quantile).count());
  };
  const auto above =
      std::lower_bound(usable_.begin(), usable_.end(), rows,
                       [](const Knot& knot, std::int64_t wanted) { return knot.batch < wanted; });
  if (above == usable_.begin()) return value(*above);
  const Knot& low = *(above - 1);
  if (above != usable_.end()) {
    if (above->batch == rows) return value(*above);
    const auto width = static_cast<double>(above->batch - low.batch);
    const double share = static_cast<double>(rows - low.batch) / width;
    return value(low) + share * (value(*above) - value(low));
  }
  // Beyond the largest: the slope of the last two, or proportional to the rows with one alone.
  double rise = value(low);
  double run = low.batch;
  if (usable_.size() > 1) {
    rise -= value(*(above - 2));
    run -= (above - 2)->batch;
  }
  return value(low) + rise / run * static_cast<double>(rows - low.batch);
}

Duration LatencyProfile::p50(std::int64_t rows) const {
  return known_ ? Duration(static_cast<std::int64_t>(std::ceil(interpolate(rows, &Knot::p50))))
                : Duration{};
}

Duration LatencyProfile::p99(std::int64_t rows) const {
  return known_ ? Duration(static_cast<std::int64_t>(std::ceil(interpolate(rows, &Knot::p99))))
                : Duration{};
}

Duration LatencyProfile::longest(std::int64_t rows) const {
  return known_ ? Duration(static_cast<std::int64_t>(std::ceil(interpolate(rows, &Knot::longest))))
                : Duration{};
}

Duration LatencyProfile::least_work(std::int64_t rows) const {
  if (rows <= 0) return Duration{};
  const std::int64_t batches = (rows + batch_max_ - 1) / batch_max_;
  return Duration(static_cast<std::int64_t>(static_cast<double>(batches) * overhead_ns_ +
                                            static_cast<double>(rows) * per_row_ns_));
}

int LatencyProfile::rows_worth(int rows_max, double gain_min, Duration around) const {
  if (!known_ || rows_max <= 1) return rows_max;
  const auto extra = static_cast<double>(around.count());
  const double last = interpolate(rows_max, &Knot::p50) + extra;
  double least = last / rows_max;
  for (const Knot& knot : usable_) {
    if (knot.batch > rows_max) break;
    least = std::min(least, (static_cast<double>(knot.p50.count()) + extra) / knot.batch);
  }
  const double enough = least * (1 + gain_min + 1e-9);  // rounding must not hide the least itself
  // Between two known sizes the time is linear, and a row's share of it rises or falls throughout.
  int low = 1;
  double low_time = interpolate(1, &Knot::p50) + extra;
  if (low_time <= enough) return 1;
  const auto crossing = [&](int high, double high_time) {
    const double slope = (high_time - low_time) / (high - low);
    const double rows = std::ceil((low_time - slope * low) / (enough - slope) - 1e-9);
    return std::clamp(static_cast<int>(rows), low + 1, high);
  };
  for (const Knot& knot : usable_) {
    if (knot.batch <= 1) continue;
    if (knot.batch >= rows_max) break;
    const double time = static_cast<double>(knot.p50.count()) + extra;
    if (time <= enough * knot.batch) return crossing(knot.batch, time);
    low = knot.batch;
    low_time = time;
  }
  return last <= enough * rows_max ? crossing(rows_max, last) : rows_max;
}

LatencyProfile::Knot* LatencyProfile::find_or_insert(int batch) {
  const auto place =
      std::lower_bound(knots_.begin(), knots_.end(), batch,
                       [](const Knot& knot, int wanted) { return knot.batch < wanted; });
  if (place != knots_.end() && place->batch == batch) return &*place;
  if (learned_sizes_ >= kLearnedSizesMax) return nullptr;
  ++learned_sizes_;
  Knot knot;
  knot.batch = batch;
  knot.prior = {batch, p50(batch), p99(batch)};
  return &*knots_.insert(place, std::move(knot));
}

void LatencyProfile::record(int rows, Duration exec, TimePoint now) {
  last_recorded_ = now;
  learned_ = true;
  Knot* const knot = find_or_insert(rows);
  if (knot == nullptr) return;
  const bool is_new = !knot->window;
  const bool was_usable = knot->usable();
  if (is_new) {
    knot->window = std::make_unique<SlidingQuantiles>();
    if (knot->prior.p99 > Duration{}) knot->window->fill(knot->prior.p50, knot->prior.p99);
  }
  ++knot->executions;
  const auto quantiles = [knot] {
    return std::tuple(knot->window->p50(), knot->window->p99(), knot->window->longest());
  };
  const auto before = quantiles();
  knot->window->add(exec);
  const auto after = quantiles();
  if (is_new || before != after || was_usable != knot->usable()) refresh();
}

void LatencyProfile::forget() {
  std::erase_if(knots_, [](const Knot& knot) { return !knot.loaded; });
  for (Knot& knot : knots_) {
    knot.window.reset();
    knot.executions = 0;
  }
  learned_sizes_ = 0;
  learned_ = false;
  refresh();
}

void LatencyProfile::refresh() {
  usable_.clear();
  Duration p50_floor{};
  Duration p99_floor{};
  Duration longest_floor{};
  for (const Knot& knot : knots_) {
    if (!knot.usable()) continue;
    Knot seen;
    seen.batch = knot.batch;
    seen.p50 = p50_floor = std::max(p50_floor, knot.window ? knot.window->p50() : knot.prior.p50);
    seen.p99 = p99_floor =
        std::max({p99_floor, seen.p50, knot.window ? knot.window->p99() : knot.prior.p99});
    seen.longest = longest_floor =
        std::max({longest_floor, seen.p99, knot.window ? knot.window->longest() : knot.prior.p99});
    usable_.push_back(std::move(seen));
  }
  known_ = !usable_.empty();
  refresh_line();
}

void LatencyProfile::refresh_line() {
  overhead_ns_ = per_row_ns_ = 0;
  if (!known_) return;
  // Not p99(), which rounds up: a line through rounded points may lie above the others.
  const auto at = [this](int batch) { return interpolate(batch, &Knot::p99); };
  const double alone = at(1);
  overhead_ns_ = alone;
  if (batch_max_ == 1) return;
  // The profile is linear between its knots: a line under all of them and under batch_max lies
  // under every size.
  double slope = (at(batch_max_) - alone) / (batch_max_ - 1);
  double rate = std::min(alone, at(batch_max_) / batch_max_);
  for (const Knot& knot : usable_) {
    if (knot.batch <= 1 || knot.batch > batch_max_) continue;
    slope = std::min(slope, (static_cast<double>(knot.p99.count()) - alone) / (knot.batch - 1));
    rate = std::min(rate, static_cast<double>(knot.p99.count()) / knot.batch);
  }
  const bool grows_faster_than_linear = alone < slope;
  overhead_ns_ = grows_faster_than_linear ? 0 : alone - slope;
  per_row_ns_ = grows_faster_than_linear ? rate : slope;
}

std::vector<LatencyPoint> LatencyProfile::points() const {
  std::vector<LatencyPoint> points;
  points.reserve(usable_.size());
  for (const Knot& knot : usable_) points.push_back({knot.batch, knot.p50, knot.p99});
  return points;
}

std::vector<ProfilePoint> LatencyProfile::exported() const {
  std::vector<ProfilePoint> points;
  for (const Knot& knot : knots_) {
    if (!knot.usable()) continue;
    const auto seen = std::ranges::find(usable_, knot.batch, &Knot::batch);
    points.push_back({knot.batch, seen->p50, seen->p99, seen->longest, knot.executions, {}});
    if (knot.executions >= SlidingQuantiles::kCapacity) {
      points.back().window = knot.window->sorted();
    }
  }
  return points;
}

}  // namespace takt::scheduler
