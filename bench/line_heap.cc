// SPDX-License-Identifier: Apache-2.0
// Memory in use at rest, after so many frames.
#include "line/jsonl_sink.h"
#include "line/store.h"
#include "line_boards.h"
#include "line_measure.h"

#include <malloc.h>
#include <nlohmann/json.hpp>

#include <chrono>
#include <fstream>
#include <limits>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

namespace takt::bench {
namespace {

using nlohmann::json;

constexpr auto kRestWaitMax = std::chrono::seconds(60);

// A field of /proc/self/smaps_rollup in bytes; exact, where /proc/self/status may lag.
std::uint64_t smaps_bytes(const std::string& field) {
  std::ifstream file("/proc/self/smaps_rollup");
  std::string name;
  while (file >> name) {
    std::uint64_t kib = 0;
    if (name == field && file >> kib) return kib << 10U;
    file.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
  }
  return 0;
}

json memory_now(std::uint64_t frames) {
  const struct mallinfo2 heap = ::mallinfo2();  // sums over every arena
  return {{"frames", frames},
          {"heap_in_use_bytes", heap.uordblks + heap.hblkhd},
          {"heap_taken_bytes", heap.arena + heap.hblkhd},
          {"rss_bytes", smaps_bytes("Rss:")},
          {"anonymous_bytes", smaps_bytes("Anonymous:")}};
}

bool at_rest(const line::LineStats& stats, std::uint64_t frames, const line::StoreCounts& store) {
  if (stats.verdicts < frames || stats.sink_queue > 0 || store.stored < frames) return false;
  for (const line::SinkStats& sink : stats.sinks) {
    if (sink.written < frames) return false;
  }
  return true;
}

Result<void> wait_for_rest(const line::Line& line, std::uint64_t frames, const line::Store& store) {
  const auto until =
      std::chrono::steady_clock::now() + kRestWaitMax + std::chrono::milliseconds(frames);
  while (!at_rest(line.stats(), frames, store.counts())) {
    if (std::chrono::steady_clock::now() > until) {
      return fail(ErrorKind::internal,
                  "the line did not come to rest: " + std::to_string(line.stats().verdicts) +
                      " verdicts, " + std::to_string(store.counts().stored) + " stored of " +
                      std::to_string(frames));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  // What the last record held is let go after it was counted.
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  return {};
}

}  // namespace

Result<json> measure_heap(Setup& setup, const HeapOptions& options) {
  auto store = line::Store::open({.path = setup.folder() / "takt.sqlite"},
                                 [](std::string_view, FrameSeq) {});
  if (!store) return std::unexpected(store.error());
  auto jsonl =
      line::JsonlSink::open(setup.folder() / "verdicts.jsonl", line::JsonlSink::Mode::replace);
  if (!jsonl) return std::unexpected(jsonl.error());
  Result<std::vector<Board>> boards = make_boards(32, options.side);
  if (!boards) return std::unexpected(boards.error());
  auto source = std::make_unique<MemorySource>(std::move(*boards));
  MemorySource& gate = *source;
  gate.allow(0);
  auto line = setup.make_line(std::move(source), {store->get(), jsonl->get()}, {});
  if (!line) return std::unexpected(line.error());
  (*line)->start();
  json marks = json::array();
  for (const std::uint64_t mark : options.marks) {
    gate.allow(mark);
    if (Result<void> rested = wait_for_rest(**line, mark, **store); !rested) {
      return std::unexpected(rested.error());
    }
    marks.push_back(memory_now(mark));
  }
  (*line)->stop();
  (*line)->join();
  const auto grown = [&](const char* field) {
    return marks.back()[field].get<std::int64_t>() - marks.front()[field].get<std::int64_t>();
  };
  const json growth{{"heap_in_use_bytes", grown("heap_in_use_bytes")},
                    {"rss_bytes", grown("rss_bytes")},
                    {"anonymous_bytes", grown("anonymous_bytes")}};
  const EngineStats engine = setup.engine().stats();
  return json{{"marks", marks},
              {"growth", growth},
              {"requests", engine.submitted},
              {"completed", engine.completed}};
}

}  // namespace takt::bench
