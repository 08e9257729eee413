// SPDX-License-Identifier: Apache-2.0
#include "ipc/worker_protocol.h"

#include <nlohmann/json.hpp>

#include <type_traits>
#include <utility>

// Found by argument-dependent lookup, so they stand beside the types that they read and write.
namespace nlohmann {

template <typename T>
struct adl_serializer<std::optional<T>> {
  static void to_json(json& j, const std::optional<T>& value) {
    j = value ? json(*value) : json(nullptr);
  }
  static void from_json(const json& j, std::optional<T>& value) {
    if (j.is_null()) {
      value.reset();
    } else {
      value = j.get<T>();
    }
  }
};

template <>
struct adl_serializer<takt::Duration> {
  static void to_json(json& j, const takt::Duration& value) { j = value.count(); }
  static void from_json(const json& j, takt::Duration& value) {
    value = takt::Duration(j.get<takt::Duration::rep>());
  }
};

}  // namespace nlohmann

namespace takt {

// The enumerations travel as their numbers: both sides are one build.
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(TensorSpec, name, type, shape)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Signature, inputs, outputs, batch_max)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(LatencyPoint, batch, p50, p99)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(ImagePreprocess, color, fit, pad_value, scale, mean, stddev,
                                   channels_last)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(InputPlan, name, image)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Error, kind, message)

}  // namespace takt

namespace takt::ipc {

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(DescribeModel, repository, model, version)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(ModelDescription, name, version, signature)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Confinement, sandbox, memory_bytes_max)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(LoadModel, model, backend, inputs, device, instances, batch_max,
                                   threads_per_instance, cpus, numa_node, cache_dir, precision,
                                   trusted, profile_time_max, spin, confinement)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(ModelLoaded, backend, backend_version, signature,
                                   output_bytes_max, profile)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(ChannelLayout, instances, request_bytes, reply_bytes)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(AttachMemory, layout)

static void to_json(nlohmann::json& j, const Attached& /*value*/) {
  j = nlohmann::json::object();
}
static void from_json(const nlohmann::json& /*j*/, Attached& /*value*/) {}
static void to_json(nlohmann::json& j, const StopWorker& /*value*/) {
  j = nlohmann::json::object();
}
static void from_json(const nlohmann::json& /*j*/, StopWorker& /*value*/) {}

namespace {

using nlohmann::json;

// {"is": index of the alternative, "with": its fields}
template <typename Variant>
std::string text_of(const Variant& message) {
  json fields;
  std::visit([&fields](const auto& value) { fields = value; }, message);
  const json whole{{"is", message.index()}, {"with", std::move(fields)}};
  // A message may quote a file that is not UTF-8.
  return whole.dump(-1, ' ', false, json::error_handler_t::replace);
}

template <typename Variant, std::size_t Index = 0>
bool read_alternative(std::size_t wanted, const json& fields, Variant& message) {
  if constexpr (Index < std::variant_size_v<Variant>) {
    if (wanted != Index) return read_alternative<Variant, Index + 1>(wanted, fields, message);
    message = fields.get<std::variant_alternative_t<Index, Variant>>();
    return true;
  } else {
    return false;
  }
}

template <typename Variant>
Result<Variant> message_of(std::string_view text) {
  try {
    const json whole = json::parse(text);
    Variant message;
    if (read_alternative(whole.at("is").get<std::size_t>(), whole.at("with"), message)) {
      return message;
    }
    return fail(ErrorKind::invalid_input, "an unknown control message");
  } catch (const json::exception& error) {
    return fail(ErrorKind::invalid_input, std::string("a broken control message: ") + error.what());
  }
}

}  // namespace

std::string to_text(const WorkerRequest& request) {
  return text_of(request);
}
std::string to_text(const WorkerReply& reply) {
  return text_of(reply);
}
Result<WorkerRequest> parse_request(std::string_view text) {
  return message_of<WorkerRequest>(text);
}
Result<WorkerReply> parse_reply(std::string_view text) {
  Result<WorkerReply> reply = message_of<WorkerReply>(text);
  if (!reply) return reply;
  auto* const error = std::get_if<Error>(&*reply);
  if (error != nullptr && static_cast<int>(error->kind) >= kErrorKindCount) {
    return fail(ErrorKind::invalid_input, "a control message with an unknown error");
  }
  return reply;
}

}  // namespace takt::ipc
