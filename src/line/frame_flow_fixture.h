// SPDX-License-Identifier: Apache-2.0
// A FrameFlow with everything around it, driven by the test's own thread and clock.
// Thread-safe: no.
// Owns: all of it.
#pragma once

#include "line/event_queue.h"
#include "line/frame_flow.h"
#include "line/line_fixture.h"
#include "line/verdict_path.h"

#include <memory>
#include <string>
#include <vector>

namespace takt::line {

class Bench {
 public:
  explicit Bench(LineConfig line = board_line(), std::vector<TaskSpec> specs = board_tasks())
      : config(std::move(line)), tasks(std::move(specs)) {
    Result<LinePlan> made = make_plan(config, tasks, client);
    if (!made) throw std::runtime_error(made.error().message);
    plan = std::move(*made);
    probe = std::make_unique<LineProbe>(plan.names());
    sinks = std::make_unique<SinkQueue>(SinkQueueOptions{.when_full = WhenFull::wait},
                                        std::vector<Sink*>{&sink});
    path = std::make_unique<VerdictPath>(config, journal, std::vector<VerdictObserver*>{&observer},
                                         *sinks, *probe);
    flow = std::make_unique<FrameFlow>(config, plan, client, clock, *path, *probe, events);
  }

  Frame frame(const std::string& name) { return board_frame(pool, name, clock.now()); }
  void accept(const std::string& name = "a") { flow->accept(frame(name)); }
  // Hands on what the engine has answered so far.
  void pump() {
    for (Completion& completion : events->wait(clock, TimePoint{}).completions) {
      flow->complete(std::move(completion));
    }
  }
  void answer(const std::string& model, Result<Answer> with) {
    ASSERT_TRUE(client.answer(model, std::move(with))) << "no request of " << model << " waits";
    pump();
  }
  void pass_time(Duration by) {
    clock.advance(by);
    flow->expire();
  }
  [[nodiscard]] std::size_t verdicts() const { return observer.size(); }
  [[nodiscard]] VerdictRecord verdict() const { return observer.last(); }
  [[nodiscard]] LineStats stats() const { return probe->stats(); }

  std::shared_ptr<SlotPool> pool = make_pool("frames", 64);
  ManualClock clock{TimePoint(std::chrono::seconds(1000))};
  LineConfig config;
  std::vector<TaskSpec> tasks;
  std::shared_ptr<EventQueue> events = std::make_shared<EventQueue>(8);
  ScriptedClient client;
  LinePlan plan;
  MemoryJournal journal;
  Collector observer;
  Collector sink;
  std::unique_ptr<LineProbe> probe;
  std::unique_ptr<SinkQueue> sinks;
  std::unique_ptr<VerdictPath> path;
  std::unique_ptr<FrameFlow> flow;
};

}  // namespace takt::line
