// SPDX-License-Identifier: Apache-2.0
#include "gpu_measure.h"

#include "backend/cuda/run/planned_build.h"
#include "core/half.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <iostream>

namespace takt::cuda {
namespace {

// A step of splitmix64 (Vigna, https://prng.di.unimi.it/splitmix64.c), fast enough for gigabytes.
std::uint64_t next_random(std::uint64_t& state) {
  std::uint64_t mixed = state += 0x9e3779b97f4a7c15;
  mixed = (mixed ^ (mixed >> 30U)) * 0xbf58476d1ce4e5b9;
  mixed = (mixed ^ (mixed >> 27U)) * 0x94d049bb133111eb;
  return mixed ^ (mixed >> 31U);
}

template <typename T, typename Make>
void fill_elements(std::span<std::byte> bytes, std::uint64_t seed, const Make& make) {
  for (std::size_t i = 0; i + sizeof(T) <= bytes.size(); i += sizeof(T)) {
    const T element = make(next_random(seed));
    std::memcpy(&bytes[i], &element, sizeof(T));
  }
}

float unit(std::uint64_t random) {
  return static_cast<float>(random >> 40U) * 0x1p-24F;
}

}  // namespace

void give_up(const std::string& message) {
  std::cerr << program_invocation_short_name << ": " << message << '\n';
  std::_Exit(1);  // other threads may be at work
}

double microseconds(Duration duration) {
  return std::chrono::duration<double, std::micro>(duration).count();
}

double microseconds_since(SteadyTime start) {
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start)
      .count();
}

Json percentiles(std::vector<double> times) {
  std::ranges::sort(times);
  const auto at = [&](double share) {
    return times[static_cast<std::size_t>(share * static_cast<double>(times.size() - 1))];
  };
  return {{"p50", at(0.5)}, {"p99", at(0.99)}, {"min", times.front()}};
}

double median(std::vector<double> numbers) {
  const auto middle = numbers.begin() + static_cast<std::ptrdiff_t>(numbers.size() / 2);
  std::ranges::nth_element(numbers, middle);
  return *middle;
}

std::vector<double> times_us(int calls, const std::function<void()>& call) {
  for (int i = 0; i < std::max(3, calls / 10); ++i) call();
  std::vector<double> times;
  for (int i = 0; i < calls; ++i) {
    const auto start = std::chrono::steady_clock::now();
    call();
    times.push_back(microseconds_since(start));
  }
  return times;
}

void fill_with_noise(std::span<std::byte> bytes, DataType type, std::uint64_t seed) {
  if (type == DataType::fp32) {
    fill_elements<float>(bytes, seed, unit);
  } else if (type == DataType::fp16) {
    fill_elements<std::uint16_t>(bytes, seed, [](std::uint64_t r) { return to_fp16(unit(r)); });
  } else if (type == DataType::uint8) {
    fill_elements<std::uint8_t>(bytes, seed,
                                [](std::uint64_t r) { return static_cast<std::uint8_t>(r); });
  } else {
    std::ranges::fill(bytes, std::byte{1});
  }
}

LibrarySearch search_for_libraries() {
  std::error_code failure;
  return library_search(folders_of_environment(),
                        std::filesystem::read_symlink("/proc/self/exe", failure));
}

std::shared_ptr<const OpenedDevice> first_device() {
  return std::make_shared<const OpenedDevice>(must(open_device(search_for_libraries(), 0)));
}

std::vector<double> in_a_row_us(const Execution& execution, std::int64_t batch, double seconds) {
  constexpr int kRowsMin = 5;
  constexpr int kLaunches = 20;
  const auto& context = execution.model().device().context;
  const auto scope = must(context->enter());
  const Event begin = must(Event::create(context, EventUse::timing));
  const Event end = must(Event::create(context, EventUse::timing));
  std::vector<double> times;
  const auto start = std::chrono::steady_clock::now();
  for (int row = 0; row <= kRowsMin || microseconds_since(start) < seconds * 1e6; ++row) {
    must(begin.record(execution.stream()));
    for (int i = 0; i < kLaunches; ++i) must(execution.launch(batch));
    must(end.record(execution.stream()));
    must(end.synchronize());
    if (row > 0) times.push_back(microseconds(must(Event::elapsed(begin, end))) / kLaunches);
  }
  return times;
}

KeptPieces::KeptPieces(const OpenedDevice& device, std::filesystem::path file)
    : file_(std::move(file)), key_(device_key(device, kVersion)) {
  std::error_code ignored;
  if (!file_.empty() && std::filesystem::exists(file_, ignored)) {
    Result<Plan> plan = read_plan(file_);
    const Result<void> fits = plan ? check_key(key_, plan->key) : std::unexpected(plan.error());
    if (fits) {
      store_ = std::move(plan->pieces);
    } else {
      std::cerr << fits.error().message << "; it is made anew\n";
    }
  }
  if (!store_) store_ = std::make_unique<PieceStore>();
}

std::filesystem::path KeptPieces::backend_folder() const {
  return file_.empty() ? file_ : std::filesystem::path(file_.string() + ".backend");
}

void KeptPieces::absorb(const std::filesystem::path& plan) {
  const Result<Plan> read = read_plan(plan);
  if (!read) return;  // the next program tunes these steps again
  for (const Piece& piece : read->pieces->pieces()) {
    must(store_->put(piece.kind, piece.key, {piece.bytes.begin(), piece.bytes.end()}));
  }
}

void KeptPieces::save() const {
  if (!file_.empty()) must(write_plan(file_, key_, *store_));
}

}  // namespace takt::cuda
