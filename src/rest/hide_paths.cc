// SPDX-License-Identifier: Apache-2.0
#include "rest/hide_paths.h"

#include "server/client_text.h"

#include <string>
#include <utility>

namespace takt::rest {
namespace {

void hide(std::string& text) {
  if (text.find('/') != std::string::npos) text = server::without_paths(std::move(text), {});
}

}  // namespace

server::ApiError client_error(Error error) {
  hide(error.message);
  return server::to_api_error(std::move(error));
}

void hide_paths(line::VerdictRecord& record) {
  for (std::string& reason : record.reasons) hide(reason);
  for (line::TaskReport& task : record.tasks) {
    if (task.error) hide(task.error->message);
    if (!task.stand_in) continue;
    hide(task.stand_in->cause.message);
    if (task.stand_in->error) hide(task.stand_in->error->message);
  }
}

}  // namespace takt::rest
