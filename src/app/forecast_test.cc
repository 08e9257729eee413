// SPDX-License-Identifier: Apache-2.0
#include "app/forecast.h"

#include "app/plan_report.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <string>

namespace takt::app {
namespace {

using namespace std::chrono_literals;

StoredProfile takes(Duration time) {
  StoredProfile stored;
  stored.measured.emplace().points = {
      {.batch = 1, .p50 = time, .p99 = time, .longest = time, .window = {time}}};
  return stored;
}

// One task of 10 ms on one lane: sums can be done by hand.
PlanRequest one_task(double frames_per_second) {
  PlanRequest request;
  request.config.devices = {{.name = "cpu", .lanes = 1, .threads_per_lane = 1}};
  TaskSpec task;
  task.name = "defects";
  task.model = "detector";
  request.config.tasks = {task};
  line::BoardSimulatorOptions source;
  source.frames_per_second = frames_per_second;
  config::LineEntry entry{.source = source, .line = {}};
  entry.line.name = "pcb";
  entry.line.tasks = {"defects"};
  request.config.lines = {entry};
  request.profiles["defects"]["cpu"] = takes(10ms);
  return request;
}

Forecast run(const PlanRequest& request, int devices = 1) {
  Result<Forecast> forecast = app::forecast(request, devices);
  EXPECT_TRUE(forecast) << forecast.error().message;
  return forecast ? std::move(*forecast) : Forecast{};
}

TEST(Forecast, PeriodicFramesBelowCapacityTakeTheirExecution) {
  PlanRequest request = one_task(50);
  request.requests = 1000;
  const Forecast forecast = run(request);
  ASSERT_EQ(forecast.tasks.size(), 1U);
  EXPECT_EQ(forecast.tasks[0].count, 1000U);
  EXPECT_EQ(forecast.tasks[0].p50, 10ms);
  EXPECT_EQ(forecast.tasks[0].p999, 10ms);
  EXPECT_EQ(forecast.lines[0].count, 1000U);
  EXPECT_EQ(forecast.lines[0].p99, 10ms);
  EXPECT_NEAR(forecast.utilisation[0], 0.5, 1e-9);
  EXPECT_TRUE(forecast.holds);
}

TEST(Forecast, TheEnginesOwnTimeIsPartOfIt) {
  PlanRequest request = one_task(50);
  request.profiles["defects"]["cpu"].measured->batch_overhead = 1ms;
  request.profiles["defects"]["cpu"].measured->request_overhead = 2ms;
  const Forecast forecast = run(request);
  EXPECT_EQ(forecast.tasks[0].p50, 13ms);
  EXPECT_NEAR(forecast.utilisation[0], 0.55, 1e-9) << "a lane is held by the batch's part alone";
}

// M/D/1 at 70 % load: a request waits no longer than t <= 10 ms with probability 0.3 e^(0.07 t / ms)
// (Erlang 1909), so the median wait is ln(0.5 / 0.3) / 0.07 ms = 7.297 ms.
TEST(Forecast, PoissonFramesWaitAsQueueingTheorySays) {
  PlanRequest request = one_task(70);
  request.arrivals = PlanArrivals::poisson;
  request.requests = 200'000;
  const Forecast forecast = run(request);
  EXPECT_NEAR(static_cast<double>(to_us(forecast.tasks[0].p50)), 10'000 + 7'297, 300);
  EXPECT_NEAR(forecast.utilisation[0], 0.7, 0.01);
}

TEST(Forecast, AnOverloadedDeviceNeedsASecondOne) {
  const PlanRequest request = one_task(150);
  const Forecast one = run(request, 1);
  EXPECT_FALSE(one.holds) << "without a deadline its queue grows for ever";
  EXPECT_GT(one.utilisation[0], 1.0);
  const Forecast two = run(request, 2);
  EXPECT_TRUE(two.holds);
  ASSERT_EQ(two.utilisation.size(), 2U);
  EXPECT_NEAR(two.utilisation[0] + two.utilisation[1], 1.5, 0.01);
}

TEST(Forecast, MissesAreCountedAgainstTheDeadline) {
  PlanRequest request = one_task(150);
  request.config.lines[0].line.deadline = 20ms;
  const Forecast one = run(request, 1);
  EXPECT_FALSE(one.holds);
  EXPECT_NEAR(one.tasks[0].miss_share(), 1.0 / 3, 0.01);
  EXPECT_EQ(one.lines[0].missed, one.tasks[0].missed) << "the frame's fallback";
  EXPECT_TRUE(run(request, 2).holds);
  request.config.lines[0].line.deadline = 9ms;
  EXPECT_FALSE(run(request, 8).holds) << "no number of devices makes a batch quicker";
  request.miss_share_max = 1.0;
  request.config.lines[0].line.deadline = 20ms;
  EXPECT_TRUE(run(request, 2).holds);
}

TEST(Forecast, LoadIsAShareOfWhatTheDevicesCanDo) {
  PlanRequest request = one_task(0);
  request.load = 0.7;
  EXPECT_NEAR(run(request).utilisation[0], 0.7, 0.01);
  request.load.reset();
  const Result<Forecast> without = forecast(request, 1);
  ASSERT_FALSE(without);
  EXPECT_EQ(without.error().kind, ErrorKind::invalid_input);
  EXPECT_NE(without.error().message.find("lines.pcb.source: has no rate"), std::string::npos);
}

// Devices a and b of one lane each.
PlanRequest two_devices(double frames_per_second, Duration on_a, Duration on_b) {
  PlanRequest request = one_task(frames_per_second);
  request.config.devices = {{.name = "a", .lanes = 1}, {.name = "b", .lanes = 1}};
  request.profiles["defects"] = {{"a", takes(on_a)}, {"b", takes(on_b)}};
  return request;
}

TEST(Forecast, EachDeviceTakesItsOwnTime) {
  const PlanRequest request = two_devices(90, 10ms, 20ms);
  const Forecast both = run(request, 2);
  EXPECT_EQ(both.names, (std::vector<std::string>{"a", "b"}));
  EXPECT_NEAR(both.utilisation[0], 0.9, 0.01) << "the slower one isn't needed";
  EXPECT_NEAR(both.utilisation[1], 0, 0.01);
  const Forecast more = run(two_devices(140, 10ms, 20ms), 2);
  EXPECT_GT(more.utilisation[1], 0.5);
  // What b takes over from a takes twice as long there.
  EXPECT_NEAR(more.utilisation[0] + more.utilisation[1] / 2, 1.4, 0.02);
}

TEST(Forecast, FurtherDevicesAreLikeTheLast) {
  const Forecast three = run(two_devices(10, 10ms, 20ms), 3);
  EXPECT_EQ(three.names, (std::vector<std::string>{"a", "b", "b"}));
}

TEST(Forecast, ATaskRunsOnItsDevicesOnly) {
  PlanRequest request = two_devices(20, 10ms, 20ms);
  request.config.tasks[0].devices = {"b"};
  const Forecast both = run(request, 2);
  EXPECT_EQ(both.utilisation[0], 0);
  EXPECT_NEAR(both.utilisation[1], 0.4, 0.01);
  EXPECT_EQ(devices_min(request.config, {"defects"}), 2);
  const Result<Forecast> one = forecast(request, 1);
  ASSERT_FALSE(one);
  EXPECT_EQ(one.error().kind, ErrorKind::invalid_input);
  EXPECT_NE(one.error().message.find("tasks.defects.devices: names none of 1 device; plan with"),
            std::string::npos)
      << one.error().message;
}

TEST(Forecast, AMissingProfileOfADeviceIsNamed) {
  PlanRequest request = two_devices(20, 10ms, 20ms);
  request.profiles["defects"].erase("b");
  const Result<Forecast> both = forecast(request, 2);
  ASSERT_FALSE(both);
  EXPECT_NE(both.error().message.find("tasks.defects: no profile on device 'b'"),
            std::string::npos);
}

PlanRequest cascade() {
  PlanRequest request = one_task(20);
  TaskSpec kinds;
  kinds.name = "kinds";
  kinds.model = "classifier";
  kinds.crop = CropSpec{.from_task = "defects", .crops_max = 5};
  // Before its parent, as a file may have it.
  request.config.tasks.insert(request.config.tasks.begin(), kinds);
  request.config.lines[0].line.tasks = {"kinds", "defects"};
  request.profiles["kinds"]["cpu"] = takes(2ms);
  return request;
}

TEST(Forecast, CropsFollowTheirParentInEveryFrame) {
  PlanRequest request = cascade();
  Forecast all = run(request);
  EXPECT_EQ(all.lines[0].p50, 20ms) << "10 ms, then five crops of 2 ms, one after the other";
  request.crops = 2;
  EXPECT_EQ(run(request).lines[0].p50, 14ms);
  request.crops = 9;
  EXPECT_EQ(run(request).lines[0].p50, 20ms) << "crops_max bounds them";
}

TEST(Forecast, ACascadeInACircleIsRefused) {
  PlanRequest request = cascade();
  request.config.tasks[1].crop = CropSpec{.from_task = "kinds"};
  const Result<Forecast> made = forecast(request, 1);
  ASSERT_FALSE(made);
  EXPECT_NE(made.error().message.find("circle"), std::string::npos) << made.error().message;
}

TEST(Forecast, TasksOfOneModelShareItsInstances) {
  PlanRequest request = one_task(30);
  TaskSpec again = request.config.tasks[0];
  again.name = "again";
  request.config.tasks.push_back(again);
  request.config.lines[0].line.tasks.push_back("again");
  const Forecast forecast = run(request);
  EXPECT_NEAR(forecast.utilisation[0], 0.6, 0.01);
  EXPECT_EQ(forecast.lines[0].p50, 20ms);
}

TEST(Forecast, RecordedArrivalsAreTakenAsTheyCame) {
  PlanRequest request = one_task(0);
  request.arrivals = PlanArrivals::recorded;
  const auto arrivals =
      parse_arrivals(request.config, "0,defects\n0.005,defects\n1,defects\n", "f");
  ASSERT_TRUE(arrivals) << arrivals.error().message;
  request.recorded = *arrivals;
  const Forecast forecast = run(request);
  EXPECT_EQ(forecast.tasks[0].count, 3U);
  EXPECT_EQ(forecast.tasks[0].p50, 10ms);
  EXPECT_EQ(forecast.tasks[0].p99, 15ms) << "behind the first, which had 5 ms left";
  EXPECT_TRUE(forecast.lines.empty());
}

TEST(Forecast, ATaskWithoutAProfileIsNamed) {
  PlanRequest request = one_task(10);
  request.profiles.clear();
  const Result<Forecast> made = forecast(request, 1);
  ASSERT_FALSE(made);
  EXPECT_NE(made.error().message.find("tasks.defects: no profile"), std::string::npos);
}

TEST(Forecast, LearnedTimesStandInWhereNothingWasMeasured) {
  PlanRequest request = one_task(50);
  StoredProfile learned;
  learned.learned = {
      {.batch = 1, .p50 = 4ms, .p99 = 4ms, .longest = 4ms, .executions = 300, .window = {4ms}}};
  request.profiles["defects"]["cpu"] = learned;
  EXPECT_EQ(run(request).tasks[0].p50, 4ms);
}

TEST(PlanReport, SaysTheSameToPeopleAndScripts) {
  PlanReport report;
  report.forecast = run(one_task(50));
  report.miss_max_percent = 0.1;
  report.searched = true;
  report.devices_max = 16;
  report.devices_needed = 1;
  const std::string table = to_table(report);
  EXPECT_NE(table.find("1 device holds the deadlines"), std::string::npos) << table;
  EXPECT_NE(table.find("defects"), std::string::npos);
  const auto json = nlohmann::json::parse(to_json(report));
  EXPECT_EQ(json["devices_needed"], 1);
  EXPECT_EQ(json["tasks"]["defects"]["p50_us"], 10'000);
  EXPECT_TRUE(json["holds"].get<bool>());
  report.devices_needed.reset();
  EXPECT_TRUE(nlohmann::json::parse(to_json(report))["devices_needed"].is_null());
  EXPECT_NE(to_table(report).find("no number up to 16 holds"), std::string::npos);
}

// Arrivals ----------------------------------------------------------------------------------------

Result<std::vector<RecordedArrival>> parse(const std::string& text) {
  return parse_arrivals(cascade().config, text, "log.csv");
}

TEST(RecordedArrivals, AreSortedAndBeginAtZero) {
  const auto arrivals =
      parse("seconds,task,rows,line\n# a pause\n\n12.5, kinds, 3\n12, defects\r\n");
  ASSERT_TRUE(arrivals) << arrivals.error().message;
  ASSERT_EQ(arrivals->size(), 2U);
  EXPECT_EQ(arrivals->at(0).at, 0ns);
  EXPECT_EQ(arrivals->at(0).task, 1U);
  EXPECT_EQ(arrivals->at(0).rows, 1);
  EXPECT_EQ(arrivals->at(1).at, 500ms);
  EXPECT_EQ(arrivals->at(1).task, 0U);
  EXPECT_EQ(arrivals->at(1).rows, 3);
}

struct BadLine {
  const char* line;
  const char* said;
};

TEST(RecordedArrivals, BadLinesAreNamedByTheirNumber) {
  const BadLine lines[] = {
      {"1", "1 fields; expected seconds,task[,rows[,line]]"},
      {"1,defects,1,pcb,x", "5 fields"},
      {"soon,defects", "'soon' is no time"},
      {"-1,defects", "'-1' is no time"},
      {"nan,defects", "'nan' is no time"},
      {"1e300,defects", "is no time"},
      {"1,defcts", "no task 'defcts'; did you mean 'defects'?"},
      {"1,defects,0", "'0' is no number of rows"},
      {"1,defects,many", "'many' is no number of rows"},
      {"1,defects,1,pbc", "no line 'pbc'; did you mean 'pcb'?"},
  };
  for (const BadLine& bad : lines) {
    const auto arrivals = parse("0,defects\n" + std::string(bad.line) + "\n3,kinds\n");
    ASSERT_FALSE(arrivals) << bad.line;
    EXPECT_EQ(arrivals.error().kind, ErrorKind::invalid_input);
    EXPECT_TRUE(arrivals.error().message.starts_with("log.csv:2: ")) << arrivals.error().message;
    EXPECT_NE(arrivals.error().message.find(bad.said), std::string::npos)
        << arrivals.error().message;
  }
}

TEST(RecordedArrivals, ManyBadLinesAreCounted) {
  std::string text;
  for (int i = 0; i < 25; ++i) text += "x,y\n";
  const auto arrivals = parse(text);
  ASSERT_FALSE(arrivals);
  EXPECT_NE(arrivals.error().message.find("log.csv:10: "), std::string::npos);
  EXPECT_EQ(arrivals.error().message.find("log.csv:11: "), std::string::npos);
  EXPECT_NE(arrivals.error().message.find("and 15 more"), std::string::npos);
}

TEST(RecordedArrivals, AnEmptyFileIsRefused) {
  EXPECT_FALSE(parse("seconds,task\n"));
  EXPECT_FALSE(parse(""));
}

}  // namespace
}  // namespace takt::app
