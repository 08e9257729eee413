// SPDX-License-Identifier: Apache-2.0
// For tests: a gRPC server on a free port in front of a fake engine, and gRPC's own client.
// Thread-safe: no.
// Owns: the server and all that it needs.
#pragma once

#include "server/fake_engine_fixture.h"
#include "server/grpc/grpc_server.h"
#include "server/grpc/health.grpc.pb.h"
#include "server/grpc/inference.grpc.pb.h"
#include "server/grpc/wire_fixture.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

namespace takt::server::rpc {

class ServedTest : public ::testing::Test {
 public:
  ~ServedTest() override {
    if (server) server->stop(Duration{});
    EXPECT_EQ(inputs->in_use(), 0U) << "a slot of an input was leaked";
    EXPECT_EQ(engine.outputs->in_use(), 0U) << "a slot of an output was leaked";
    EXPECT_EQ(service.in_flight(), 0U);
  }

 protected:
  void start(GrpcOptions options = {}) {
    options.port = 0;
    auto started = GrpcServer::start(std::move(options), service,
                                     {{"takt", "0.1"}, catalog, regions, trace, log}, clock);
    ASSERT_TRUE(started.has_value()) << started.error().message;
    server = std::move(*started);
    connect();
  }

  void connect(const std::shared_ptr<grpc::ChannelCredentials>& credentials =
                   grpc::InsecureChannelCredentials()) {
    channel = grpc::CreateCustomChannel("ipv4:127.0.0.1:" + std::to_string(server->port()),
                                        credentials, channel_arguments());
    stub = inference::GRPCInferenceService::NewStub(channel);
  }

  // A channel of its own each time: none is shared with another test's server on the same port.
  static grpc::ChannelArguments channel_arguments() {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    arguments.SetMaxReceiveMessageSize(-1);
    arguments.SetSslTargetNameOverride("localhost");
    return arguments;
  }

  static inference::ModelInferRequest echo(const std::string& bytes, const std::string& id = "") {
    inference::ModelInferRequest request;
    request.set_model_name("echo");
    request.set_id(id);
    add_raw_input(request, "x", "UINT8", {static_cast<std::int64_t>(bytes.size())}, bytes);
    return request;
  }

  static inference::ModelInferRequest addsub(std::int32_t first, std::int32_t second) {
    inference::ModelInferRequest request;
    request.set_model_name("addsub");
    add_raw_input(request, "INPUT0", "INT32", {1, 4}, raw(std::vector<std::int32_t>(4, first)));
    add_raw_input(request, "INPUT1", "INT32", {1, 4}, raw(std::vector<std::int32_t>(4, second)));
    return request;
  }

  grpc::Status infer(const inference::ModelInferRequest& request,
                     inference::ModelInferResponse& response) {
    grpc::ClientContext context;
    return stub->ModelInfer(&context, request, &response);
  }
  // The error of a request that must fail.
  grpc::Status refusal(const inference::ModelInferRequest& request) {
    inference::ModelInferResponse response;
    return infer(request, response);
  }

  const SystemClock clock;
  FakeEngine engine;
  FakeCatalog catalog;
  SharedRegions regions;
  TraceSettings trace;
  LogSettings log;
  std::shared_ptr<SlotPool> inputs =
      SlotPool::create("inputs", std::array{SizeClass{4 << 10, 128}, SizeClass{2 << 20, 128}})
          .value();
  InferService service{engine, catalog, regions, inputs, clock, {}};
  std::unique_ptr<GrpcServer> server;
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<inference::GRPCInferenceService::Stub> stub;
};

}  // namespace takt::server::rpc
