// SPDX-License-Identifier: Apache-2.0
// The messages of a worker's start from text that the other process may have made up.
#include "ipc/worker_protocol.h"
#include "target.h"

#include <algorithm>
#include <cstdint>
#include <string_view>

namespace takt::fuzz {
namespace {

enum class Part : std::uint8_t { request, reply, count };

constexpr std::size_t kChannelBytesMax = std::size_t{1} << 20;  // that are worth a mapping here

void check(const Signature& signature) {
  require(signature.batch_max >= 0, "a batch has a size");
  for (const auto* side : {&signature.inputs, &signature.outputs}) {
    for (const TensorSpec& spec : *side) {
      require(!to_string(spec.type).empty(), "types are known");
      for (const std::int64_t dimension : spec.shape) require(dimension >= -1, "sizes are sizes");
    }
  }
}

void check(const ipc::WorkerReply& reply) {
  if (const auto* error = std::get_if<Error>(&reply)) {
    require(!to_string(error->kind).empty(), "errors are known");
  }
  if (const auto* described = std::get_if<ipc::ModelDescription>(&reply)) {
    check(described->signature);
  }
  if (const auto* const loading = std::get_if<ipc::ModelLoading>(&reply)) {
    require(loading->done >= 0 && loading->done <= loading->total, "parts are of a whole");
  }
  const auto* const loaded = std::get_if<ipc::ModelLoaded>(&reply);
  if (loaded == nullptr) return;
  check(loaded->signature);
  require(loaded->output_bytes_max.size() == loaded->signature.outputs.size(),
          "each output has a size");
  const auto [weights, instance] = loaded->memory;
  require(weights + 4096 * instance >= std::max(weights, instance), "memory can be summed");
  for (const LatencyPoint& point : loaded->profile) {
    require(point.batch >= 1 && point.p50 >= Duration{} && point.p99 >= Duration{},
            "a profile measures something");
  }
}

void check(const ipc::WorkerRequest& request) {
  if (const auto* load = std::get_if<ipc::LoadModel>(&request)) {
    for (const InputPlan& plan : load->inputs) {
      require(!plan.image || plan.image->color <= PixelFormat::bgr8, "formats are known");
      require(!plan.image || plan.image->fit <= Fit::letterbox, "fits are known");
    }
  }
  const auto* const attach = std::get_if<ipc::AttachMemory>(&request);
  if (attach == nullptr) return;
  const ipc::ChannelLayout& layout = attach->layout;
  if (layout.request_bytes > kChannelBytesMax || layout.reply_bytes > kChannelBytesMax) return;
  const Result<ipc::WorkerChannel> channel = ipc::WorkerChannel::create(layout);
  if (!channel) return;
  for (std::uint32_t i = 0; i < layout.instances; ++i) {
    require(channel->request_area(i).size() == layout.request_bytes, "areas are as announced");
    require(channel->reply_area(i).size() == layout.reply_bytes, "areas are as announced");
  }
  // The sanitizer looks: the last byte is mapped.
  channel->reply_area(layout.instances - 1).back() = std::byte{1};
}

// What was understood is understood again, and as the same.
template <auto parse>
void run_message(std::string_view text) {
  const auto message = parse(text);
  if (!message) {
    require(message.error().kind == ErrorKind::invalid_input, "no message is an invalid input");
    return;
  }
  check(*message);
  const std::string first = ipc::to_text(*message);
  const auto again = parse(first);
  require(again.has_value(), "what was written can be read");
  require(ipc::to_text(*again) == first, "a message survives the way there and back");
}

void run(std::span<const std::byte> bytes) {
  Input input(bytes);
  const auto part = static_cast<Part>(input.take<std::uint8_t>() % static_cast<int>(Part::count));
  const std::string_view text(reinterpret_cast<const char*>(input.rest().data()),
                              input.rest().size());
  if (part == Part::request) {
    run_message<&ipc::parse_request>(text);
  } else {
    run_message<&ipc::parse_reply>(text);
  }
}

Seed seed(const std::string& name, Part part, const std::string& text) {
  return {name, Script().put(part).put_bytes(std::as_bytes(std::span(text))).bytes()};
}

std::vector<Seed> seeds() {
  const ipc::DescribeModel model{.repository = "/models", .model = "m", .version = 3};
  Signature signature;
  signature.inputs.push_back({.name = "x", .type = DataType::uint8, .shape = {-1, 4}});
  signature.outputs.push_back({.name = "y", .type = DataType::fp32, .shape = {4}});
  signature.batch_max = 8;
  ipc::LoadModel load;
  load.model = model;
  load.backend = "simulated";
  ImagePreprocess image;
  image.mean = {0.5F};
  image.stddev = {0.25F};
  load.inputs.push_back({.name = "x", .image = image});
  load.inputs.push_back({.name = "extra", .image = {}});
  load.cpus = {0, 1};
  load.confinement = {.sandbox = true, .memory_bytes_max = 1 << 30};
  ipc::ModelLoaded loaded;
  loaded.backend = "simulated";
  loaded.backend_version = "1";
  loaded.signature = signature;
  loaded.output_bytes_max = {16};
  loaded.profile.push_back({.batch = 1, .p50 = Duration(5), .p99 = Duration(9)});
  loaded.memory = {.weights_bytes = 1 << 20, .instance_bytes = 1 << 10};
  const auto request = [](const char* name, const ipc::WorkerRequest& message) {
    return seed(name, Part::request, ipc::to_text(message));
  };
  const auto reply = [](const char* name, const ipc::WorkerReply& message) {
    return seed(name, Part::reply, ipc::to_text(message));
  };
  return {request("describe", model),
          request("load", load),
          request("attach",
                  ipc::AttachMemory{{.instances = 2, .request_bytes = 640, .reply_bytes = 704}}),
          request("stop", ipc::StopWorker{}),
          reply("error", Error{ErrorKind::out_of_memory, "no memory"}),
          reply("described", ipc::ModelDescription{"m", 3, signature}),
          reply("loaded", loaded),
          reply("attached", ipc::Attached{}),
          reply("loading", ipc::ModelLoading{"tuning at batch size 8", 3, 40})};
}

}  // namespace

Target worker_protocol() {
  return {"worker_protocol", &run, &seeds};
}

}  // namespace takt::fuzz
