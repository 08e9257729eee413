// SPDX-License-Identifier: Apache-2.0
#include "app/profile_store.h"

#include "app/model_loading.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <system_error>

namespace takt::app {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;
using scheduler::ProfilePoint;

constexpr int kFormatVersion = 1;
constexpr std::uintmax_t kFileBytesMax = 4 << 20;
constexpr std::size_t kPointsMax = 4096;
// A day: whatever is longer is no execution time.
constexpr std::int64_t kDurationMaxNs = 86'400'000'000'000;

std::string processor() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with("model name")) continue;
    const std::size_t colon = line.find(": ");
    if (colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown";
}

// Its number and the models of all GPUs, as NVIDIA's driver shows them without a context.
std::string gpu_of(const config::DeviceConfig& device) {
  std::vector<std::string> models;
  std::error_code failure;
  for (const auto& gpu : fs::directory_iterator("/proc/driver/nvidia/gpus", failure)) {
    std::ifstream file(gpu.path() / "information");
    for (std::string line; std::getline(file, line);) {
      if (line.starts_with("Model:")) models.push_back(line.substr(line.find_last_of('\t') + 1));
    }
  }
  std::ranges::sort(models);
  return fmt::format("{} of {}", device.index, fmt::join(models, ", "));
}

// Bytes and the latest change of the files that make up a version.
std::string files_of(const fs::path& model, std::int64_t version) {
  std::uintmax_t bytes = 0;
  std::int64_t changed = INT64_MIN;  // the clock of files begins after today
  const auto add = [&](const fs::path& file) {
    std::error_code failure;
    const std::uintmax_t size = fs::file_size(file, failure);
    if (failure) return;
    bytes += size;
    const auto time = fs::last_write_time(file, failure).time_since_epoch();
    if (!failure) changed = std::max(changed, std::int64_t{time.count()});
  };
  add(model / "config.pbtxt");
  std::error_code failure;
  for (const auto& entry : fs::directory_iterator(model / std::to_string(version), failure)) {
    if (std::error_code ignored; entry.is_regular_file(ignored)) add(entry.path());
  }
  return fmt::format("{} bytes, changed {}", bytes, changed);
}

std::uint64_t fnv1a(const std::string& text) {
  std::uint64_t hash = 0xcbf29ce484222325ULL;  // Fowler, Noll, Vo: FNV-1a, 64 bits
  for (const char byte : text) {
    hash = (hash ^ static_cast<unsigned char>(byte)) * 0x100000001b3ULL;
  }
  return hash;
}

json key_json(const ProfileKey& key) {
  json conditions = json::object();
  for (const auto& [name, value] : key.conditions) conditions[name] = value;
  return {{"model", key.model}, {"version", key.version}, {"conditions", std::move(conditions)}};
}

json points_json(const std::vector<ProfilePoint>& points) {
  json list = json::array();
  for (const ProfilePoint& point : points) {
    json window = json::array();
    for (const Duration value : point.window) window.push_back(value.count());
    list.push_back({{"batch", point.batch},
                    {"p50_ns", point.p50.count()},
                    {"p99_ns", point.p99.count()},
                    {"longest_ns", point.longest.count()},
                    {"executions", point.executions},
                    {"window_ns", std::move(window)}});
  }
  return list;
}

// Readers throw json::exception for what is missing or of another type, and this for the rest.
struct Nonsense {};

// Whole numbers alone: the conversion of another may overflow.
std::int64_t count_up_to(std::int64_t max, const json& value) {
  if (!value.is_number_integer()) throw Nonsense{};
  const auto count = value.get<std::int64_t>();
  if (count < 0 || count > max) throw Nonsense{};
  return count;
}

Duration duration(const json& value) {
  return Duration(count_up_to(kDurationMaxNs, value));
}

int small_count(const json& value) {
  return static_cast<int>(count_up_to(std::numeric_limits<int>::max(), value));
}

std::vector<ProfilePoint> parse_points(const json& list) {
  std::vector<ProfilePoint> points;
  if (!list.is_array() || list.size() > kPointsMax) throw Nonsense{};
  for (const json& entry : list) {
    ProfilePoint& point = points.emplace_back();
    point.batch = small_count(entry.at("batch"));
    point.p50 = duration(entry.at("p50_ns"));
    point.p99 = duration(entry.at("p99_ns"));
    point.longest = duration(entry.at("longest_ns"));
    point.executions =
        count_up_to(std::numeric_limits<std::int64_t>::max(), entry.at("executions"));
    for (const json& value : entry.at("window_ns")) point.window.push_back(duration(value));
    if (point.batch < 1 || point.p99 < point.p50 || point.longest < point.p99 ||
        point.p99 <= Duration{} || point.window.size() > scheduler::SlidingQuantiles::kCapacity ||
        !std::ranges::is_sorted(point.window)) {
      throw Nonsense{};
    }
  }
  if (!std::ranges::is_sorted(points, {}, &ProfilePoint::batch)) throw Nonsense{};
  return points;
}

StoredProfile parse(const json& file) {
  StoredProfile profile;
  profile.batch_max = small_count(file.at("batch_max"));
  profile.learned = parse_points(file.at("learned"));
  if (!file.contains("measured")) return profile;
  const json& measured = file.at("measured");
  MeasuredProfile& into = profile.measured.emplace();
  into.points = parse_points(measured.at("points"));
  into.contention = measured.at("contention").get<double>();
  into.batch_overhead = duration(measured.at("batch_overhead_ns"));
  into.request_overhead = duration(measured.at("request_overhead_ns"));
  constexpr double kContentionMax = 1000;
  if (into.points.empty() || !(into.contention >= 1.0 && into.contention <= kContentionMax)) {
    throw Nonsense{};
  }
  return profile;
}

std::unexpected<Error> cant_write(const fs::path& file) {
  return fail(ErrorKind::unavailable,
              file.string() + ": can't be written (" + std::generic_category().message(errno) +
                  "); profiles are measured anew at the next start: free space there, or set "
                  "models.cache to another folder");
}

}  // namespace

ProfileKey profile_key(const config::Config& config, const config::DeviceConfig& device,
                       const TaskSpec& task, std::int64_t version, const std::string& backend) {
  const int lanes = lanes_of(device);
  ProfileKey key{.model = task.model, .version = version, .conditions = {}};
  key.conditions = {
      {"files", files_of(config.models.repository / task.model, version)},
      {"backend", backend},
      {"device", device.name},
      {"processor", processor()},
      {"cpus", fmt::format("{}", fmt::join(cpus_of(device), ","))},
      {"lanes", std::to_string(lanes)},
      {"lanes_tied", tied_cpus(device).empty() ? "no" : "yes"},
      {"threads_per_lane", std::to_string(device.threads_per_lane)},
      {"instances", std::to_string(task.instances > 0 ? task.instances : lanes)},
      {"batch_max", std::to_string(task.batch_max)},
      {"isolation", task.isolation == Isolation::process ? "process" : "thread"},
  };
  if (device.kind == config::DeviceKind::cuda) key.conditions.emplace_back("gpu", gpu_of(device));
  return key;
}

ProfileStore::ProfileStore(const fs::path& cache) {
  if (!cache.empty()) folder_ = cache / "profiles";
}

fs::path ProfileStore::file_of(const ProfileKey& key) const {
  return folder_ /
         fmt::format("{}-{}-{:016x}.json", key.model, key.version, fnv1a(key_json(key).dump()));
}

Result<std::optional<StoredProfile>> ProfileStore::read(const ProfileKey& key) const {
  if (folder_.empty()) return std::nullopt;
  const fs::path file = file_of(key);
  std::error_code failure;
  if (!fs::exists(file, failure)) return std::nullopt;
  const auto wrong = [&file](const char* what) {
    return fail(ErrorKind::invalid_input,
                file.string() + ": " + what + "; it is not used, and replaced by the next one");
  };
  const std::uintmax_t size = fs::file_size(file, failure);
  if (failure || size > kFileBytesMax) return wrong("not a file of a profile's size");
  std::ifstream stream(file);
  try {
    const json content = json::parse(stream);
    if (content.at("format") != "takt profile") return wrong("not a profile");
    if (content.at("format_version") != kFormatVersion) {
      return wrong("a profile of another version of takt");
    }
    if (content.at("key") != key_json(key)) return wrong("the profile of something else");
    return parse(content);
  } catch (const json::exception&) {
    return wrong("a damaged profile");
  } catch (const Nonsense&) {
    return wrong("a profile with values that make no sense");
  }
}

Result<void> ProfileStore::write(const ProfileKey& key, const StoredProfile& profile) const {
  if (folder_.empty()) return {};
  json content{{"format", "takt profile"},
               {"format_version", kFormatVersion},
               {"key", key_json(key)},
               {"batch_max", profile.batch_max},
               {"learned", points_json(profile.learned)}};
  if (profile.measured) {
    content["measured"] = {{"points", points_json(profile.measured->points)},
                           {"contention", profile.measured->contention},
                           {"batch_overhead_ns", profile.measured->batch_overhead.count()},
                           {"request_overhead_ns", profile.measured->request_overhead.count()}};
  }
  const fs::path file = file_of(key);
  std::error_code failure;
  fs::create_directories(folder_, failure);
  // A name of its own for each process: two may write the same profile.
  const fs::path unfinished = file.string() + "." + std::to_string(::getpid()) + ".new";
  std::ofstream stream(unfinished);
  stream << content.dump() << '\n';
  stream.close();
  if (!stream) {
    const auto error = cant_write(unfinished);
    fs::remove(unfinished, failure);
    return error;
  }
  fs::rename(unfinished, file, failure);
  if (!failure) return {};
  errno = failure.value();
  return cant_write(file);
}

std::vector<ProfilePoint> accumulate(const std::vector<ProfilePoint>& before,
                                     std::vector<ProfilePoint> exported) {
  for (const ProfilePoint& old : before) {
    const auto now = std::ranges::find(exported, old.batch, &ProfilePoint::batch);
    if (now == exported.end()) {
      exported.push_back(old);
    } else if (old.executions >= scheduler::SlidingQuantiles::kCapacity) {
      // The run began with it. Its window is the old one until it is full of new executions.
      now->executions += old.executions;
      if (now->window.empty()) now->window = old.window;
    }
  }
  std::ranges::sort(exported, {}, &ProfilePoint::batch);
  return exported;
}

}  // namespace takt::app
