// SPDX-License-Identifier: Apache-2.0
#include "ipc/worker_protocol.h"

#include <gtest/gtest.h>

#include <array>
#include <string>
#include <string_view>
#include <utility>

namespace takt::ipc {
namespace {

TEST(WorkerProtocol, ALoadRequestArrivesAsItWasSent) {
  LoadModel sent;
  sent.model = {.repository = "/models", .model = "m", .version = 3};
  sent.backend = "openvino";
  ImagePreprocess image;
  image.mean = {1, 2, 3};
  sent.inputs.push_back({.name = "images", .image = image});
  sent.inputs.push_back({.name = "extra", .image = {}});
  sent.device = "cuda:1";
  sent.may_tune = false;
  sent.cpus = {0, 1};
  sent.numa_node = 1;
  sent.spin = Duration(1500);
  sent.confinement = {.sandbox = true, .memory_bytes_max = 1 << 30};
  const auto parsed = parse_request(to_text(WorkerRequest(sent)));
  ASSERT_TRUE(parsed) << parsed.error().message;
  const auto& got = std::get<LoadModel>(*parsed);
  EXPECT_EQ(got.model.version, 3);
  ASSERT_EQ(got.inputs.size(), 2U);
  EXPECT_EQ(got.inputs[0].image->mean, (std::vector<float>{1, 2, 3}));
  EXPECT_FALSE(got.inputs[1].image);
  EXPECT_EQ(got.device, "cuda:1");
  EXPECT_FALSE(got.may_tune);
  EXPECT_EQ(got.cpus, sent.cpus);
  EXPECT_EQ(got.numa_node, sent.numa_node);
  EXPECT_EQ(got.spin, sent.spin);
  EXPECT_TRUE(got.confinement.sandbox);
}

TEST(WorkerProtocol, RepliesArriveAsTheyWereSent) {
  ModelLoaded loaded;
  loaded.signature.inputs.push_back({.name = "x", .type = DataType::uint8, .shape = {-1, 4}});
  loaded.signature.outputs.push_back({.name = "y", .type = DataType::fp32, .shape = {4}});
  loaded.signature.batch_max = 8;
  loaded.output_bytes_max = {16};
  loaded.profile.push_back({.batch = 1, .p50 = Duration(5), .p99 = Duration(9)});
  loaded.memory = {.weights_bytes = 1000, .instance_bytes = 20};
  loaded.notes = {"the plan can't be kept"};
  const auto parsed = parse_reply(to_text(WorkerReply(loaded)));
  ASSERT_TRUE(parsed) << parsed.error().message;
  const auto& got = std::get<ModelLoaded>(*parsed);
  EXPECT_EQ(got.signature.inputs[0].shape, (Shape{-1, 4}));
  EXPECT_EQ(got.signature.inputs[0].type, DataType::uint8);
  EXPECT_EQ(got.profile[0].p99, Duration(9));
  EXPECT_EQ(got.memory.weights_bytes, 1000U);
  EXPECT_EQ(got.memory.instance_bytes, 20U);
  EXPECT_EQ(got.notes, loaded.notes);

  const auto loading = parse_reply(to_text(WorkerReply(ModelLoading{"tuning", 3, 7})));
  ASSERT_TRUE(loading) << loading.error().message;
  EXPECT_EQ(std::get<ModelLoading>(*loading).stage, "tuning");
  EXPECT_EQ(std::get<ModelLoading>(*loading).done, 3);
  EXPECT_EQ(std::get<ModelLoading>(*loading).total, 7);
  EXPECT_FALSE(parse_reply(to_text(WorkerReply(ModelLoading{"tuning", 8, 7}))));
  EXPECT_FALSE(parse_reply(to_text(WorkerReply(ModelLoading{"tuning", -1, 7}))));

  const WorkerReply failure = Error{ErrorKind::out_of_memory, "caf\xe9"};
  const auto error = parse_reply(to_text(failure));
  ASSERT_TRUE(error);
  EXPECT_EQ(std::get<Error>(*error).kind, ErrorKind::out_of_memory);
}

TEST(WorkerProtocol, WhatIsNoMessageIsAnError) {
  for (const char* text : {"", "{", "[]", "{\"is\":99,\"with\":{}}", "{\"is\":1,\"with\":{}}",
                           "{\"is\":0,\"with\":{\"kind\":200,\"message\":\"\"}}"}) {
    EXPECT_FALSE(parse_reply(text)) << text;
  }
}

// {"is":2} with one field changed: what a worker of the same build never says.
std::string loaded_with(const std::string& was, const std::string& becomes) {
  ModelLoaded loaded;
  loaded.signature.inputs.push_back({.name = "x", .type = DataType::uint8, .shape = {7, 4}});
  loaded.signature.outputs.push_back({.name = "y", .type = DataType::fp32, .shape = {3}});
  loaded.signature.batch_max = 8;
  loaded.output_bytes_max = {16};
  loaded.profile.push_back({.batch = 2, .p50 = Duration(5), .p99 = Duration(9)});
  std::string text = to_text(WorkerReply(loaded));
  const std::size_t at = text.find(was);
  EXPECT_NE(at, std::string::npos) << was << " in " << text;
  return at == std::string::npos ? text : text.replace(at, was.size(), becomes);
}

TEST(WorkerProtocol, WhatCannotBeTrueOfAModelIsAnError) {
  ASSERT_TRUE(parse_reply(loaded_with("\"p50\":5", "\"p50\":6")));
  const std::array<std::pair<const char*, const char*>, 17> lies{{
      {"\"type\":1}", "\"type\":14}"},
      {"\"type\":1}", "\"type\":256}"},
      {"\"type\":1}", "\"type\":-1}"},
      {"\"shape\":[7,4]", "\"shape\":[-2,4]"},
      {"\"shape\":[7,4]", "\"shape\":[7,1e30]"},
      {"\"batch_max\":8", "\"batch_max\":-1"},
      {"\"batch_max\":8", "\"batch_max\":4294967296"},
      {"\"batch_max\":8", "\"batch_max\":1e30"},
      {"\"output_bytes_max\":[16]", "\"output_bytes_max\":[]"},
      {"\"output_bytes_max\":[16]", "\"output_bytes_max\":[-1]"},
      {"\"profile\":[{\"batch\":2", "\"profile\":[{\"batch\":0"},
      {"\"p50\":5", "\"p50\":-5"},
      {"\"p99\":9", "\"p99\":9223372036854775807"},
      {"\"p99\":9", "\"p99\":0.5"},
      {"\"weights_bytes\":0", "\"weights_bytes\":-1"},
      {"\"instance_bytes\":0", "\"instance_bytes\":18446744073709551615"},
      {"{\"is\":2", "{\"is\":2.5"},
  }};
  for (const auto& [was, becomes] : lies) {
    const auto parsed = parse_reply(loaded_with(was, becomes));
    ASSERT_FALSE(parsed) << becomes;
    EXPECT_EQ(parsed.error().kind, ErrorKind::invalid_input) << becomes;
  }
}

TEST(WorkerProtocol, UnknownWordsOfALoadRequestAreAnError) {
  LoadModel load;
  load.inputs.push_back({.name = "x", .image = ImagePreprocess{}});
  const std::string text = to_text(WorkerRequest(load));
  ASSERT_TRUE(parse_request(text));
  for (const auto& [was, becomes] :
       {std::pair{"\"color\":0", "\"color\":3"}, std::pair{"\"fit\":1", "\"fit\":2"},
        std::pair{"\"pad_value\":114", "\"pad_value\":256"}}) {
    std::string changed = text;
    const std::size_t at = changed.find(was);
    ASSERT_NE(at, std::string::npos) << text;
    changed.replace(at, std::string_view(was).size(), becomes);
    EXPECT_FALSE(parse_request(changed)) << becomes;
  }
}

TEST(WorkerProtocol, AMessageThatNestsWithoutEndIsAnError) {
  EXPECT_FALSE(parse_reply("{\"is\":3,\"with\":" + std::string(30'000, '[') +
                           std::string(30'000, ']') + "}"));
}

}  // namespace
}  // namespace takt::ipc
