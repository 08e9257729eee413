// SPDX-License-Identifier: Apache-2.0
// Inferences one by one, and what bounds and protects the server.
#include "server/certificate_fixture.h"
#include "server/grpc/grpc_server_fixture.h"

#include <fcntl.h>
#include <grpcpp/generic/generic_stub.h>
#include <sys/mman.h>
#include <unistd.h>

#include <deque>
#include <future>
#include <thread>

namespace takt::server::rpc {
namespace {

using Numbers = std::vector<std::int32_t>;

class GrpcInfer : public ServedTest {
 protected:
  // Sends bytes as a message that may be none.
  grpc::Status send_bytes(const std::string& method, const std::string& bytes) {
    grpc::GenericStub generic(channel);
    grpc::CompletionQueue queue;
    grpc::ClientContext context;
    const grpc::Slice slice(bytes);
    const grpc::ByteBuffer request(&slice, 1);
    const auto call = generic.PrepareUnaryCall(&context, method, request, &queue);
    call->StartCall();
    grpc::ByteBuffer response;
    grpc::Status status;
    call->Finish(&response, &status, nullptr);
    void* tag = nullptr;
    bool ok = false;
    queue.Next(&tag, &ok);
    return status;
  }
};

constexpr const char* kModelInfer = "/inference.GRPCInferenceService/ModelInfer";

TEST_F(GrpcInfer, AnswersWhatTheModelMakesOfTheInputs) {
  start();
  inference::ModelInferRequest request = addsub(7, 2);
  request.set_id("part-17");
  inference::ModelInferResponse response;
  const grpc::Status status = infer(request, response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.model_name(), "addsub");
  EXPECT_EQ(response.model_version(), "1");
  EXPECT_EQ(response.id(), "part-17");
  ASSERT_EQ(response.outputs_size(), 2);
  EXPECT_EQ(response.outputs(1).name(), "OUTPUT1");
  EXPECT_EQ(response.raw_output_contents(0), raw(Numbers(4, 9)));
  EXPECT_EQ(response.raw_output_contents(1), raw(Numbers(4, 5)));
}

// A client with a connection of its own, whose request lies in the server's socket once send() returns.
class SingleClient {
 public:
  explicit SingleClient(std::shared_ptr<grpc::Channel> channel) : generic_(std::move(channel)) {}

  void send(const inference::ModelInferRequest& request) {
    const grpc::Slice slice(request.SerializeAsString());
    call_ = generic_.PrepareCall(&context_, kModelInfer, &queue_);
    call_->StartCall(nullptr);
    EXPECT_TRUE(ended());
    call_->Write(grpc::ByteBuffer(&slice, 1), nullptr);
    EXPECT_TRUE(ended());
  }

  grpc::Status answer() {
    grpc::ByteBuffer response;
    call_->Read(&response, nullptr);
    EXPECT_TRUE(ended());
    grpc::Status status;
    call_->Finish(&status, nullptr);
    EXPECT_TRUE(ended());
    return status;
  }

 private:
  bool ended() {
    void* tag = nullptr;
    bool ok = false;
    const auto until = std::chrono::system_clock::now() + kWaitMax;
    return queue_.AsyncNext(&tag, &ok, until) == grpc::CompletionQueue::GOT_EVENT && ok;
  }

  grpc::GenericStub generic_;
  grpc::ClientContext context_;
  grpc::CompletionQueue queue_;
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> call_;
};

// gRPC looks at one socket at a time; each request that was decided on alone cost twice as much. A round whose
// sockets hold news of gRPC's own besides, pings and the like, is decided on in several parts: not all rounds are.
TEST_F(GrpcInfer, RequestsThatHaveComeOnSeveralConnectionsAreDecidedOnTogether) {
  constexpr std::size_t kClients = 6;
  constexpr int kRoundsMax = 50;
  start();
  std::vector<std::shared_ptr<grpc::Channel>> channels;
  for (std::size_t i = 0; i < kClients; ++i) {
    connect();
    ASSERT_TRUE(refusal(echo("connected")).ok());
    channels.push_back(channel);
  }
  bool together = false;
  for (int round = 0; round < kRoundsMax && !together; ++round) {
    const std::size_t submitted = engine.submitted();
    std::deque<SingleClient> clients(channels.begin(), channels.end());
    std::promise<void> gate;
    engine.block(gate.get_future().share());
    clients.front().send(echo("first"));
    ASSERT_TRUE(engine.wait_for(submitted + 1));  // the server's thread waits in it
    const std::size_t flushes_before = engine.flushes();
    for (std::size_t i = 1; i < kClients; ++i) clients[i].send(echo("next"));
    gate.set_value();
    ASSERT_TRUE(engine.wait_for(submitted + kClients));
    for (SingleClient& client : clients) EXPECT_TRUE(client.answer().ok());
    together = engine.submitted_at_flush(flushes_before + 1) == submitted + kClients;
  }
  EXPECT_TRUE(together);
}

TEST_F(GrpcInfer, TakesContentsByTypeAndGivesTheOutputsAskedFor) {
  start();
  inference::ModelInferRequest request;
  request.set_model_name("addsub");
  for (const char* name : {"INPUT0", "INPUT1"}) {
    auto* contents = add_input(request, name, "INT32", {1, 4}).mutable_contents();
    for (int i = 0; i < 4; ++i) contents->add_int_contents(-i);
  }
  request.add_outputs()->set_name("OUTPUT0");
  inference::ModelInferResponse response;
  ASSERT_TRUE(infer(request, response).ok());
  ASSERT_EQ(response.outputs_size(), 1);
  EXPECT_EQ(response.raw_output_contents(0), raw(Numbers{0, -2, -4, -6}));
}

// Larger than a frame of HTTP/2, than what one read takes, and than a copied output.
TEST_F(GrpcInfer, BringsLargeTensorsThereAndBack) {
  start();
  std::string bytes(1'000'000, '\0');
  std::mt19937 random(20240611);
  std::ranges::generate(bytes, [&] { return static_cast<char>(random()); });
  std::vector<std::future<std::string>> answers;
  answers.reserve(8);
  for (int i = 0; i < 8; ++i) {
    answers.push_back(std::async(std::launch::async, [this, &bytes] {
      inference::ModelInferResponse response;
      return infer(echo(bytes), response).ok() ? response.raw_output_contents(0) : "";
    }));
  }
  for (auto& answer : answers) EXPECT_TRUE(answer.get() == bytes);
}

TEST_F(GrpcInfer, TypesItsErrors) {
  start();
  inference::ModelInferRequest request = echo("abc");
  request.set_model_name("other");
  EXPECT_EQ(refusal(request).error_code(), grpc::NOT_FOUND);
  request = echo("abc");
  request.mutable_inputs(0)->set_shape(0, 4);
  EXPECT_EQ(refusal(request).error_code(), grpc::INVALID_ARGUMENT);
  request = echo("abc");
  request.add_raw_input_contents("d");
  EXPECT_EQ(refusal(request).error_message(),
            "expected 1 raw input contents, one for each input outside of shared memory, got 2");
  request = echo("abc");
  (*request.mutable_parameters())["sequence_id"].set_int64_param(5);
  EXPECT_EQ(refusal(request).error_code(), grpc::UNIMPLEMENTED);
  request = echo("abc");
  put_in_region(*request.mutable_inputs(0)->mutable_parameters(), "none", 3, 0);
  request.clear_raw_input_contents();
  EXPECT_EQ(refusal(request).error_code(), grpc::INVALID_ARGUMENT);
}

TEST_F(GrpcInfer, PassesOnTheEnginesErrors) {
  start();
  engine.hold();
  const std::array cases{std::pair{ErrorKind::deadline_exceeded, grpc::DEADLINE_EXCEEDED},
                         std::pair{ErrorKind::unavailable, grpc::UNAVAILABLE},
                         std::pair{ErrorKind::corrupt_output, grpc::INTERNAL}};
  for (std::size_t i = 0; i < cases.size(); ++i) {
    auto status = std::async(std::launch::async, [this] { return refusal(echo("abc")); });
    ASSERT_TRUE(engine.wait_for(i + 1));
    engine.fail_with(i, {cases[i].first, "why"});
    const grpc::Status got = status.get();
    EXPECT_EQ(got.error_code(), cases[i].second);
    EXPECT_EQ(got.error_message(), "why");
  }
}

// A longer one than a client's bound for metadata would reach it as another error.
TEST_F(GrpcInfer, CutsAMessageThatIsTooLongForAClient) {
  start();
  engine.hold();
  auto status = std::async(std::launch::async, [this] { return refusal(echo("abc")); });
  ASSERT_TRUE(engine.wait_for(1));
  engine.fail_with(0, {ErrorKind::unavailable, std::string(100'000, '\xe4')});
  const grpc::Status got = status.get();
  EXPECT_EQ(got.error_code(), grpc::UNAVAILABLE);
  EXPECT_EQ(got.error_message(), std::string(2000, '?'));
}

TEST_F(GrpcInfer, ReadsAndWritesSharedMemory) {
  start();
  const std::string key = "/takt-grpc-infer-" + std::to_string(::getpid());
  const int object = ::shm_open(key.c_str(), O_RDWR | O_CREAT, 0600);
  ASSERT_GE(object, 0);
  ASSERT_EQ(::pwrite(object, "abcdef----------", 16, 0), 16);
  ASSERT_TRUE(regions.add({"region", key, 0, 16}).has_value());
  inference::ModelInferRequest request = echo("abcdef");
  request.clear_raw_input_contents();
  put_in_region(*request.mutable_inputs(0)->mutable_parameters(), "region", 6, 0);
  request.add_outputs()->set_name("y");
  put_in_region(*request.mutable_outputs(0)->mutable_parameters(), "region", 8, 8);
  inference::ModelInferResponse response;
  const grpc::Status status = infer(request, response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.raw_output_contents(0), "");
  EXPECT_EQ(response.outputs(0).parameters().at("shared_memory_region").string_param(), "region");
  EXPECT_EQ(response.outputs(0).parameters().at("shared_memory_offset").int64_param(), 8);
  std::array<char, 16> bytes{};
  ASSERT_EQ(::pread(object, bytes.data(), bytes.size(), 0), 16);
  EXPECT_EQ(std::string(bytes.data(), bytes.size()), "abcdef--abcdef--");
  ::close(object);
  ::shm_unlink(key.c_str());
}

TEST_F(GrpcInfer, TakesTheClientsDeadlineAlong) {
  start();
  inference::ModelInferResponse response;
  ASSERT_TRUE(infer(echo("a"), response).ok());
  EXPECT_EQ(engine.deadline_of(0), kNever);
  const TimePoint before = clock.now();
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::hours(1));
  ASSERT_TRUE(stub->ModelInfer(&context, echo("b"), &response).ok());
  // gRPC rounds timeouts up, by less than 1 %.
  EXPECT_GT(engine.deadline_of(1), before + std::chrono::minutes(59));
  EXPECT_LT(engine.deadline_of(1), clock.now() + std::chrono::minutes(61));
}

TEST_F(GrpcInfer, WithdrawsWhatTheClientCancels) {
  start();
  engine.hold();
  grpc::ClientContext context;
  auto status = std::async(std::launch::async, [this, &context] {
    inference::ModelInferResponse response;
    return stub->ModelInfer(&context, echo("abc"), &response);
  });
  ASSERT_TRUE(engine.wait_for(1));
  context.TryCancel();
  EXPECT_TRUE(engine.wait_withdrawn(1));
  EXPECT_EQ(status.get().error_code(), grpc::CANCELLED);
}

TEST_F(GrpcInfer, WithdrawsWhatIsLate) {
  start();
  engine.hold();
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(50));
  auto status = std::async(std::launch::async, [this, &context] {
    inference::ModelInferResponse response;
    return stub->ModelInfer(&context, echo("abc"), &response);
  });
  EXPECT_EQ(status.get().error_code(), grpc::DEADLINE_EXCEEDED);
  EXPECT_TRUE(engine.submitted() == 0 || engine.wait_withdrawn(1));
}

TEST_F(GrpcInfer, AnswersCompressedCallsCompressed) {
  start();
  const std::string bytes(500'000, 'x');
  for (const auto algorithm : {GRPC_COMPRESS_GZIP, GRPC_COMPRESS_DEFLATE}) {
    grpc::ClientContext context;
    context.set_compression_algorithm(algorithm);
    inference::ModelInferResponse response;
    const grpc::Status status = stub->ModelInfer(&context, echo(bytes), &response);
    ASSERT_TRUE(status.ok()) << status.error_message();
    EXPECT_TRUE(response.raw_output_contents(0) == bytes);
    inference::ServerLiveResponse live;
    grpc::ClientContext other;
    other.set_compression_algorithm(algorithm);
    EXPECT_TRUE(stub->ServerLive(&other, {}, &live).ok());
  }
}

TEST_F(GrpcInfer, BoundsWhatAMessageHas) {
  start({.message_bytes_max = 100'000, .tls = {}, .access = {}});
  EXPECT_EQ(refusal(echo(std::string(200'000, 'x'))).error_code(), grpc::RESOURCE_EXHAUSTED);
  // 200 bytes on the wire.
  grpc::ClientContext context;
  context.set_compression_algorithm(GRPC_COMPRESS_GZIP);
  inference::ModelInferResponse response;
  const grpc::Status status =
      stub->ModelInfer(&context, echo(std::string(200'000, 'x')), &response);
  EXPECT_EQ(status.error_code(), grpc::RESOURCE_EXHAUSTED);
  EXPECT_NE(status.error_message().find("more than 100000 bytes"), std::string::npos)
      << status.error_message();
  EXPECT_TRUE(infer(echo("small"), response).ok()) << "the connection goes on";
}

TEST_F(GrpcInfer, RefusesCallsBeyondTheirNumber) {
  start({.calls_max = 2, .tls = {}, .access = {}});
  engine.hold();
  std::vector<std::future<grpc::Status>> waiting;
  waiting.reserve(2);
  for (int i = 0; i < 2; ++i) {
    waiting.push_back(std::async(std::launch::async, [this] { return refusal(echo("abc")); }));
  }
  ASSERT_TRUE(engine.wait_for(2));
  EXPECT_EQ(refusal(echo("abc")).error_code(), grpc::RESOURCE_EXHAUSTED);
  for (std::size_t i = 0; i < 2; ++i) engine.answer(i);
  for (auto& status : waiting) EXPECT_TRUE(status.get().ok());
}

TEST_F(GrpcInfer, AsksForAccessBeforeItReads) {
  std::vector<std::pair<std::string, std::string>> asked;
  start({.tls = {},
         .access = [&](std::string_view method, std::string_view authorization) -> ApiResult<void> {
           asked.emplace_back(method, authorization);
           if (authorization == "Bearer key") return {};
           return refuse(ApiCode::unauthenticated, "no key");
         }});
  const grpc::Status refused = send_bytes(kModelInfer, "no message at all");
  EXPECT_EQ(refused.error_code(), grpc::UNAUTHENTICATED);
  EXPECT_EQ(refused.error_message(), "no key");
  grpc::ClientContext context;
  context.AddMetadata("authorization", "Bearer key");
  inference::ModelInferResponse response;
  EXPECT_TRUE(stub->ModelInfer(&context, echo("abc"), &response).ok());
  const std::string method = "inference.GRPCInferenceService/ModelInfer";
  EXPECT_EQ(asked, (std::vector<std::pair<std::string, std::string>>{{method, ""},
                                                                     {method, "Bearer key"}}));
}

TEST_F(GrpcInfer, RefusesMethodsAndMessagesThatItDoesNotKnow) {
  start();
  EXPECT_EQ(send_bytes("/inference.GRPCInferenceService/Other", "").error_code(),
            grpc::UNIMPLEMENTED);
  const grpc::Status status = send_bytes("/inference.GRPCInferenceService/ModelReady", "\x0a");
  EXPECT_EQ(status.error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_EQ(status.error_message(), "the bytes are no ModelReadyRequest");
}

TEST_F(GrpcInfer, SurvivesMalformedMessages) {
  start();
  inference::ModelInferRequest request = addsub(1, 2);
  request.add_outputs()->set_name("OUTPUT0");
  const std::string bytes = request.SerializeAsString();
  std::mt19937 random(20240611);
  int refused = 0;
  for (int i = 0; i < 200; ++i) {
    const grpc::Status status = send_bytes(kModelInfer, mutated(bytes, random));
    if (!status.ok()) ++refused;
    EXPECT_NE(status.error_code(), grpc::UNKNOWN);
    EXPECT_NE(status.error_code(), grpc::INTERNAL);
  }
  EXPECT_GT(refused, 100);
  inference::ModelInferResponse response;
  EXPECT_TRUE(infer(addsub(1, 2), response).ok());
}

TEST_F(GrpcInfer, AnswersWhatIsUnderWayWhenItStops) {
  start();
  engine.hold();
  auto status = std::async(std::launch::async, [this] { return refusal(echo("abc")); });
  ASSERT_TRUE(engine.wait_for(1));
  auto stopped = std::async(std::launch::async, [this] { server->stop(kWaitMax); });
  engine.answer(0);
  EXPECT_TRUE(status.get().ok());
  EXPECT_EQ(stopped.wait_for(kWaitMax), std::future_status::ready);
  EXPECT_EQ(refusal(echo("abc")).error_code(), grpc::UNAVAILABLE);
}

TEST_F(GrpcInfer, CancelsWhatIsUnderWayWhenPatienceEnds) {
  start();
  engine.hold();
  auto status = std::async(std::launch::async, [this] { return refusal(echo("abc")); });
  ASSERT_TRUE(engine.wait_for(1));
  server->stop(Duration{});
  EXPECT_TRUE(engine.wait_withdrawn(1));
  EXPECT_FALSE(status.get().ok());
}

TEST_F(GrpcInfer, SaysWhyItCannotListen) {
  start();
  const auto second = GrpcServer::start({.port = server->port(), .tls = {}, .access = {}}, service,
                                        {{}, catalog, regions, trace, log}, clock);
  ASSERT_FALSE(second.has_value());
  EXPECT_EQ(second.error().kind, ErrorKind::unavailable);
  EXPECT_NE(second.error().message.find("127.0.0.1:" + std::to_string(server->port())),
            std::string::npos);
}

TEST_F(GrpcInfer, SpeaksTls) {
  const Certificate own("localhost");
  start({.tls = TlsOptions{own.certificate, own.key, ""}, .access = {}});
  inference::ModelInferResponse response;
  EXPECT_EQ(infer(echo("abc"), response).error_code(), grpc::UNAVAILABLE) << "without TLS";
  connect(grpc::SslCredentials({own.certificate, "", ""}));
  EXPECT_TRUE(infer(echo(std::string(100'000, 'x')), response).ok());
}

TEST_F(GrpcInfer, AsksClientsForTheirCertificate) {
  const Certificate own("localhost");
  const Certificate client("client");
  const Certificate stranger("stranger");
  start({.tls = TlsOptions{own.certificate, own.key, client.certificate}, .access = {}});
  inference::ModelInferResponse response;
  const auto with = [&](const std::string& key, const std::string& certificate) {
    connect(grpc::SslCredentials({own.certificate, key, certificate}));
    return infer(echo("abc"), response).error_code();
  };
  EXPECT_EQ(with("", ""), grpc::UNAVAILABLE);
  EXPECT_EQ(with(stranger.key, stranger.certificate), grpc::UNAVAILABLE);
  EXPECT_EQ(with(client.key, client.certificate), grpc::OK);
}

}  // namespace
}  // namespace takt::server::rpc
