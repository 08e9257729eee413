// SPDX-License-Identifier: Apache-2.0
#include "server/grpc/methods.h"

#include "core/utf8.h"
#include "server/grpc/health.pb.h"
#include "server/grpc/inference.pb.h"
#include "server/grpc/model_messages.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

namespace takt::server::rpc {
namespace {

using inference::ModelRepositoryParameter;

std::unexpected<ApiError> invalid(std::string why) {
  return refuse(ApiCode::invalid_argument, std::move(why));
}

template <typename Response>
ApiResult<Response> empty_or(ApiResult<void> done) {
  if (!done) return std::unexpected(std::move(done).error());
  return Response{};
}

ApiResult<inference::ServerLiveResponse> server_live(const Services& /*services*/,
                                                     const inference::ServerLiveRequest&) {
  inference::ServerLiveResponse response;
  response.set_live(true);
  return response;
}

ApiResult<inference::ServerReadyResponse> server_ready(const Services& services,
                                                       const inference::ServerReadyRequest&) {
  inference::ServerReadyResponse response;
  response.set_ready(services.catalog.ready());
  return response;
}

ApiResult<grpc::health::v1::HealthCheckResponse> check_health(
    const Services& services, const grpc::health::v1::HealthCheckRequest& request) {
  grpc::health::v1::HealthCheckResponse response;
  if (!request.service().empty() && request.service() != "inference.GRPCInferenceService") {
    return refuse(ApiCode::not_found, fmt::format("no service '{}'", request.service()));
  }
  response.set_status(services.catalog.ready()
                          ? grpc::health::v1::HealthCheckResponse::SERVING
                          : grpc::health::v1::HealthCheckResponse::NOT_SERVING);
  return response;
}

ApiResult<inference::ModelReadyResponse> model_ready(const Services& services,
                                                     const inference::ModelReadyRequest& request) {
  const ApiResult<ModelCardPtr> card = services.catalog.find(request.name(), request.version());
  const bool known_code =
      card || card.error().code == ApiCode::not_found || card.error().code == ApiCode::unavailable;
  if (!known_code) return std::unexpected(card.error());
  inference::ModelReadyResponse response;
  response.set_ready(card.has_value());
  return response;
}

ApiResult<inference::ServerMetadataResponse> server_metadata(
    const Services& services, const inference::ServerMetadataRequest&) {
  inference::ServerMetadataResponse response;
  response.set_name(services.identity.name);
  response.set_version(services.identity.version);
  for (const std::string_view extension : kExtensions) {
    response.add_extensions(std::string(extension));
  }
  return response;
}

ApiResult<inference::ModelMetadataResponse> model_metadata(
    const Services& services, const inference::ModelMetadataRequest& request) {
  const ApiResult<ModelCardPtr> card = services.catalog.find(request.name(), request.version());
  if (!card) return std::unexpected(card.error());
  return metadata_message(**card);
}

ApiResult<inference::ModelConfigResponse> model_config(
    const Services& services, const inference::ModelConfigRequest& request) {
  const ApiResult<ModelCardPtr> card = services.catalog.find(request.name(), request.version());
  if (!card) return std::unexpected(card.error());
  inference::ModelConfigResponse response;
  *response.mutable_config() = config_message(**card);
  return response;
}

ApiResult<inference::ModelStatisticsResponse> model_statistics(
    const Services& services, const inference::ModelStatisticsRequest& request) {
  if (!request.name().empty()) {
    const ApiResult<ModelCardPtr> card = services.catalog.find(request.name(), request.version());
    if (!card) return std::unexpected(card.error());
  }
  inference::ModelStatisticsResponse response;
  for (const ModelCardPtr& card : services.catalog.serving()) {
    const std::string version = std::to_string(card->info.version);
    if (!request.name().empty() && card->info.name != request.name()) continue;
    if (!request.version().empty() && version != request.version()) continue;
    const auto statistics = services.catalog.statistics(card->info.id);
    if (statistics) *response.add_model_stats() = statistics_message(*card, *statistics);
  }
  return response;
}

ApiResult<void> check_repository(std::string_view name) {
  if (name.empty()) return {};
  return refuse(ApiCode::unimplemented,
                "repository_name: this server has one repository; leave it empty");
}

ApiResult<inference::RepositoryIndexResponse> repository_index(
    const Services& services, const inference::RepositoryIndexRequest& request) {
  if (auto checked = check_repository(request.repository_name()); !checked) {
    return std::unexpected(std::move(checked).error());
  }
  inference::RepositoryIndexResponse response;
  for (IndexEntry& entry : services.catalog.index(request.ready())) {
    auto& model = *response.add_models();
    model.set_name(to_utf8(std::move(entry.name)));
    model.set_version(std::move(entry.version));
    model.set_state(std::move(entry.state));
    model.set_reason(to_utf8(std::move(entry.reason)));
  }
  return response;
}

ApiResult<LoadOverrides> overrides_of(const inference::RepositoryModelLoadRequest& request) {
  LoadOverrides overrides;
  for (const auto& [key, value] : request.parameters()) {
    if (key == "config") {
      if (value.parameter_choice_case() != ModelRepositoryParameter::kStringParam) {
        return invalid("load parameter 'config': expected a string_param");
      }
      overrides.config_json = value.string_param();
    } else if (key.starts_with("file:")) {
      if (value.parameter_choice_case() != ModelRepositoryParameter::kBytesParam) {
        return invalid(fmt::format("load parameter '{}': expected a bytes_param", key));
      }
      overrides.files[key] = value.bytes_param();
    } else {
      return invalid(
          fmt::format("unrecognized load parameter '{}'; expected config or file:...", key));
    }
  }
  return overrides;
}

ApiResult<inference::RepositoryModelLoadResponse> load_model(
    const Services& services, const inference::RepositoryModelLoadRequest& request) {
  if (auto checked = check_repository(request.repository_name()); !checked) {
    return std::unexpected(std::move(checked).error());
  }
  const ApiResult<LoadOverrides> overrides = overrides_of(request);
  if (!overrides) return std::unexpected(overrides.error());
  return empty_or<inference::RepositoryModelLoadResponse>(
      services.catalog.load(request.model_name(), *overrides));
}

ApiResult<inference::RepositoryModelUnloadResponse> unload_model(
    const Services& services, const inference::RepositoryModelUnloadRequest& request) {
  if (auto checked = check_repository(request.repository_name()); !checked) {
    return std::unexpected(std::move(checked).error());
  }
  return empty_or<inference::RepositoryModelUnloadResponse>(
      services.catalog.unload(request.model_name()));
}

ApiResult<inference::SystemSharedMemoryStatusResponse> system_status(
    const Services& services, const inference::SystemSharedMemoryStatusRequest& request) {
  const ApiResult<std::vector<RegionInfo>> regions = services.regions.list(request.name());
  if (!regions) return std::unexpected(regions.error());
  inference::SystemSharedMemoryStatusResponse response;
  for (const RegionInfo& region : *regions) {
    auto& status = (*response.mutable_regions())[region.name];
    status.set_name(region.name);
    status.set_key(region.key);
    status.set_offset(region.offset);
    status.set_byte_size(region.bytes);
  }
  return response;
}

ApiResult<inference::SystemSharedMemoryRegisterResponse> system_register(
    const Services& services, const inference::SystemSharedMemoryRegisterRequest& request) {
  return empty_or<inference::SystemSharedMemoryRegisterResponse>(
      services.regions.add({request.name(), request.key(), request.offset(), request.byte_size()}));
}

ApiResult<inference::SystemSharedMemoryUnregisterResponse> system_unregister(
    const Services& services, const inference::SystemSharedMemoryUnregisterRequest& request) {
  if (request.name().empty()) {
    services.regions.remove_all();
  } else {
    services.regions.remove(request.name());
  }
  return inference::SystemSharedMemoryUnregisterResponse{};
}

ApiResult<inference::CudaSharedMemoryStatusResponse> cuda_status(
    const Services& /*services*/, const inference::CudaSharedMemoryStatusRequest& request) {
  if (request.name().empty()) return inference::CudaSharedMemoryStatusResponse{};
  return refuse(ApiCode::not_found,
                fmt::format("Unable to find cuda shared memory region: '{}'", request.name()));
}

ApiResult<inference::CudaSharedMemoryRegisterResponse> cuda_register(
    const Services& /*services*/, const inference::CudaSharedMemoryRegisterRequest& request) {
  return invalid(
      fmt::format("failed to register CUDA shared memory region '{}': this server has no "
                  "GPU; use system shared memory",
                  request.name()));
}

ApiResult<inference::CudaSharedMemoryUnregisterResponse> cuda_unregister(
    const Services& /*services*/, const inference::CudaSharedMemoryUnregisterRequest&) {
  return inference::CudaSharedMemoryUnregisterResponse{};
}

ApiResult<inference::TraceSettingResponse> trace_setting(
    const Services& services, const inference::TraceSettingRequest& request) {
  const std::string& model = request.model_name();
  if (!model.empty()) {
    const ApiResult<ModelCardPtr> card = services.catalog.find(model, {});
    if (!card) return std::unexpected(card.error());
  }
  TraceValues changes;
  for (const auto& [name, setting] : request.settings()) {
    changes[name].assign(setting.value().begin(), setting.value().end());
  }
  const ApiResult<TraceValues> values = services.trace.update(model, changes);
  if (!values) return std::unexpected(values.error());
  inference::TraceSettingResponse response;
  for (const auto& [name, list] : *values) {
    (*response.mutable_settings())[name].mutable_value()->Assign(list.begin(), list.end());
  }
  return response;
}

ApiResult<LogValues> log_changes(const inference::LogSettingsRequest& request) {
  using Value = inference::LogSettingsRequest::SettingValue;
  LogValues changes;
  for (const auto& [name, setting] : request.settings()) {
    switch (setting.parameter_choice_case()) {
      case Value::kBoolParam:
        changes[name] = setting.bool_param();
        break;
      case Value::kUint32Param:
        changes[name] = setting.uint32_param();
        break;
      case Value::kStringParam:
        changes[name] = setting.string_param();
        break;
      case Value::PARAMETER_CHOICE_NOT_SET:
        return invalid(fmt::format("setting '{}' has no value", name));
    }
  }
  return changes;
}

ApiResult<inference::LogSettingsResponse> log_settings(
    const Services& services, const inference::LogSettingsRequest& request) {
  const ApiResult<LogValues> changes = log_changes(request);
  if (!changes) return std::unexpected(changes.error());
  const ApiResult<LogValues> values = services.log.update(*changes);
  if (!values) return std::unexpected(values.error());
  inference::LogSettingsResponse response;
  for (const auto& [name, value] : *values) {
    auto& setting = (*response.mutable_settings())[name];
    if (const auto* flag = std::get_if<bool>(&value)) setting.set_bool_param(*flag);
    if (const auto* number = std::get_if<std::uint32_t>(&value)) setting.set_uint32_param(*number);
    if (const auto* text = std::get_if<std::string>(&value)) setting.set_string_param(*text);
  }
  return response;
}

// From bytes to bytes, around a function from message to message.
template <auto kAnswer>
struct Typed;
template <typename Request, typename Response,
          ApiResult<Response> (*kAnswer)(const Services&, const Request&)>
struct Typed<kAnswer> {
  static ApiResult<std::string> answer(const Services& services, std::string_view message) {
    Request request;
    if (message.size() > std::numeric_limits<int>::max() ||
        !request.ParseFromArray(message.data(), static_cast<int>(message.size()))) {
      return invalid("the bytes are no " + Request::descriptor()->name());
    }
    const ApiResult<Response> response = kAnswer(services, request);
    if (!response) return std::unexpected(response.error());
    return response->SerializeAsString();
  }
};

template <auto kAnswer>
constexpr Method method(std::string_view path, Need need, bool slow = false) {
  return {path, need, slow, &Typed<kAnswer>::answer};
}

// Settings are read and changed by one method; which of both it is stands in the message.
constexpr std::array kMethods{
    method<server_live>("/inference.GRPCInferenceService/ServerLive", Need::nothing),
    method<server_ready>("/inference.GRPCInferenceService/ServerReady", Need::nothing),
    method<model_ready>("/inference.GRPCInferenceService/ModelReady", Need::any_key),
    method<server_metadata>("/inference.GRPCInferenceService/ServerMetadata", Need::any_key),
    method<model_metadata>("/inference.GRPCInferenceService/ModelMetadata", Need::any_key),
    method<model_config>("/inference.GRPCInferenceService/ModelConfig", Need::any_key),
    method<model_statistics>("/inference.GRPCInferenceService/ModelStatistics", Need::any_key),
    method<repository_index>("/inference.GRPCInferenceService/RepositoryIndex", Need::read, true),
    method<load_model>("/inference.GRPCInferenceService/RepositoryModelLoad", Need::operate, true),
    method<unload_model>("/inference.GRPCInferenceService/RepositoryModelUnload", Need::operate,
                         true),
    method<system_status>("/inference.GRPCInferenceService/SystemSharedMemoryStatus", Need::read),
    method<system_register>("/inference.GRPCInferenceService/SystemSharedMemoryRegister",
                            Need::operate),
    method<system_unregister>("/inference.GRPCInferenceService/SystemSharedMemoryUnregister",
                              Need::operate),
    method<cuda_status>("/inference.GRPCInferenceService/CudaSharedMemoryStatus", Need::read),
    method<cuda_register>("/inference.GRPCInferenceService/CudaSharedMemoryRegister",
                          Need::operate),
    method<cuda_unregister>("/inference.GRPCInferenceService/CudaSharedMemoryUnregister",
                            Need::operate),
    method<trace_setting>("/inference.GRPCInferenceService/TraceSetting", Need::operate),
    method<log_settings>("/inference.GRPCInferenceService/LogSettings", Need::operate),
    method<check_health>("/grpc.health.v1.Health/Check", Need::nothing),
};

}  // namespace

const Method* find_method(std::string_view path) noexcept {
  const auto found = std::ranges::find(kMethods, path, &Method::path);
  return found == kMethods.end() ? nullptr : &*found;
}

Need need_of(std::string_view method) noexcept {
  constexpr std::string_view kService = "inference.GRPCInferenceService/";
  if (method.starts_with(kService)) {
    const std::string_view name = method.substr(kService.size());
    if (name == "ModelInfer" || name == "ModelStreamInfer") return Need::infer;
  }
  const auto found = std::ranges::find_if(
      kMethods, [method](const Method& one) { return one.path.substr(1) == method; });
  return found == kMethods.end() ? Need::operate : found->need;
}

}  // namespace takt::server::rpc
