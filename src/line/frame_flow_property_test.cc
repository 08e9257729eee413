// SPDX-License-Identifier: Apache-2.0
#include "line/frame_flow.h"
#include "line/frame_flow_fixture.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <chrono>
#include <set>
#include <string>

namespace takt::line {
namespace {

Result<Answer> any_answer(const std::string& model) {
  switch (*rc::gen::weightedElement<int>({{6, 0}, {1, 1}, {1, 2}, {1, 3}})) {
    case 1:
      return fail(ErrorKind::internal, "injected");
    case 2:
      return fail(ErrorKind::deadline_exceeded, "injected");
    case 3:
      return Answer{};  // no outputs at all: corrupt
    default:
      break;
  }
  if (model == "matcher") return distance_at(1, 1, static_cast<float>(*rc::gen::inRange(0, 3)));
  if (model.starts_with("classifier")) {
    return classified(static_cast<std::size_t>(*rc::gen::inRange(0, 3)), 0.8F);
  }
  std::vector<Detection> detections;
  const int count = *rc::gen::inRange(0, 6);
  detections.reserve(static_cast<std::size_t>(count));
  for (int i = 0; i < count; ++i) {
    detections.push_back(detection(i % 2, static_cast<float>(*rc::gen::inRange(2, 100)) / 100));
  }
  return found(detections);
}

LineConfig any_line() {
  LineConfig config = board_line();
  config.frames_in_flight_max = 4;
  if (*rc::gen::arbitrary<bool>()) config.deadline.reset();
  if (*rc::gen::arbitrary<bool>()) config.in_order = *rc::gen::arbitrary<bool>();
  return config;
}

void one_step(Bench& bench, int& frames) {
  const std::string name = std::to_string(frames);
  switch (*rc::gen::weightedElement<int>({{4, 0}, {1, 1}, {1, 2}, {10, 3}, {2, 4}, {1, 5}})) {
    case 0:
      if (!bench.flow->has_room()) return;
      bench.accept(name);
      ++frames;
      return;
    case 1:
      bench.flow->drop(bench.frame(name));
      ++frames;
      return;
    case 2: {
      Frame frame = bench.frame(name);
      frame.damage = Error{ErrorKind::invalid_input, "unreadable"};
      bench.flow->accept(std::move(frame));
      ++frames;
      return;
    }
    case 3: {
      if (bench.client.waiting() == 0) return;
      const std::size_t at = *rc::gen::inRange<std::size_t>(0, bench.client.waiting());
      const std::string model = bench.client.model_at(at);
      bench.client.answer_at(at, any_answer(model));
      if (*rc::gen::arbitrary<bool>()) bench.pump();
      return;
    }
    case 4:
      bench.pass_time(std::chrono::milliseconds(*rc::gen::inRange(0, 60)));
      return;
    default:
      bench.journal.set_full(*rc::gen::arbitrary<bool>());
      return;
  }
}

RC_GTEST_PROP(FrameFlowProperty, EveryFrameGetsExactlyOneVerdictAndEverySlotComesBack, ()) {
  Bench bench(any_line(),
              *rc::gen::arbitrary<bool>() ? board_tasks_with_fallbacks() : board_tasks());
  int frames = 0;
  const int steps = *rc::gen::inRange(1, 120);
  for (int i = 0; i < steps; ++i) {
    one_step(bench, frames);
    RC_ASSERT(bench.verdicts() + bench.flow->in_flight() == static_cast<std::size_t>(frames));
  }
  bench.flow->answer_all();
  bench.client.answer_all(Error{ErrorKind::cancelled, "stopped"});
  bench.pump();
  bench.sinks->close();

  std::set<std::string> judged;
  for (const std::string& name : bench.observer.names()) RC_ASSERT(judged.insert(name).second);
  RC_ASSERT(judged.size() == static_cast<std::size_t>(frames));
  RC_ASSERT(bench.sink.size() == judged.size());
  for (const auto& [seq, count] : bench.journal.verdicts()) RC_ASSERT(count == 1);
  for (const VerdictRecord& record : bench.observer.records()) {
    RC_ASSERT(record.verdict == Verdict::pass || !record.reasons.empty());
    RC_ASSERT(!(record.by_fallback && record.verdict == Verdict::pass));
    for (const TaskReport& task : record.tasks) {
      // Asked at most once, after a failure that isn't the input's; where it failed, so has the task.
      if (!task.stand_in) continue;
      RC_ASSERT(task.stand_in->cause.kind != ErrorKind::invalid_input);
      RC_ASSERT(!task.stand_in->error || task.error.has_value());
      RC_ASSERT(!task.error || record.by_fallback);
    }
  }
  const LineStats stats = bench.stats();
  RC_ASSERT(stats.accepted == stats.verdicts);
  RC_ASSERT(stats.verdicts == stats.pass + stats.review + stats.reject);
  for (const TaskStats& task : stats.tasks) {
    RC_ASSERT(task.fallback_answered <= std::min(task.fallback_asked, task.answered));
  }
  RC_ASSERT(bench.pool->in_use() == 0U);
  RC_ASSERT(bench.client.results().in_use() == 0U);
}

}  // namespace
}  // namespace takt::line
