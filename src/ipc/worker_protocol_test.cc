// SPDX-License-Identifier: Apache-2.0
#include "ipc/worker_protocol.h"

#include <gtest/gtest.h>

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
  EXPECT_EQ(got.cpus, sent.cpus);
  EXPECT_EQ(got.numa_node, sent.numa_node);
  EXPECT_EQ(got.spin, sent.spin);
  EXPECT_TRUE(got.confinement.sandbox);
}

TEST(WorkerProtocol, RepliesArriveAsTheyWereSent) {
  ModelLoaded loaded;
  loaded.signature.inputs.push_back({.name = "x", .type = DataType::uint8, .shape = {-1, 4}});
  loaded.signature.batch_max = 8;
  loaded.output_bytes_max = {16};
  loaded.profile.push_back({.batch = 1, .p50 = Duration(5), .p99 = Duration(9)});
  const auto parsed = parse_reply(to_text(WorkerReply(loaded)));
  ASSERT_TRUE(parsed) << parsed.error().message;
  const auto& got = std::get<ModelLoaded>(*parsed);
  EXPECT_EQ(got.signature.inputs[0].shape, (Shape{-1, 4}));
  EXPECT_EQ(got.signature.inputs[0].type, DataType::uint8);
  EXPECT_EQ(got.profile[0].p99, Duration(9));

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

}  // namespace
}  // namespace takt::ipc
