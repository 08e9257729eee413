// SPDX-License-Identifier: Apache-2.0
// Inference requests as a gRPC client may have made them up.
#include "call_check.h"
#include "server/grpc/wire_fixture.h"
#include "target.h"

#include <cstdint>

namespace takt::fuzz {
namespace {

using inference::ModelInferRequest;
using server::ApiCode;
using server::ApiResult;
using server::InferCall;
using server::rpc::add_input;
using server::rpc::add_raw_input;
using server::rpc::CallReader;
using server::rpc::same;

// What the first bytes of an input say: where the message is cut into pieces.
constexpr std::size_t kCuts = 3;

CallReader& reader() {
  static CallReader one;
  return one;
}

void check(const InferCall& call) {
  check_call(call);
  require(call.id.size() <= server::rpc::kTextBytesMax, "texts are bounded");
  require(call.slots.size() <= 1, "one slot holds all inputs");
}

void run(std::span<const std::byte> bytes) {
  Input input(bytes);
  std::vector<std::size_t> cuts;
  for (std::size_t i = 0; i < kCuts; ++i) cuts.push_back(input.take<std::uint8_t>());
  const std::string message(reinterpret_cast<const char*>(input.rest().data()),
                            input.rest().size());
  {
    const ApiResult<InferCall> whole = reader().read(message);
    const ApiResult<InferCall> split = reader().read(message, cuts);
    require(whole.has_value() == split.has_value(), "a cut changes nothing");
    if (whole) {
      check(*whole);
      require(same(*whole, *split), "a cut changes nothing");
      ModelInferRequest parsed;
      if (parsed.ParseFromString(message)) {
        const ApiResult<InferCall> again = reader().read(parsed);
        require(again && same(*whole, *again), "protobuf reads the same");
      }
    } else {
      require(whole.error().code == ApiCode::invalid_argument ||
                  whole.error().code == ApiCode::payload_too_large,
              "errors are the client's");
      require(whole.error().message == split.error().message, "a cut changes nothing");
    }
  }
  require(reader().pool->in_use() == 0, "no slot is leaked");
}

Seed seed(const std::string& name, const ModelInferRequest& request) {
  const std::string message = request.SerializeAsString();
  Script script;
  for (std::size_t i = 0; i < kCuts; ++i) script.put(static_cast<std::uint8_t>(7 * i));
  return {name, script.put_bytes(server::rpc::bytes_of(message)).bytes()};
}

// One entry a map: the order of more is not the same in every build.
std::vector<Seed> seeds() {
  ModelInferRequest request;
  request.set_model_name("defects");
  request.set_model_version("3");
  request.set_id("part-17");
  ModelInferRequest raw = request;
  add_raw_input(raw, "image", "UINT8", {1, 2, 3}, "abcdef");
  add_raw_input(raw, "words", "BYTES", {1}, std::string("\2\0\0\0ab", 6));
  (*raw.mutable_parameters())["timeout"].set_int64_param(5000);
  raw.add_outputs()->set_name("scores");
  (*raw.mutable_outputs(0)->mutable_parameters())["classification"].set_int64_param(3);

  ModelInferRequest typed = request;
  (*typed.mutable_parameters())["priority"].set_uint64_param(2);
  add_input(typed, "a", "INT8", {2}).mutable_contents()->add_int_contents(-128);
  typed.mutable_inputs(0)->mutable_contents()->add_int_contents(127);
  add_input(typed, "b", "FP32", {1}).mutable_contents()->add_fp32_contents(0.5F);
  add_input(typed, "c", "BOOL", {1, 1}).mutable_contents()->add_bool_contents(true);
  add_input(typed, "d", "BYTES", {2}).mutable_contents()->add_bytes_contents("ab");
  typed.mutable_inputs(3)->mutable_contents()->add_bytes_contents("");
  add_input(typed, "e", "UINT64", {1}).mutable_contents()->add_uint64_contents(~std::uint64_t{0});

  ModelInferRequest sequence = request;
  (*sequence.mutable_parameters())["sequence_id"].set_string_param("line-1");
  add_input(sequence, "x", "FP64", {0});
  return {seed("raw", raw), seed("typed", typed), seed("sequence", sequence)};
}

}  // namespace

Target infer_request() {
  return {"infer_request", &run, &seeds};
}

}  // namespace takt::fuzz
