// SPDX-License-Identifier: Apache-2.0
// What a gRPC server answers besides inferences, method by method: from the bytes of a request message
// to those of a response.
// Thread-safe: pure functions on what Services names, which is thread-safe.
// Owns: nothing.
#pragma once

#include "server/access.h"
#include "server/api_error.h"
#include "server/model_catalog.h"
#include "server/server_identity.h"
#include "server/settings.h"
#include "server/shared_regions.h"

#include <string>
#include <string_view>

namespace takt::server::rpc {

// What the methods tell of and change; all of it outlives the server.
struct Services {
  ServerIdentity identity;
  ModelCatalog& catalog;
  SharedRegions& regions;
  TraceSettings& trace;
  LogSettings& log;
};

struct Method {
  std::string_view path;      // as in the call: "/inference.GRPCInferenceService/ServerLive"
  Need need = Need::operate;  // of whoever calls it
  bool slow = false;          // loads models or reads files: not on a network thread
  ApiResult<std::string> (*answer)(const Services& services, std::string_view message) = nullptr;
};

// Every method but ModelInfer and ModelStreamInfer; null: there is none of that path.
[[nodiscard]] const Method* find_method(std::string_view path) noexcept;

// Of all methods that there are, by the name that Access is asked with.
[[nodiscard]] Need need_of(std::string_view method) noexcept;

}  // namespace takt::server::rpc
