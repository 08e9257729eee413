// SPDX-License-Identifier: Apache-2.0
#include "server/metrics/metrics_page.h"

namespace takt::server {

bool MetricsPage::is_slow(const http::HttpRequest& /*request*/) const {
  return false;
}

http::HttpReply MetricsPage::answer(const http::HttpRequest& request) {
  if (request.path.size() != 1 || request.path[0] != "metrics") {
    return http::error_reply({ApiCode::not_found, "no such path; expected /metrics"});
  }
  if (request.method != "GET" && request.method != "HEAD") {
    http::HttpReply reply =
        http::error_reply({ApiCode::invalid_argument, "this path takes GET only"});
    reply.status = 405;
    return reply;
  }
  http::HttpReply reply;
  reply.body = metrics_text(snapshot_(), triton_names_);
  reply.content_type = "text/plain; version=0.0.4; charset=utf-8";
  return reply;
}

}  // namespace takt::server
