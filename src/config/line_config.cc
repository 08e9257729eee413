// SPDX-License-Identifier: Apache-2.0
#include "config/line_config.h"

#include "config/decision_config.h"
#include "core/suggest.h"

#include <algorithm>
#include <cstdlib>

namespace takt::config {
namespace {

constexpr int kRingMax = 4096;
constexpr int kInFlightMax = 4096;
constexpr int kQueueMax = 1'000'000;

template <typename T>
void read_count(Reader& reader, std::string_view key, T& target, std::int64_t min,
                std::int64_t max) {
  auto value = static_cast<std::int64_t>(target);
  reader.integer(key, value, min, max);
  target = static_cast<T>(value);
}

void read_roles(Reader& reader, std::vector<line::RolePattern>& roles) {
  reader.mapping("images", [&](Reader& images) {
    for (const std::string& role : images.keys()) {
      std::string pattern;
      images.text(role, pattern);
      if (pattern.find("{id}") == std::string::npos) {
        images.problem(role, "'" + pattern + "' holds no {id}; expected such as \"{id}_test.png\"");
      }
      roles.push_back({role, pattern});
    }
  });
}

void read_limits(Reader& reader, ImageLimits& limits) {
  read_count(reader, "width_max", limits.width_max, 1, 1 << 20);
  read_count(reader, "height_max", limits.height_max, 1, 1 << 20);
  read_count(reader, "pixels_max", limits.pixels_max, 1, 1 << 30);
  reader.bytes("file_bytes_max", limits.file_bytes_max);
}

line::FolderOptions read_folder(Reader& reader, const std::filesystem::path& base) {
  line::FolderOptions options;
  std::string directory;
  reader.require("directory", "the folder that holds the images");
  reader.text("directory", directory);
  options.directory = resolve(directory, base);
  read_roles(reader, options.roles);
  reader.word<PixelFormat>("format", options.format, &parse_pixel_format);
  reader.rate("rate", options.frames_per_second);
  read_count(reader, "repeat", options.repeat, 0, 1'000'000);
  reader.integer("decode_threads", options.decode_threads, 1, 64);
  reader.integer("prefetch", options.prefetch, 1, 256);
  read_limits(reader, options.limits);
  return options;
}

line::BoardSimulatorOptions read_simulator(Reader& reader) {
  line::BoardSimulatorOptions options;
  reader.rate("rate", options.frames_per_second);
  read_count(reader, "seed", options.boards.seed, 0, INT64_MAX);
  read_count(reader, "boards", options.frames, 0, INT64_MAX);
  read_count(reader, "layouts", options.boards.layouts, 1, 256);
  read_count(reader, "defect_free_percent", options.boards.defect_free_percent, 0, 100);
  read_count(reader, "defects_min", options.boards.defects_min, 1, 32);
  read_count(reader, "defects_max", options.boards.defects_max, 1, 32);
  reader.number("registration_px_max", options.boards.registration_px_max, 0, 2);
  reader.number("edge_noise_px", options.boards.edge_noise_px, 0, 2);
  return options;
}

line::RequestOptions read_requests(Reader& reader) {
  line::RequestOptions options;
  reader.texts("images", options.roles);
  if (options.roles.empty()) {
    reader.problem("images", "names no picture; expected such as [board] or [board, golden]");
  }
  reader.word<PixelFormat>("format", options.format, &parse_pixel_format);
  reader.rate("rate", options.frames_per_second);
  reader.integer("decode_threads", options.decode_threads, 1, 64);
  reader.integer("waiting_max", options.waiting_max, 1, 4096);
  read_limits(reader, options.limits);
  return options;
}

SourceConfig read_source(Reader& reader, const std::filesystem::path& base) {
  static const std::vector<std::string> kTypes{"folder", "board-simulator", "requests"};
  std::string type;
  reader.require("type", "folder, board-simulator or requests");
  reader.text("type", type);
  if (type == "board-simulator") return read_simulator(reader);
  if (type == "folder") return read_folder(reader, base);
  if (type == "requests") return read_requests(reader);
  if (!type.empty()) reader.problem("type", "no source '" + type + "'" + suggestion(type, kTypes));
  return line::FolderOptions{};
}

void read_deadline(Reader& reader, line::LineConfig& line) {
  if (!reader.has("deadline")) return;
  Duration deadline{};
  reader.duration("deadline", deadline);
  if (deadline <= Duration::zero()) return;
  line.deadline = deadline;
}

void read_relabel(Reader& reader, line::RelabelOptions& relabel) {
  relabel.enabled = true;
  reader.boolean("enabled", relabel.enabled);
  reader.number("score_min", relabel.score_min, 0, 1);
  reader.text("false_alarm_class", relabel.false_alarm_class);
}

}  // namespace

std::vector<std::string> image_roles(const SourceConfig& source) {
  if (const auto* simulator = std::get_if<line::BoardSimulatorOptions>(&source)) {
    return {simulator->board_role, simulator->golden_role};
  }
  if (const auto* requests = std::get_if<line::RequestOptions>(&source)) return requests->roles;
  std::vector<std::string> roles;
  for (const line::RolePattern& role : std::get<line::FolderOptions>(source).roles) {
    roles.push_back(role.role);
  }
  if (roles.empty()) roles.emplace_back("board");
  return roles;
}

double frames_per_second(const SourceConfig& source) {
  return std::visit([](const auto& kind) { return kind.frames_per_second; }, source);
}

std::filesystem::path resolve(const std::string& path, const std::filesystem::path& base) {
  if (path.starts_with("~/")) {
    const char* home = std::getenv("HOME");
    return std::filesystem::path(home == nullptr ? "/" : home) / path.substr(2);
  }
  return (base / path).lexically_normal();
}

LineEntry read_line(const std::string& name, const std::filesystem::path& base, Reader& reader) {
  LineEntry entry;
  line::LineConfig& line = entry.line;
  line.name = name;
  reader.require("source", "where the frames come from, such as {type: folder, directory: boards}");
  reader.mapping("source", [&](Reader& child) { entry.source = read_source(child, base); });
  reader.text("recipe", line.recipe);
  std::visit([&](auto& source) { source.recipe = line.recipe; }, entry.source);
  reader.require("tasks", "names of the tasks section, such as [defects]");
  reader.texts("tasks", line.tasks);
  reader.require("deadline", "the time from capture to verdict, such as 500ms");
  read_deadline(reader, line);
  reader.duration("patience", line.patience);
  reader.mapping("ring", [&](Reader& child) {
    read_count(child, "capacity", line.ring.capacity, 1, kRingMax);
    child.word<RingPolicy>("policy", line.ring.policy, &parse_ring_policy);
  });
  read_count(reader, "frames_in_flight_max", line.frames_in_flight_max, 1, kInFlightMax);
  if (reader.has("in_order")) reader.boolean("in_order", line.in_order.emplace());
  reader.require("decision", "rules that turn what the tasks find into a verdict");
  reader.mapping("decision", [&](Reader& child) { line.decision = read_decision(child); });
  reader.mapping("relabel", [&](Reader& child) { read_relabel(child, line.relabel); });
  read_count(reader, "sink_queue_max", line.sink_queue_max, 1, kQueueMax);
  read_count(reader, "sink_pictures_max", line.sink_pictures_max, 0, kInFlightMax);
  reader.duration("drain_max", line.drain_max);
  return entry;
}

}  // namespace takt::config
