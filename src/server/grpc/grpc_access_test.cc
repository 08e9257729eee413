// SPDX-License-Identifier: Apache-2.0
// Keys and their roles, asked by gRPC's own client.
#include "server/access.h"
#include "server/certificate_fixture.h"
#include "server/grpc/grpc_server_fixture.h"
#include "server/grpc/methods.h"

#include <grpcpp/generic/generic_stub.h>

namespace takt::server::rpc {
namespace {

class GrpcAccess : public ServedTest {
 protected:
  void start_with_keys(std::optional<TlsOptions> tls = std::nullopt) {
    start({.tls = std::move(tls),
           .access = [this](std::string_view method, std::string_view authorization) {
             return access.check(need_of(method), authorization);
           }});
  }

  // An empty message to any method.
  grpc::Status call(const std::string& method, const std::string& key) {
    grpc::GenericStub generic(channel);
    grpc::ClientContext context;
    if (!key.empty()) context.AddMetadata("authorization", "Bearer " + key);
    grpc::CompletionQueue queue;
    grpc::ByteBuffer request(nullptr, 0);
    grpc::ByteBuffer response;
    const auto reader = generic.PrepareUnaryCall(&context, method, request, &queue);
    reader->StartCall();
    grpc::Status status;
    reader->Finish(&response, &status, this);
    void* tag = nullptr;
    bool ok = false;
    queue.Next(&tag, &ok);
    queue.Shutdown();
    while (queue.Next(&tag, &ok)) {
    }
    return status;
  }

  grpc::Status stream(const std::string& key) {
    grpc::ClientContext context;
    if (!key.empty()) context.AddMetadata("authorization", "Bearer " + key);
    const auto opened = stub->ModelStreamInfer(&context);
    opened->Write(echo("abc"));
    opened->WritesDone();
    inference::ModelStreamInferResponse response;
    while (opened->Read(&response)) {
    }
    return opened->Finish();
  }

  AccessControl access{{{"i", hash_key("infer"), {Role::infer}},
                        {"r", hash_key("read"), {Role::read}},
                        {"o", hash_key("operate"), {Role::operate}}}};
};

TEST_F(GrpcAccess, EachMethodAsksForItsRole) {
  start_with_keys();
  struct Row {
    const char* method;
    const char* allowed;  // the keys
  };
  const std::string prefix = "/inference.GRPCInferenceService/";
  for (const Row& row : std::initializer_list<Row>{{"ServerLive", "none infer read operate"},
                                                   {"ServerReady", "none infer read operate"},
                                                   {"ServerMetadata", "infer read operate"},
                                                   {"ModelReady", "infer read operate"},
                                                   {"ModelMetadata", "infer read operate"},
                                                   {"ModelConfig", "infer read operate"},
                                                   {"ModelStatistics", "infer read operate"},
                                                   {"ModelInfer", "infer"},
                                                   {"RepositoryIndex", "read operate"},
                                                   {"RepositoryModelLoad", "operate"},
                                                   {"RepositoryModelUnload", "operate"},
                                                   {"SystemSharedMemoryStatus", "read operate"},
                                                   {"SystemSharedMemoryRegister", "operate"},
                                                   {"SystemSharedMemoryUnregister", "operate"},
                                                   {"CudaSharedMemoryStatus", "read operate"},
                                                   {"CudaSharedMemoryRegister", "operate"},
                                                   {"CudaSharedMemoryUnregister", "operate"},
                                                   {"TraceSetting", "operate"},
                                                   {"LogSettings", "operate"}}) {
    const std::string_view allowed = row.allowed;
    for (const std::string key : {"none", "wrong", "infer", "read", "operate"}) {
      const grpc::Status status = call(prefix + row.method, key == "none" ? "" : key);
      const bool denied = status.error_code() == grpc::UNAUTHENTICATED ||
                          status.error_code() == grpc::PERMISSION_DENIED;
      const bool known = key != "none" && key != "wrong";
      const bool good = allowed.contains(key) || allowed.contains("none");
      EXPECT_EQ(denied, !good) << row.method << " by " << key << ": " << status.error_message();
      if (!good) {
        EXPECT_EQ(status.error_code(), known ? grpc::PERMISSION_DENIED : grpc::UNAUTHENTICATED)
            << row.method << " by " << key;
      }
    }
  }
  EXPECT_TRUE(call("/grpc.health.v1.Health/Check", "").ok());
}

// A method that is added without a word about it must not be open.
TEST_F(GrpcAccess, WhatIsNotKnownIsForOperators) {
  EXPECT_EQ(need_of("inference.GRPCInferenceService/Other"), Need::operate);
  EXPECT_EQ(need_of("other.Service/ModelInfer"), Need::operate);
  EXPECT_EQ(need_of(""), Need::operate);
}

TEST_F(GrpcAccess, AStreamAsksOnceForAll) {
  start_with_keys();
  EXPECT_EQ(stream("").error_code(), grpc::UNAUTHENTICATED);
  EXPECT_EQ(stream("wrong").error_code(), grpc::UNAUTHENTICATED);
  const grpc::Status read = stream("read");
  EXPECT_EQ(read.error_code(), grpc::PERMISSION_DENIED);
  EXPECT_EQ(read.error_message(), "the key 'r' may not do this; it needs the role infer");
  EXPECT_TRUE(stream("infer").ok());
  EXPECT_EQ(access.denials(), (DenialCounts{1, 1, 1, 0, 0}));
}

TEST_F(GrpcAccess, KeysComeThroughTls) {
  const Certificate own("localhost");
  start_with_keys(TlsOptions{own.certificate, own.key, ""});
  connect(grpc::SslCredentials({own.certificate, "", ""}));
  EXPECT_EQ(call("/inference.GRPCInferenceService/ModelInfer", "").error_code(),
            grpc::UNAUTHENTICATED);
  EXPECT_TRUE(stream("infer").ok());
}

}  // namespace
}  // namespace takt::server::rpc
