// SPDX-License-Identifier: Apache-2.0
#include "server/http/v2_endpoints.h"

#include "server/http/base64.h"
#include "server/http/json_reply.h"
#include "server/http/model_json.h"
#include "server/http/open_inference.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <cmath>
#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace takt::server::http {
namespace {

using Json = nlohmann::ordered_json;

// Read, JSON takes many times its bytes; only loads, which bring files, have much of it.
constexpr std::size_t kBodyBytesMax = std::size_t{64} << 10;

HttpReply not_found() {
  return error_reply({ApiCode::not_found, "no such path of the Open Inference Protocol (v2)"});
}

HttpReply empty_or(const ApiResult<void>& result) {
  if (!result) return error_reply(result.error());
  return {};
}

// The body as an object; empty where there is none.
ApiResult<Json> body_of(const HttpRequest& request, bool may_be_large = false) {
  if (request.body.empty()) return Json::object();
  if (request.body.size() > kBodyBytesMax && !may_be_large) {
    return refuse(ApiCode::payload_too_large,
                  fmt::format("a body of {} bytes; this path takes up to {} bytes",
                              request.body.size(), kBodyBytesMax));
  }
  Json json = Json::parse(request.body, nullptr, false);
  if (json.is_object()) return json;
  return refuse(ApiCode::invalid_argument,
                "failed to parse the request JSON buffer: expected an object");
}

// To JSON, 2.0 is the whole number 2. Beyond 2^53 a double doesn't say which one it is.
Json as_whole(const Json& value) {
  constexpr double kExactMax = 9007199254740992.0;
  if (!value.is_number_float()) return value;
  const auto number = value.get<double>();
  if (std::abs(number) > kExactMax || std::trunc(number) != number) return value;
  const auto whole = static_cast<std::int64_t>(number);
  return whole < 0 ? Json(whole) : Json(static_cast<std::uint64_t>(whole));
}

ApiResult<std::size_t> count_of(const Json& json, const char* key) {
  const auto found = json.find(key);
  if (found == json.end()) return std::size_t{0};
  const Json count = as_whole(*found);
  if (!count.is_number_unsigned()) {
    return refuse(ApiCode::invalid_argument,
                  fmt::format("'{}' must be a whole number of 0 or more", key));
  }
  return count.get<std::size_t>();
}

// Levels are a list, all other settings one value.
Json trace_json(const TraceValues& values) {
  Json json = Json::object();
  for (const auto& [name, texts] : values) {
    if (name == "trace_level") {
      json[name] = texts;
    } else {
      json[name] = texts.empty() ? "" : texts.front();
    }
  }
  return json;
}

// A null takes a setting back.
ApiResult<TraceValues> trace_changes(const Json& body) {
  TraceValues changes;
  for (const auto& [name, value] : body.items()) {
    std::vector<std::string>& texts = changes[name];
    if (value.is_null()) continue;
    const Json list = value.is_array() ? value : Json::array({value});
    for (const Json& item : list) {
      const Json one = as_whole(item);
      if (!one.is_string() && !one.is_number_integer()) {
        return refuse(ApiCode::invalid_argument,
                      fmt::format("trace setting '{}' must be a string, or a list of them", name));
      }
      texts.push_back(one.is_string() ? one.get<std::string>() : one.dump());
    }
  }
  return changes;
}

Json log_json(const LogValues& values) {
  Json json = Json::object();
  for (const auto& [name, value] : values) {
    std::visit([&json, &key = name](const auto& one) { json[key] = one; }, value);
  }
  return json;
}

ApiResult<LogValues> log_changes(const Json& body) {
  LogValues changes;
  for (const auto& [name, given] : body.items()) {
    const Json value = as_whole(given);
    if (value.is_boolean()) {
      changes[name] = value.get<bool>();
    } else if (value.is_string()) {
      changes[name] = value.get<std::string>();
    } else if (value.is_number_unsigned() && value.get<std::uint64_t>() <= UINT32_MAX) {
      changes[name] = value.get<std::uint32_t>();
    } else {
      return refuse(
          ApiCode::invalid_argument,
          fmt::format("log setting '{}' must be true, false, a number or a string", name));
    }
  }
  return changes;
}

ApiResult<Json> parameters_of(const Json& body) {
  const auto parameters = body.find("parameters");
  if (parameters == body.end()) return Json::object();
  if (parameters->is_object()) return *parameters;
  return refuse(ApiCode::invalid_argument, "'parameters' must be an object");
}

ApiResult<LoadOverrides> overrides_of(const Json& body) {
  LoadOverrides overrides;
  const ApiResult<Json> parameters = parameters_of(body);
  if (!parameters) return std::unexpected(parameters.error());
  for (const auto& [key, value] : parameters->items()) {
    if (!value.is_string()) {
      return refuse(ApiCode::invalid_argument, fmt::format("parameter '{}' must be a string", key));
    }
    if (key == "config") {
      overrides.config_json = value.get<std::string>();
    } else if (key.starts_with("file:")) {
      std::optional<std::string> content = decode_base64(value.get<std::string>());
      if (!content) {
        return refuse(ApiCode::invalid_argument, fmt::format("'{}' is not base64", key));
      }
      overrides.files[key] = std::move(*content);
    } else {
      return refuse(
          ApiCode::invalid_argument,
          fmt::format("unrecognized load parameter '{}'; expected config or file:...", key));
    }
  }
  return overrides;
}

}  // namespace

bool V2Endpoints::is_slow(const HttpRequest& request) const {
  return request.path.size() >= 2 && request.path[0] == "v2" && request.path[1] == "repository";
}

// What clients ask before they infer is for every key; what several methods share asks for more to
// change it.
Need V2Endpoints::need(const HttpRequest& request) const {
  const Path path = request.path;
  const Need settings = is_get(request) ? Need::read : Need::operate;
  if (path.size() < 2 || path[0] != "v2") return Need::any_key;
  if (path[1] == "health") return Need::nothing;
  if (path[1] == "repository") return path.size() == 3 ? Need::read : Need::operate;
  if (path[1] == "models") {
    const bool trace = path.size() == 5 && path[3] == "trace" && path[4] == "setting";
    return trace ? settings : Need::any_key;
  }
  return settings;  // trace, logging, shared memory
}

HttpReply V2Endpoints::answer(const HttpRequest& request) {
  const Path path = request.path;
  if (path.empty() || path[0] != "v2") return not_found();
  if (path.size() == 1) {
    if (!is_get(request)) return wrong_method("GET");
    return json_reply(
        {{"name", identity_.name}, {"version", identity_.version}, {"extensions", kExtensions}});
  }
  if (path[1] == "openapi.json" && path.size() == 2) return description(request);
  const Path rest = path.subspan(2);
  if (path[1] == "health") return health(rest, request);
  if (path[1] == "models") return models(rest, request);
  if (path[1] == "repository") return repository(rest, request);
  if (path[1] == "trace" && path.size() == 3 && path[2] == "setting") return trace({}, request);
  if (path[1] == "logging" && path.size() == 2) return logging(request);
  if (path[1] == "systemsharedmemory") return system_memory(rest, request);
  if (path[1] == "cudasharedmemory") return cuda_memory(rest, request);
  return not_found();
}

HttpReply V2Endpoints::description(const HttpRequest& request) {
  if (!is_get(request)) return wrong_method("GET");
  HttpReply reply;
  reply.body = open_inference_json();
  return reply;
}

HttpReply V2Endpoints::health(Path path, const HttpRequest& request) const {
  if (path.size() != 1 || (path[0] != "live" && path[0] != "ready")) return not_found();
  if (!is_get(request)) return wrong_method("GET");
  HttpReply reply;
  if (path[0] == "ready" && !catalog_.ready()) reply.status = 503;
  return reply;
}

HttpReply V2Endpoints::models(Path path, const HttpRequest& request) {
  if (path.empty()) return not_found();
  if (path.size() == 3 && path[1] == "trace" && path[2] == "setting") {
    const ApiResult<ModelCardPtr> traced = catalog_.find(path[0], {});
    if (!traced) return error_reply(traced.error());
    return trace(path[0], request);
  }
  const bool infers = path.back() == "infer";
  if (infers && request.method == "POST") return not_found();  // no model, or no version
  if (infers && path.size() > 1) return wrong_method("POST");
  if (!is_get(request)) return wrong_method("GET");
  if (path.size() == 1 && path[0] == "stats") return statistics({}, {});
  const std::string& name = path[0];
  std::string version;
  Path rest = path.subspan(1);
  if (!rest.empty() && rest[0] == "versions") {
    if (rest.size() < 2) return not_found();
    version = rest[1];
    rest = rest.subspan(2);
  }
  const ApiResult<ModelCardPtr> card = catalog_.find(name, version);
  if (!card) return error_reply(card.error());
  if (rest.size() == 1 && rest[0] == "stats") return statistics(name, version);
  return model(**card, rest);
}

HttpReply V2Endpoints::model(const ModelCard& card, Path path) const {
  if (path.empty()) return json_reply(metadata_json(card));
  if (path.size() != 1) return not_found();
  if (path[0] == "ready") return {};
  if (path[0] == "config") return json_reply(config_json(card));
  return not_found();
}

// Of all versions where none is stated, of all models where no name is.
HttpReply V2Endpoints::statistics(std::string_view name, std::string_view version) const {
  Json list = Json::array();
  for (const ModelCardPtr& card : catalog_.serving()) {
    if (!name.empty() && card->info.name != name) continue;
    if (!version.empty() && std::to_string(card->info.version) != version) continue;
    const auto found = catalog_.statistics(card->info.id);
    if (found) list.push_back(statistics_json(*card, *found));
  }
  return json_reply({{"model_stats", std::move(list)}});
}

HttpReply V2Endpoints::trace(std::string_view model, const HttpRequest& request) {
  if (is_get(request)) return json_reply(trace_json(trace_.values(model)));
  if (request.method != "POST") return wrong_method("GET, POST");
  const ApiResult<Json> body = body_of(request);
  if (!body) return error_reply(body.error());
  const ApiResult<TraceValues> changes = trace_changes(*body);
  if (!changes) return error_reply(changes.error());
  const ApiResult<TraceValues> values = trace_.update(model, *changes);
  if (!values) return error_reply(values.error());
  return json_reply(trace_json(*values));
}

HttpReply V2Endpoints::logging(const HttpRequest& request) {
  if (is_get(request)) return json_reply(log_json(log_.values()));
  if (request.method != "POST") return wrong_method("GET, POST");
  const ApiResult<Json> body = body_of(request);
  if (!body) return error_reply(body.error());
  const ApiResult<LogValues> changes = log_changes(*body);
  if (!changes) return error_reply(changes.error());
  const ApiResult<LogValues> values = log_.update(*changes);
  if (!values) return error_reply(values.error());
  return json_reply(log_json(*values));
}

HttpReply V2Endpoints::repository(Path path, const HttpRequest& request) {
  if (request.method != "POST") return wrong_method("POST");
  const bool load = path.size() == 3 && path[2] == "load";
  const ApiResult<Json> body = body_of(request, load);
  if (!body) return error_reply(body.error());
  if (path.size() == 1 && path[0] == "index") {
    const Json ready = body->value("ready", Json(false));
    if (!ready.is_boolean()) {
      return error_reply({ApiCode::invalid_argument, "'ready' must be true or false"});
    }
    Json list = Json::array();
    for (IndexEntry& entry : catalog_.index(ready.get<bool>())) {
      Json line{{"name", entry.name}};
      if (!entry.version.empty()) line["version"] = entry.version;
      if (!entry.state.empty()) line["state"] = entry.state;
      if (!entry.reason.empty()) line["reason"] = entry.reason;
      list.push_back(std::move(line));
    }
    return json_reply(list);
  }
  if (path.size() != 3 || path[0] != "models") return not_found();
  if (load) {
    const ApiResult<LoadOverrides> overrides = overrides_of(*body);
    if (!overrides) return error_reply(overrides.error());
    return empty_or(catalog_.load(path[1], *overrides));
  }
  if (path[2] != "unload") return not_found();
  const ApiResult<Json> parameters = parameters_of(*body);
  return parameters ? empty_or(catalog_.unload(path[1])) : error_reply(parameters.error());
}

HttpReply V2Endpoints::system_memory(Path path, const HttpRequest& request) {
  std::string name;
  if (path.size() >= 2 && path[0] == "region") {
    name = path[1];
    path = path.subspan(2);
  }
  if (path.size() != 1) return not_found();
  if (path[0] == "status") {
    if (!is_get(request)) return wrong_method("GET");
    const auto regions = regions_.list(name);
    if (!regions) return error_reply(regions.error());
    Json list = Json::array();
    for (const RegionInfo& region : *regions) {
      list.push_back({{"name", region.name},
                      {"key", region.key},
                      {"offset", region.offset},
                      {"byte_size", region.bytes}});
    }
    return json_reply(list);
  }
  if (request.method != "POST") return wrong_method("POST");
  if (path[0] == "unregister") {
    if (name.empty()) {
      regions_.remove_all();
    } else {
      regions_.remove(name);
    }
    return {};
  }
  if (path[0] != "register" || name.empty()) return not_found();
  const ApiResult<Json> body = body_of(request);
  if (!body) return error_reply(body.error());
  const auto key = body->find("key");
  if (key == body->end() || !key->is_string()) {
    return error_reply({ApiCode::invalid_argument, "'key' must be a string"});
  }
  const ApiResult<std::size_t> offset = count_of(*body, "offset");
  if (!offset) return error_reply(offset.error());
  const ApiResult<std::size_t> bytes = count_of(*body, "byte_size");
  if (!bytes) return error_reply(bytes.error());
  return empty_or(regions_.add({name, key->get<std::string>(), *offset, *bytes}));
}

HttpReply V2Endpoints::cuda_memory(Path path, const HttpRequest& request) {
  const bool named = path.size() >= 2 && path[0] == "region";
  const Path rest = named ? path.subspan(2) : path;
  if (rest.size() != 1) return not_found();
  if (rest[0] == "status") {
    if (!is_get(request)) return wrong_method("GET");
    if (!named) return json_reply(Json::array());
    return error_reply({ApiCode::not_found,
                        fmt::format("Unable to find cuda shared memory region: '{}'", path[1])});
  }
  if (request.method != "POST") return wrong_method("POST");
  if (rest[0] == "unregister") return {};
  if (rest[0] != "register" || !named) return not_found();
  return error_reply({ApiCode::invalid_argument,
                      fmt::format("failed to register CUDA shared memory region '{}': this server "
                                  "has no GPU; use system shared memory",
                                  path[1])});
}

}  // namespace takt::server::http
