// SPDX-License-Identifier: Apache-2.0
// Errors and records without paths of this machine, for clients.
// Thread-safe: pure functions.
// Owns: nothing.
#pragma once

#include "core/result.h"
#include "line/frame.h"
#include "server/api_error.h"

namespace takt::rest {

[[nodiscard]] server::ApiError client_error(Error error);
void hide_paths(line::VerdictRecord& record);

}  // namespace takt::rest
