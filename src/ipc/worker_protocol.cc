// SPDX-License-Identifier: Apache-2.0
#include "ipc/worker_protocol.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
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
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(ModelMemory, weights_bytes, instance_bytes)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(ImagePreprocess, color, fit, pad_value, scale, mean, stddev,
                                   channels_last)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(InputPlan, name, image)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Error, kind, message)

}  // namespace takt

namespace takt::ipc {

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(DescribeModel, repository, model, version)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(ModelDescription, name, version, signature)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Confinement, sandbox, memory_bytes_max)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(LoadModel, model, backend, inputs, device, may_tune, instances,
                                   batch_max, threads_per_instance, cpus, instance_cpus, numa_node,
                                   cache_dir, precision, trusted, profile_time_max, spin,
                                   confinement)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(ModelLoaded, backend, backend_version, signature,
                                   output_bytes_max, profile, memory, notes)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(ModelLoading, stage, done, total)
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
json json_of(const Variant& message) {
  json fields;
  std::visit([&fields](const auto& value) { fields = value; }, message);
  return {{"is", message.index()}, {"with", std::move(fields)}};
}

template <typename Variant>
std::string text_of(const Variant& message) {
  // A message may quote a file that is not UTF-8.
  return json_of(message).dump(-1, ' ', false, json::error_handler_t::replace);
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

// Bounds that the two sides never reach; beyond them, sums and products could overflow.
constexpr int kDepthMax = 8;
constexpr int kBatchMax = 1 << 16;
constexpr std::size_t kOutputRowBytesMax = std::size_t{1} << 32;
constexpr std::size_t kModelBytesMax = std::size_t{1} << 44;
constexpr Duration kLatencyMax = std::chrono::hours(24);

std::unexpected<Error> broken(const std::string& why) {
  return fail(ErrorKind::invalid_input, "a broken control message: " + why);
}

bool takes_fractions(std::string_view field) {
  return field == "scale" || field == "mean" || field == "stddev";
}

// Throws at what can't be converted safely: fractions where the field is a whole number, which may be
// too large for it, and nesting without end.
json parsed(std::string_view text) {
  std::string field;
  return json::parse(text, [&field](int depth, json::parse_event_t event, const json& part) {
    if (depth > kDepthMax) throw json::other_error::create(501, "it nests too deep", nullptr);
    if (event == json::parse_event_t::key) field = part.get<std::string>();
    if (part.is_number_float() && !takes_fractions(field)) {
      throw json::other_error::create(501, "a fraction in '" + field + "'", nullptr);
    }
    return true;
  });
}

// A whole message is what this build would write itself; where it isn't, something was cut, wrapped
// round or left over.
template <typename Variant>
Result<Variant> message_of(std::string_view text) {
  try {
    const json whole = parsed(text);
    Variant message;
    if (!read_alternative(whole.at("is").get<std::size_t>(), whole.at("with"), message)) {
      return broken("no such message");
    }
    if (json_of(message) != whole) return broken("a number or a field that can't be");
    return message;
  } catch (const json::exception& error) {
    return broken(error.what());
  }
}

Result<void> check(const Signature& signature) {
  if (signature.batch_max < 0 || signature.batch_max > kBatchMax) return broken("batch_max");
  for (const auto* side : {&signature.inputs, &signature.outputs}) {
    for (const TensorSpec& spec : *side) {
      if (spec.type > DataType::bytes) return broken("the type of '" + spec.name + "'");
      if (std::ranges::any_of(spec.shape, [](std::int64_t size) { return size < -1; })) {
        return broken("the shape of '" + spec.name + "'");
      }
    }
  }
  return {};
}

Result<void> check(const LatencyPoint& point) {
  const bool times =
      std::min(point.p50, point.p99) >= Duration{} && std::max(point.p50, point.p99) <= kLatencyMax;
  if (!times || point.batch < 1 || point.batch > kBatchMax) return broken("profile");
  return {};
}

Result<void> check(const ModelLoaded& loaded) {
  const bool sizes_fit = std::ranges::all_of(
      loaded.output_bytes_max, [](std::size_t bytes) { return bytes <= kOutputRowBytesMax; });
  if (!sizes_fit || loaded.output_bytes_max.size() != loaded.signature.outputs.size()) {
    return broken("output_bytes_max");
  }
  if (std::max(loaded.memory.weights_bytes, loaded.memory.instance_bytes) > kModelBytesMax) {
    return broken("memory");
  }
  if (loaded.profile.empty()) return broken("no profile");
  for (const LatencyPoint& point : loaded.profile) {
    if (Result<void> checked = check(point); !checked) return checked;
  }
  return check(loaded.signature);
}

Result<void> check(const LoadModel& load) {
  for (const InputPlan& plan : load.inputs) {
    if (!plan.image) continue;
    if (plan.image->color > PixelFormat::bgr8 || plan.image->fit > Fit::letterbox) {
      return broken("the preprocessing of '" + plan.name + "'");
    }
  }
  return {};
}

Result<void> check(const ModelLoading& loading) {
  if (loading.done < 0 || loading.done > loading.total) return broken("the parts of a load");
  return {};
}

Result<void> check(const Error& error) {
  if (static_cast<int>(error.kind) >= kErrorKindCount) return broken("an unknown error");
  return {};
}

Result<void> check(const ModelDescription& description) {
  return check(description.signature);
}

Result<void> check(const DescribeModel& /*value*/) {
  return {};
}
Result<void> check(const AttachMemory& /*value*/) {  // WorkerChannel checks the layout
  return {};
}
Result<void> check(const Attached& /*value*/) {
  return {};
}
Result<void> check(const StopWorker& /*value*/) {
  return {};
}

template <typename Variant>
Result<Variant> checked_message(std::string_view text) {
  Result<Variant> message = message_of<Variant>(text);
  if (!message) return message;
  Result<void> checked = std::visit([](const auto& value) { return check(value); }, *message);
  if (!checked) return std::unexpected(std::move(checked).error());
  return message;
}

}  // namespace

std::string to_text(const WorkerRequest& request) {
  return text_of(request);
}
std::string to_text(const WorkerReply& reply) {
  return text_of(reply);
}
Result<WorkerRequest> parse_request(std::string_view text) {
  return checked_message<WorkerRequest>(text);
}
Result<WorkerReply> parse_reply(std::string_view text) {
  return checked_message<WorkerReply>(text);
}

}  // namespace takt::ipc
