// SPDX-License-Identifier: Apache-2.0
#include "server/infer_service.h"

#include "core/string_tensor.h"
#include "server/classify.h"
#include "server/client_text.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

namespace takt::server {
namespace {

std::string quoted(const std::vector<std::string>& names) {
  return fmt::format("'{}'", fmt::join(names, "','"));
}

// With the batch dimension where the model has one.
Shape full_shape(const Signature& signature, const TensorSpec& spec) {
  Shape shape = spec.shape;
  if (signature.batch_max > 0) shape.insert(shape.begin(), -1);
  return shape;
}

bool fits(const Shape& shape, const Shape& expected) {
  return std::ranges::equal(shape, expected, [](std::int64_t dim, std::int64_t wanted) {
    return dim >= 0 && (wanted == -1 || dim == wanted);
  });
}

ApiResult<void> check_input(const ModelCard& card, const TensorSpec& spec, const CallInput& input) {
  const std::string& model = card.info.name;
  if (input.type != spec.type) {
    return refuse(ApiCode::invalid_argument,
                  fmt::format("inference input '{}' data-type is '{}', but model '{}' expects '{}'",
                              input.name, to_string(input.type), model, to_string(spec.type)));
  }
  const Shape expected = full_shape(card.info.signature, spec);
  if (!fits(input.shape, expected)) {
    return refuse(
        ApiCode::invalid_argument,
        fmt::format("unexpected shape for input '{}' for model '{}'. Expected {}, got {}",
                    input.name, model, takt::to_string(expected), takt::to_string(input.shape)));
  }
  const std::size_t got = input.shared ? input.shared->bytes : input.bytes.size();
  const Result<std::size_t> count = element_count(input.shape);
  if (!count)
    return std::unexpected(to_api_error(count.error().within("input '" + spec.name + "'")));
  if (spec.type == DataType::bytes) return {};  // the engine counts the strings
  if (*count * element_bytes(spec.type) == got) return {};
  return refuse(ApiCode::invalid_argument,
                fmt::format("input byte size mismatch for input '{}' for model '{}'. Expected {}, "
                            "got {}",
                            input.name, model, *count * element_bytes(spec.type), got));
}

// The call's inputs in the signature's order.
ApiResult<std::vector<const CallInput*>> order_inputs(const ModelCard& card,
                                                      const InferCall& call) {
  const std::vector<TensorSpec>& specs = card.info.signature.inputs;
  std::vector<const CallInput*> ordered(specs.size(), nullptr);
  for (const CallInput& input : call.inputs) {
    const auto spec = std::ranges::find(specs, input.name, &TensorSpec::name);
    if (spec == specs.end()) {
      return refuse(ApiCode::invalid_argument,
                    fmt::format("unexpected inference input '{}' for model '{}'", input.name,
                                card.info.name));
    }
    const CallInput*& place = ordered[static_cast<std::size_t>(spec - specs.begin())];
    if (place != nullptr) {
      return refuse(ApiCode::invalid_argument,
                    fmt::format("input '{}' already exists in request", input.name));
    }
    place = &input;
  }
  if (std::ranges::find(ordered, nullptr) == ordered.end()) return ordered;
  std::vector<std::string> got;
  std::vector<std::string> missing;
  for (std::size_t i = 0; i < specs.size(); ++i) {
    (ordered[i] != nullptr ? got : missing).push_back(specs[i].name);
  }
  return refuse(
      ApiCode::invalid_argument,
      fmt::format("expected {} inputs but got {} inputs for model '{}'. Got input(s) [{}], but "
                  "missing required input(s) [{}]. Please provide all required input(s).",
                  specs.size(), call.inputs.size(), card.info.name, got.empty() ? "" : quoted(got),
                  quoted(missing)));
}

ApiResult<std::int64_t> count_rows(const ModelCard& card,
                                   const std::vector<const CallInput*>& inputs) {
  const int batch_max = card.info.signature.batch_max;
  if (batch_max == 0) return 1;
  const std::int64_t rows = inputs.front()->shape.front();
  for (const CallInput* input : inputs) {
    if (input->shape.front() == rows) continue;
    return refuse(ApiCode::invalid_argument,
                  fmt::format("input '{}' batch size does not match other inputs for '{}': {} and "
                              "{}",
                              input->name, card.info.name, input->shape.front(), rows));
  }
  if (rows >= 1 && rows <= batch_max) return rows;
  return refuse(ApiCode::invalid_argument,
                fmt::format("inference request batch-size must be 1 to {} for '{}', got {}",
                            batch_max, card.info.name, rows));
}

// An output that was asked for, by its place in the signature.
struct Wanted {
  std::size_t index = 0;
  CallOutput output;
  std::vector<std::string> labels;
};

ApiResult<std::vector<Wanted>> wanted_outputs(const ModelCard& card, InferCall& call) {
  const std::vector<TensorSpec>& specs = card.info.signature.outputs;
  std::vector<Wanted> wanted;
  if (call.outputs.empty()) {
    for (std::size_t i = 0; i < specs.size(); ++i) {
      wanted.push_back(
          {i, {.name = specs[i].name, .shared = {}, .binary = call.binary_outputs}, {}});
    }
    return wanted;
  }
  for (CallOutput& output : call.outputs) {
    const auto spec = std::ranges::find(specs, output.name, &TensorSpec::name);
    if (spec == specs.end()) {
      return refuse(ApiCode::invalid_argument,
                    fmt::format("unexpected inference output '{}' for model '{}'", output.name,
                                card.info.name));
    }
    const auto index = static_cast<std::size_t>(spec - specs.begin());
    const auto twice = [index](const Wanted& other) { return other.index == index; };
    if (std::ranges::any_of(wanted, twice)) {
      return refuse(ApiCode::invalid_argument,
                    fmt::format("output '{}' already requested", output.name));
    }
    if (output.classes > 0 && output.shared) {
      return refuse(ApiCode::invalid_argument,
                    fmt::format("output '{}': shared memory can't be set for classification output",
                                output.name));
    }
    if (output.classes > 0 && spec->type == DataType::bytes) {
      return refuse(ApiCode::invalid_argument,
                    fmt::format("output '{}': class result not available for output of strings",
                                output.name));
    }
    std::vector<std::string> labels;
    if (output.classes > 0) {
      const auto known = card.labels.find(output.name);
      if (known != card.labels.end()) labels = known->second;
    }
    wanted.push_back({index, std::move(output), std::move(labels)});
  }
  return wanted;
}

// What an answer needs of its call.
struct Reply {
  ModelCardPtr card;
  std::string id;
  std::vector<Wanted> outputs;
};

ApiResult<AnswerOutput> answer_output(const Reply& reply, Wanted& wanted, const TensorView& tensor,
                                      const SharedRegions& regions) {
  AnswerOutput out;
  out.name = std::move(wanted.output.name);
  out.binary = wanted.output.binary;
  out.type = tensor.type;
  out.shape = tensor.shape;
  if (wanted.output.classes > 0) {
    const bool batched = reply.card->info.signature.batch_max > 0;
    return classify(std::move(out), tensor, wanted.output.classes, batched, wanted.labels);
  }
  out.bytes = tensor.bytes;
  if (!wanted.output.shared) return out;
  if (tensor.bytes.size() > wanted.output.shared->bytes) {
    return refuse(ApiCode::invalid_argument,
                  fmt::format("shared memory size specified with the request for output '{}' ({} "
                              "bytes) should be at least {} bytes to hold the results",
                              out.name, wanted.output.shared->bytes, tensor.bytes.size()));
  }
  if (auto written = regions.write(*wanted.output.shared, tensor.bytes); !written) {
    return std::unexpected(std::move(written).error());
  }
  out.shared = std::move(wanted.output.shared);
  out.shared->bytes = tensor.bytes.size();
  out.bytes = {};
  return out;
}

ApiResult<InferAnswer> make_answer(Reply reply, Result<InferResult> result,
                                   const SharedRegions& regions) {
  if (!result) {
    ApiError error = to_api_error(std::move(result).error());
    error.message = without_paths(std::move(error.message), {});
    return std::unexpected(std::move(error));
  }
  InferAnswer answer;
  answer.model = reply.card->info.name;
  answer.version = std::to_string(reply.card->info.version);
  answer.timings = result->timings;
  for (Wanted& wanted : reply.outputs) {
    auto output = answer_output(reply, wanted, result->outputs[wanted.index], regions);
    if (!output) return std::unexpected(std::move(output).error());
    answer.outputs.push_back(std::move(*output));
  }
  answer.id = std::move(reply.id);
  answer.hold = std::move(result->hold);
  return answer;
}

}  // namespace

InferService::InferService(InferenceClient& client, ModelCatalog& catalog, SharedRegions& regions,
                           std::shared_ptr<SlotPool> inputs, const Clock& clock,
                           InferOptions options)
    : client_(client),
      catalog_(catalog),
      regions_(regions),
      inputs_(std::move(inputs)),
      clock_(clock),
      options_(std::move(options)) {}

ApiResult<Slot> InferService::room(std::size_t bytes) {
  if (bytes > options_.request_bytes_max) {
    return refuse(ApiCode::payload_too_large,
                  fmt::format("an input of {} bytes; this server takes up to {} a request "
                              "(server.request_bytes_max)",
                              bytes, options_.request_bytes_max));
  }
  Result<Slot> slot = inputs_->acquire(bytes);
  if (slot) return std::move(*slot);
  return refuse(ApiCode::resource_exhausted, "no memory for further requests; send less at a time");
}

PriorityClass InferService::class_of(std::uint64_t priority) const {
  if (priority == 0 || options_.priorities.empty()) return PriorityClass::normal;
  return options_.priorities[std::min<std::uint64_t>(priority, options_.priorities.size()) - 1];
}

std::size_t InferService::in_flight_max_of(PriorityClass priority) const {
  return options_.in_flight_max - options_.in_flight_max / 8 * static_cast<std::size_t>(priority);
}

TimePoint InferService::deadline_of(const InferCall& call) const {
  // Longer than a day is never, which keeps sums far from overflow.
  constexpr auto kTimeoutMax = std::chrono::microseconds(std::chrono::days(1));
  const TimePoint now = clock_.now();
  const bool stated = call.timeout_us > 0 || call.deadline != kNever;
  if (!stated && options_.deadline > Duration{}) return now + options_.deadline;
  TimePoint deadline = call.deadline;
  if (call.timeout_us > 0 && std::cmp_less_equal(call.timeout_us, kTimeoutMax.count())) {
    const std::chrono::microseconds timeout(static_cast<std::int64_t>(call.timeout_us));
    deadline = std::min(deadline, now + timeout);
  }
  return deadline;
}

ApiResult<void> InferService::complete_raw(const ModelCard& card, InferCall& call) {
  const Signature& signature = card.info.signature;
  if (signature.inputs.size() != 1) {
    return refuse(ApiCode::invalid_argument,
                  fmt::format("a raw request is for a model with one input, but '{}' has {} inputs",
                              card.info.name, signature.inputs.size()));
  }
  const TensorSpec& spec = signature.inputs.front();
  CallInput& input = call.inputs.front();
  input.name = spec.name;
  input.type = spec.type;
  input.shape = spec.shape;
  const auto open = std::ranges::find(input.shape, -1);
  if (open != input.shape.end()) {
    *open = 1;
    const Result<std::size_t> others = element_count(input.shape);
    if (!others || std::ranges::find(input.shape, -1) != input.shape.end()) {
      return refuse(ApiCode::invalid_argument,
                    fmt::format("a raw request can't tell the shape of input '{}' for model '{}': "
                                "{} has more than one open dimension",
                                spec.name, card.info.name, takt::to_string(spec.shape)));
    }
    const std::size_t bytes_each = *others * element_bytes(spec.type);
    if (bytes_each > 0) *open = static_cast<std::int64_t>(input.bytes.size() / bytes_each);
  }
  if (signature.batch_max > 0) input.shape.insert(input.shape.begin(), 1);
  if (spec.type != DataType::bytes) return {};
  ApiResult<Slot> slot = room(sizeof(std::uint32_t) + input.bytes.size());
  if (!slot) return std::unexpected(std::move(slot).error());
  const auto used = put_string(
      slot->bytes(), 0, {reinterpret_cast<const char*>(input.bytes.data()), input.bytes.size()});
  input.bytes = slot->bytes().first(used.value_or(0));
  call.slots.push_back(std::move(*slot));
  return {};
}

// Fills `request` but for its model's answer. The call's slots go into it.
ApiResult<void> InferService::prepare(const ModelCard& card, InferCall& call,
                                      InferRequest& request) {
  if (call.raw) {
    if (auto completed = complete_raw(card, call); !completed) return completed;
  }
  auto inputs = order_inputs(card, call);
  if (!inputs) return std::unexpected(std::move(inputs).error());
  const std::vector<TensorSpec>& specs = card.info.signature.inputs;
  for (std::size_t i = 0; i < specs.size(); ++i) {
    if (auto fits = check_input(card, specs[i], *(*inputs)[i]); !fits) return fits;
  }
  const auto rows = count_rows(card, *inputs);
  if (!rows) return std::unexpected(rows.error());
  request.model = card.info.id;
  request.rows = *rows;
  request.priority = class_of(call.priority);
  request.deadline = deadline_of(call);
  // A critical one is decided on at once.
  request.more_come = call.more_come && request.priority != PriorityClass::critical;
  request.inputs.reserve(specs.size());
  for (const CallInput* input : *inputs) {
    std::span<const std::byte> bytes = input->bytes;
    if (input->shared) {
      ApiResult<Slot> slot = room(input->shared->bytes);
      if (!slot) return std::unexpected(std::move(slot).error());
      const std::span<std::byte> into = slot->bytes().first(input->shared->bytes);
      if (auto read = regions_.read(*input->shared, into); !read) return read;
      bytes = into;
      call.slots.push_back(std::move(*slot));
    }
    request.inputs.emplace_back(TensorView{input->type, input->shape, bytes});
  }
  request.holds = std::move(call.slots);
  return {};
}

InferTicket InferService::submit(InferCall call, Completion done) {
  const auto give_up = [&done](ApiError error) {
    done(std::unexpected(std::move(error)));
    return InferTicket{};
  };
  if (call.sequence) {
    return give_up({ApiCode::unimplemented,
                    "sequences are not supported: send each request on its own, without "
                    "sequence_id"});
  }
  ApiResult<ModelCardPtr> card = catalog_.find(call.model, call.version);
  if (!card) return give_up(std::move(card).error());
  InferRequest request;
  if (auto prepared = prepare(**card, call, request); !prepared) {
    return give_up(std::move(prepared).error());
  }
  ApiResult<std::vector<Wanted>> outputs = wanted_outputs(**card, call);
  if (!outputs) return give_up(std::move(outputs).error());
  const std::size_t in_flight_max = in_flight_max_of(request.priority);
  if (++in_flight_ > in_flight_max) {
    --in_flight_;
    return give_up(
        {ApiCode::resource_exhausted,
         fmt::format("{} requests are being answered, the most that this server allows "
                     "for class {} (server.in_flight_max {}); try again later",
                     in_flight_max, to_string(request.priority), options_.in_flight_max)});
  }
  Reply reply{std::move(*card), std::move(call.id), std::move(*outputs)};
  const RequestId id = client_.submit(
      std::move(request),
      [this, reply = std::move(reply), done = std::move(done)](Result<InferResult> result) mutable {
        --in_flight_;
        done(make_answer(std::move(reply), std::move(result), regions_));
      });
  return {client_, id};
}

}  // namespace takt::server
