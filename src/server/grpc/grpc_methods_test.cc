// SPDX-License-Identifier: Apache-2.0
// Every method but inferences, asked by gRPC's own client.
#include "server/grpc/grpc_server_fixture.h"

#include <fcntl.h>
#include <grpcpp/generic/generic_stub.h>
#include <sys/mman.h>
#include <unistd.h>

#include <future>
#include <thread>

namespace takt::server::rpc {
namespace {

class GrpcMethods : public ServedTest {
 protected:
  GrpcMethods() { start(); }

  // Calls a method of the stub.
  template <typename Request, typename Response>
  grpc::Status call(grpc::Status (inference::GRPCInferenceService::Stub::*method)(
                        grpc::ClientContext*, const Request&, Response*),
                    const Request& request, Response& response) {
    grpc::ClientContext context;
    return ((*stub).*method)(&context, request, &response);
  }
};

using Stub = inference::GRPCInferenceService::Stub;

TEST_F(GrpcMethods, TellLifeAndReadiness) {
  inference::ServerLiveResponse live;
  ASSERT_TRUE(call(&Stub::ServerLive, {}, live).ok());
  EXPECT_TRUE(live.live());
  inference::ServerReadyResponse ready;
  ASSERT_TRUE(call(&Stub::ServerReady, {}, ready).ok());
  EXPECT_TRUE(ready.ready());
  catalog.is_ready = false;
  ASSERT_TRUE(call(&Stub::ServerReady, {}, ready).ok());
  EXPECT_FALSE(ready.ready());
}

TEST_F(GrpcMethods, AnswerHealthChecksOfOrchestrators) {
  const auto health = grpc::health::v1::Health::NewStub(channel);
  const auto check = [&](const std::string& name, grpc::health::v1::HealthCheckResponse& response) {
    grpc::ClientContext context;
    grpc::health::v1::HealthCheckRequest request;
    request.set_service(name);
    return health->Check(&context, request, &response);
  };
  grpc::health::v1::HealthCheckResponse response;
  ASSERT_TRUE(check("", response).ok());
  EXPECT_EQ(response.status(), grpc::health::v1::HealthCheckResponse::SERVING);
  catalog.is_ready = false;
  ASSERT_TRUE(check("inference.GRPCInferenceService", response).ok());
  EXPECT_EQ(response.status(), grpc::health::v1::HealthCheckResponse::NOT_SERVING);
  EXPECT_EQ(check("other", response).error_code(), grpc::NOT_FOUND);
}

TEST_F(GrpcMethods, TellWhetherAModelIsReady) {
  inference::ModelReadyRequest request;
  request.set_name("echo");
  inference::ModelReadyResponse response;
  ASSERT_TRUE(call(&Stub::ModelReady, request, response).ok());
  EXPECT_TRUE(response.ready());
  request.set_name("other");
  ASSERT_TRUE(call(&Stub::ModelReady, request, response).ok());
  EXPECT_FALSE(response.ready());
  request.set_version("x");
  EXPECT_EQ(call(&Stub::ModelReady, request, response).error_code(), grpc::INVALID_ARGUMENT);
}

TEST_F(GrpcMethods, DescribeServerAndModels) {
  inference::ServerMetadataResponse whole;
  ASSERT_TRUE(call(&Stub::ServerMetadata, {}, whole).ok());
  EXPECT_EQ(whole.name(), "takt");
  EXPECT_EQ(whole.version(), "0.1");
  EXPECT_EQ(whole.extensions_size(), static_cast<int>(kExtensions.size()));

  inference::ModelMetadataRequest request;
  request.set_name("addsub");
  inference::ModelMetadataResponse model;
  ASSERT_TRUE(call(&Stub::ModelMetadata, request, model).ok());
  EXPECT_EQ(model.versions(0), "1");
  EXPECT_EQ(model.platform(), "simulated");
  ASSERT_EQ(model.inputs_size(), 2);
  EXPECT_EQ(model.inputs(1).name(), "INPUT1");
  EXPECT_EQ(model.inputs(1).datatype(), "INT32");
  ASSERT_EQ(model.inputs(1).shape_size(), 2) << "with the batch dimension";
  EXPECT_EQ(model.inputs(1).shape(0), -1);
  EXPECT_EQ(model.outputs_size(), 2);
  request.set_name("other");
  EXPECT_EQ(call(&Stub::ModelMetadata, request, model).error_code(), grpc::NOT_FOUND);
}

TEST_F(GrpcMethods, GiveAModelsConfiguration) {
  inference::ModelConfigRequest request;
  request.set_name("addsub");
  inference::ModelConfigResponse response;
  ASSERT_TRUE(call(&Stub::ModelConfig, request, response).ok());
  const inference::ModelConfig& config = response.config();
  EXPECT_EQ(config.name(), "addsub");
  EXPECT_EQ(config.backend(), "simulated");
  EXPECT_EQ(config.max_batch_size(), 8);
  EXPECT_EQ(config.version_policy().latest().num_versions(), 1U);
  ASSERT_EQ(config.input_size(), 2);
  EXPECT_EQ(config.input(0).data_type(), inference::TYPE_INT32);
  EXPECT_EQ(config.input(0).dims(0), 4);
  EXPECT_EQ(config.output(1).name(), "OUTPUT1");
}

TEST_F(GrpcMethods, GiveStatisticsOfOneModelOrAll) {
  inference::ModelStatisticsRequest request;
  inference::ModelStatisticsResponse response;
  ASSERT_TRUE(call(&Stub::ModelStatistics, request, response).ok());
  EXPECT_EQ(response.model_stats_size(), 2);
  request.set_name("echo");
  ASSERT_TRUE(call(&Stub::ModelStatistics, request, response).ok());
  ASSERT_EQ(response.model_stats_size(), 1);
  const inference::ModelStatistics& model = response.model_stats(0);
  EXPECT_EQ(model.version(), "1");
  EXPECT_EQ(model.last_inference(), 1700000000000U);
  EXPECT_EQ(model.inference_count(), 20U);
  EXPECT_EQ(model.execution_count(), 5U);
  EXPECT_EQ(model.inference_stats().success().ns(), 30'000U);
  EXPECT_EQ(model.inference_stats().fail().count(), 3U) << "refused and cancelled as well";
  EXPECT_EQ(model.inference_stats().fail().ns(), 7'000U);
  EXPECT_EQ(model.inference_stats().queue().ns(), 9'000U);
  EXPECT_EQ(model.batch_stats(0).batch_size(), 4U);
  EXPECT_EQ(model.batch_stats(0).compute_infer().ns(), 7U);
  request.set_name("other");
  EXPECT_EQ(call(&Stub::ModelStatistics, request, response).error_code(), grpc::NOT_FOUND);
}

TEST_F(GrpcMethods, ListTheRepository) {
  inference::RepositoryIndexRequest request;
  inference::RepositoryIndexResponse response;
  ASSERT_TRUE(call(&Stub::RepositoryIndex, request, response).ok());
  ASSERT_EQ(response.models_size(), 2);
  EXPECT_EQ(response.models(1).state(), "UNAVAILABLE");
  EXPECT_EQ(response.models(1).reason(), "no model.onnx?") << "not UTF-8 in a string field";
  request.set_ready(true);
  ASSERT_TRUE(call(&Stub::RepositoryIndex, request, response).ok());
  EXPECT_EQ(response.models_size(), 1);
  request.set_repository_name("other");
  EXPECT_EQ(call(&Stub::RepositoryIndex, request, response).error_code(), grpc::UNIMPLEMENTED);
}

TEST_F(GrpcMethods, LoadAndUnloadModels) {
  inference::RepositoryModelLoadRequest load;
  load.set_model_name("addsub");
  (*load.mutable_parameters())["config"].set_string_param("{}");
  (*load.mutable_parameters())["file:1/model.onnx"].set_bytes_param(std::string("\0\xff", 2));
  inference::RepositoryModelLoadResponse loaded;
  ASSERT_TRUE(call(&Stub::RepositoryModelLoad, load, loaded).ok());
  EXPECT_EQ(catalog.loaded.at("addsub").config_json, "{}");
  EXPECT_EQ(catalog.loaded.at("addsub").files.at("file:1/model.onnx"), std::string("\0\xff", 2));

  load.set_model_name("broken");
  EXPECT_EQ(call(&Stub::RepositoryModelLoad, load, loaded).error_message(), "no model.onnx");
  (*load.mutable_parameters())["config"].set_int64_param(1);
  EXPECT_EQ(call(&Stub::RepositoryModelLoad, load, loaded).error_code(), grpc::INVALID_ARGUMENT);
  load.clear_parameters();
  (*load.mutable_parameters())["confog"].set_string_param("{}");
  EXPECT_EQ(call(&Stub::RepositoryModelLoad, load, loaded).error_message(),
            "unrecognized load parameter 'confog'; expected config or file:...");

  inference::RepositoryModelUnloadRequest unload;
  unload.set_model_name("addsub");
  (*unload.mutable_parameters())["unload_dependents"].set_bool_param(true);
  inference::RepositoryModelUnloadResponse unloaded;
  ASSERT_TRUE(call(&Stub::RepositoryModelUnload, unload, unloaded).ok());
  EXPECT_EQ(catalog.unloaded, std::vector<std::string>{"addsub"});
}

TEST_F(GrpcMethods, AnswerOthersWhileAModelIsLoaded) {
  std::promise<void> may_end;
  std::promise<void> begun;
  catalog.on_load = [&, end = may_end.get_future().share()] {
    begun.set_value();
    end.wait();
  };
  const auto loading = std::async(std::launch::async, [this] {
    inference::RepositoryModelLoadRequest load;
    load.set_model_name("addsub");
    inference::RepositoryModelLoadResponse loaded;
    return call(&Stub::RepositoryModelLoad, load, loaded).ok();
  });
  ASSERT_EQ(begun.get_future().wait_for(kWaitMax), std::future_status::ready);
  for (int i = 0; i < 50; ++i) {
    inference::ModelInferResponse response;
    EXPECT_TRUE(infer(echo("abc"), response).ok());
  }
  may_end.set_value();
  loading.wait();
}

TEST_F(GrpcMethods, KeepRegionsOfSharedMemory) {
  const std::string key = "/takt-grpc-test-" + std::to_string(::getpid());
  const int object = ::shm_open(key.c_str(), O_RDWR | O_CREAT, 0600);
  ASSERT_GE(object, 0);
  ASSERT_EQ(::ftruncate(object, 4096), 0);
  inference::SystemSharedMemoryRegisterRequest add;
  add.set_name("in");
  add.set_key(key);
  add.set_offset(64);
  add.set_byte_size(1024);
  inference::SystemSharedMemoryRegisterResponse added;
  ASSERT_TRUE(call(&Stub::SystemSharedMemoryRegister, add, added).ok());
  EXPECT_EQ(call(&Stub::SystemSharedMemoryRegister, add, added).error_code(), grpc::ALREADY_EXISTS);

  inference::SystemSharedMemoryStatusResponse status;
  ASSERT_TRUE(call(&Stub::SystemSharedMemoryStatus, {}, status).ok());
  EXPECT_EQ(status.regions().at("in").key(), key);
  EXPECT_EQ(status.regions().at("in").offset(), 64U);
  EXPECT_EQ(status.regions().at("in").byte_size(), 1024U);
  inference::SystemSharedMemoryStatusRequest other;
  other.set_name("other");
  EXPECT_EQ(call(&Stub::SystemSharedMemoryStatus, other, status).error_code(), grpc::NOT_FOUND);

  inference::SystemSharedMemoryUnregisterResponse removed;
  ASSERT_TRUE(call(&Stub::SystemSharedMemoryUnregister, {}, removed).ok());
  ASSERT_TRUE(call(&Stub::SystemSharedMemoryStatus, {}, status).ok());
  EXPECT_EQ(status.regions_size(), 0);
  ::close(object);
  ::shm_unlink(key.c_str());
}

TEST_F(GrpcMethods, SayThatThereIsNoCudaMemory) {
  inference::CudaSharedMemoryStatusResponse status;
  ASSERT_TRUE(call(&Stub::CudaSharedMemoryStatus, {}, status).ok());
  EXPECT_EQ(status.regions_size(), 0);
  inference::CudaSharedMemoryRegisterRequest add;
  add.set_name("gpu");
  inference::CudaSharedMemoryRegisterResponse added;
  const grpc::Status refused = call(&Stub::CudaSharedMemoryRegister, add, added);
  EXPECT_EQ(refused.error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_NE(refused.error_message().find("use system shared memory"), std::string::npos);
  inference::CudaSharedMemoryUnregisterResponse removed;
  EXPECT_TRUE(call(&Stub::CudaSharedMemoryUnregister, {}, removed).ok());
}

TEST_F(GrpcMethods, ChangeTraceSettings) {
  inference::TraceSettingRequest request;
  request.set_model_name("echo");
  (*request.mutable_settings())["trace_level"].add_value("TIMESTAMPS");
  (*request.mutable_settings())["trace_level"].add_value("TENSORS");
  inference::TraceSettingResponse response;
  ASSERT_TRUE(call(&Stub::TraceSetting, request, response).ok());
  EXPECT_EQ(response.settings().at("trace_level").value(1), "TENSORS");
  EXPECT_EQ(response.settings().at("trace_rate").value(0), "1000");
  EXPECT_EQ(trace.values().at("trace_level").front(), "OFF") << "of that model alone";
  (*request.mutable_settings())["trace_file"].add_value("/etc/passwd");
  EXPECT_EQ(call(&Stub::TraceSetting, request, response).error_code(), grpc::INVALID_ARGUMENT);
  request.clear_settings();
  request.set_model_name("other");
  EXPECT_EQ(call(&Stub::TraceSetting, request, response).error_code(), grpc::NOT_FOUND);
}

TEST_F(GrpcMethods, ChangeLogSettings) {
  inference::LogSettingsRequest request;
  (*request.mutable_settings())["log_info"].set_bool_param(false);
  (*request.mutable_settings())["log_verbose_level"].set_uint32_param(2);
  (*request.mutable_settings())["log_format"].set_string_param("ISO8601");
  inference::LogSettingsResponse response;
  ASSERT_TRUE(call(&Stub::LogSettings, request, response).ok());
  EXPECT_FALSE(response.settings().at("log_info").bool_param());
  EXPECT_EQ(response.settings().at("log_verbose_level").uint32_param(), 2U);
  EXPECT_EQ(response.settings().at("log_format").string_param(), "ISO8601");
  EXPECT_EQ(log.values().at("log_info"), LogValue(false));
  (*request.mutable_settings())["log_error"];
  EXPECT_EQ(call(&Stub::LogSettings, request, response).error_message(),
            "setting 'log_error' has no value");
}

class GrpcSilence : public ServedTest {};

// A call is counted from its headers on; its message has a time.
TEST_F(GrpcSilence, ACallWithoutAMessageIsGivenUp) {
  GrpcOptions options;
  options.calls_max = 1;
  options.message_timeout = std::chrono::milliseconds(1);
  start(std::move(options));
  grpc::GenericStub generic(channel);
  grpc::CompletionQueue queue;
  grpc::ClientContext context;
  const auto silent =
      generic.PrepareCall(&context, "/inference.GRPCInferenceService/ServerLive", &queue);
  int started = 0;
  int finished = 0;
  grpc::Status status;
  silent->StartCall(&started);
  void* tag = nullptr;
  bool ok = false;
  ASSERT_TRUE(queue.Next(&tag, &ok));
  ASSERT_EQ(tag, &started);
  silent->Finish(&status, &finished);
  ASSERT_TRUE(queue.Next(&tag, &ok));
  EXPECT_EQ(tag, &finished);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::CANCELLED);
  queue.Shutdown();
  // Its place is free again.
  const auto served = [this] {
    grpc::ClientContext next;
    inference::ServerLiveResponse response;
    return stub->ServerLive(&next, {}, &response).ok();
  };
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (!served() && std::chrono::steady_clock::now() < end) std::this_thread::yield();
  EXPECT_TRUE(served());
}

}  // namespace
}  // namespace takt::server::rpc
