// SPDX-License-Identifier: Apache-2.0
// takt's own REST surface, /v1 and /openapi.json: lines, tasks, verdicts, reviews and what a server does.
// Thread-safe: every member from any thread.
// Owns: nothing; what its parts refer to outlives it.
#pragma once

#include "line/line_stats.h"
#include "line/request_source.h"
#include "rest/review_endpoints.h"
#include "rest/task_runner.h"
#include "rest/verdict_feed.h"
#include "server/http/endpoints.h"
#include "server/server_identity.h"

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace takt::rest {

// A line as it is now.
struct LineView {
  std::string name;
  std::string source;  // its kind: folder, board-simulator, requests
  std::vector<std::string> images;
  std::vector<std::string> tasks;
  std::optional<Duration> deadline{};
  line::LineStats stats;
};

struct WorkerView {
  std::string task;
  std::string device;
  std::string state;  // starting, serving, ...
  std::uint64_t restarts = 0;
};

struct ServerView {
  bool ready = false;
  double uptime_seconds = 0;
  std::size_t requests_in_flight = 0;
  std::vector<LineView> lines;
  std::vector<WorkerView> workers;
};

struct RestParts {
  server::ServerIdentity identity;
  const Clock& clock;
  TaskRunner& tasks;
  VerdictFeed& feed;
  std::map<std::string, std::shared_ptr<line::FrameInlet>> inlets;  // by line
  line::ReviewDesk* reviews = nullptr;                              // null: no store
  std::function<ServerView()> view;
};

class RestEndpoints final : public server::http::Endpoints {
 public:
  explicit RestEndpoints(RestParts parts) : parts_(std::move(parts)), reviews_(parts_.reviews) {}

  [[nodiscard]] bool is_slow(const server::http::HttpRequest& request) const override;
  [[nodiscard]] server::Need need(const server::http::HttpRequest& request) const override;
  [[nodiscard]] server::http::HttpReply answer(const server::http::HttpRequest& request) override;
  [[nodiscard]] bool is_long(const server::http::HttpRequest& request) const override;
  void begin(server::http::HttpRequest request, Done done) override;

 private:
  using Path = std::span<const std::string>;
  [[nodiscard]] server::http::HttpReply lines(Path path) const;
  [[nodiscard]] server::http::HttpReply tasks(Path path) const;
  [[nodiscard]] server::http::HttpReply frames(const server::http::HttpRequest& request) const;
  [[nodiscard]] server::http::HttpReply events(const server::http::HttpRequest& request);
  void inspect(server::http::HttpRequest request, Done done);
  void run_task(server::http::HttpRequest request, Done done);

  const RestParts parts_;
  ReviewEndpoints reviews_;
};

}  // namespace takt::rest
