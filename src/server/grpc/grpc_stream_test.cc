// SPDX-License-Identifier: Apache-2.0
// Inferences in a stream.
#include "server/grpc/grpc_server_fixture.h"

#include <future>
#include <numeric>

namespace takt::server::rpc {
namespace {

using Response = inference::ModelStreamInferResponse;

class GrpcStream : public ServedTest {
 protected:
  void open(GrpcOptions options = {}) {
    start(std::move(options));
    stream = stub->ModelStreamInfer(&context);
  }
  void send(const std::string& bytes, const std::string& id) {
    ASSERT_TRUE(stream->Write(echo(bytes, id)));
  }
  // The ids of the answers up to the end, and how the stream ended.
  std::vector<std::string> read_ids() {
    std::vector<std::string> ids;
    Response response;
    while (stream->Read(&response)) ids.push_back(response.infer_response().id());
    return ids;
  }

  grpc::ClientContext context;
  std::unique_ptr<grpc::ClientReaderWriter<inference::ModelInferRequest, Response>> stream;
};

std::vector<std::string> ids_up_to(int count) {
  std::vector<std::string> ids;
  for (int i = 0; i < count; ++i) ids.push_back(std::to_string(i));
  return ids;
}

TEST_F(GrpcStream, AnswersEachRequest) {
  open();
  send("abc", "7");
  Response response;
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_EQ(response.error_message(), "");
  EXPECT_EQ(response.infer_response().id(), "7");
  EXPECT_EQ(response.infer_response().raw_output_contents(0), "abc");
  EXPECT_TRUE(response.infer_response().parameters().at("triton_final_response").bool_param());
  stream->WritesDone();
  EXPECT_FALSE(stream->Read(&response));
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(GrpcStream, KeepsTheOrderOfTheRequests) {
  open();
  engine.hold();
  constexpr int kCount = 40;
  for (int i = 0; i < kCount; ++i) send(std::string(5000, 'x'), std::to_string(i));
  ASSERT_TRUE(engine.wait_for(kCount));
  std::vector<std::size_t> order(kCount);
  std::iota(order.begin(), order.end(), 0U);
  std::shuffle(order.begin(), order.end(), std::mt19937(20240611));
  for (const std::size_t index : order) engine.answer(index);
  stream->WritesDone();
  EXPECT_EQ(read_ids(), ids_up_to(kCount));
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(GrpcStream, AnswersEverythingAfterTheClientHasSentItsLast) {
  open();
  engine.hold();
  for (int i = 0; i < 3; ++i) send("abc", std::to_string(i));
  stream->WritesDone();
  ASSERT_TRUE(engine.wait_for(3));
  for (std::size_t i = 0; i < 3; ++i) engine.answer(i);
  EXPECT_EQ(read_ids(), ids_up_to(3));
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(GrpcStream, GoesOnAfterAnError) {
  open();
  inference::ModelInferRequest unknown = echo("abc", "unknown");
  unknown.set_model_name("other");
  inference::ModelInferRequest wrong = echo("abc", "wrong");
  wrong.add_raw_input_contents("d");
  inference::ModelInferRequest sequence = echo("abc", "sequence");
  (*sequence.mutable_parameters())["sequence_id"].set_int64_param(1);
  for (const auto& request : {unknown, wrong, sequence}) ASSERT_TRUE(stream->Write(request));
  send("abc", "right");
  const std::array expected{
      std::pair{"unknown", "no model 'other'"}, std::pair{"wrong", "expected 1 raw input contents"},
      std::pair{"sequence", "sequences are not supported"}, std::pair{"right", ""}};
  for (const auto& [id, message] : expected) {
    Response response;
    ASSERT_TRUE(stream->Read(&response));
    EXPECT_EQ(response.infer_response().id(), id);
    EXPECT_TRUE(response.error_message().starts_with(message)) << response.error_message();
    EXPECT_EQ(response.error_message().empty(), std::string_view(message).empty());
  }
  stream->WritesDone();
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(GrpcStream, ReadsNoFurtherWhileTooManyAreUnanswered) {
  open({.stream_unanswered_max = 2, .tls = {}, .access = {}});
  engine.hold();
  for (int i = 0; i < 3; ++i) send("abc", std::to_string(i));
  ASSERT_TRUE(engine.wait_for(2));
  // Were the third one read, it would be before what comes on the same connection afterwards.
  inference::ServerLiveResponse live;
  grpc::ClientContext other;
  ASSERT_TRUE(stub->ServerLive(&other, {}, &live).ok());
  EXPECT_EQ(engine.submitted(), 2U);
  engine.answer(0);
  ASSERT_TRUE(engine.wait_for(3));
  engine.answer(2);
  engine.answer(1);
  stream->WritesDone();
  EXPECT_EQ(read_ids(), ids_up_to(3));
  EXPECT_TRUE(stream->Finish().ok());
}

// One that waits for its turn would otherwise keep a slot of its model's from everybody else.
TEST_F(GrpcStream, GivesBackSlotsOfAnswersThatWaitForOthers) {
  open();
  engine.hold();
  for (int i = 0; i < 10; ++i) send(std::string(100'000, 'x'), std::to_string(i));
  ASSERT_TRUE(engine.wait_for(10));
  for (std::size_t i = 1; i < 10; ++i) engine.answer(i);
  const auto give_up = std::chrono::steady_clock::now() + kWaitMax;
  while (engine.outputs->in_use() > 0 && std::chrono::steady_clock::now() < give_up) {
    std::this_thread::yield();
  }
  EXPECT_EQ(engine.outputs->in_use(), 0U);
  engine.answer(0);
  stream->WritesDone();
  EXPECT_EQ(read_ids(), ids_up_to(10));
}

TEST_F(GrpcStream, WithdrawsEverythingWhenTheClientCancels) {
  open();
  engine.hold();
  for (int i = 0; i < 5; ++i) send("abc", std::to_string(i));
  ASSERT_TRUE(engine.wait_for(5));
  engine.answer(3);
  context.TryCancel();
  EXPECT_TRUE(engine.wait_withdrawn(4));
  EXPECT_EQ(stream->Finish().error_code(), grpc::CANCELLED);
}

TEST_F(GrpcStream, WithdrawsEverythingWhenTheClientCancelsAFullOne) {
  open({.stream_unanswered_max = 2, .tls = {}, .access = {}});
  engine.hold();
  for (int i = 0; i < 4; ++i) send("abc", std::to_string(i));
  ASSERT_TRUE(engine.wait_for(2));
  context.TryCancel();
  EXPECT_TRUE(engine.wait_withdrawn(2));
  EXPECT_EQ(stream->Finish().error_code(), grpc::CANCELLED);
}

TEST_F(GrpcStream, EndsWhenTheServerStops) {
  open();
  engine.hold();
  send("abc", "0");
  ASSERT_TRUE(engine.wait_for(1));
  server->stop(Duration{});
  EXPECT_TRUE(engine.wait_withdrawn(1));
  EXPECT_FALSE(stream->Finish().ok());
}

TEST_F(GrpcStream, TakesCompressedRequests) {
  context.set_compression_algorithm(GRPC_COMPRESS_GZIP);
  open();
  const std::string bytes(100'000, 'x');
  for (int i = 0; i < 3; ++i) send(bytes, std::to_string(i));
  stream->WritesDone();
  for (int i = 0; i < 3; ++i) {
    Response response;
    ASSERT_TRUE(stream->Read(&response));
    EXPECT_TRUE(response.infer_response().raw_output_contents(0) == bytes);
  }
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(GrpcStream, OfManyClientsDoNotMixTheirAnswers) {
  start();
  std::vector<std::future<std::vector<std::string>>> clients;
  for (int client = 0; client < 4; ++client) {
    clients.push_back(std::async(std::launch::async, [this] {
      grpc::ClientContext own;
      const auto own_stream = stub->ModelStreamInfer(&own);
      auto writer = std::async(std::launch::async, [&own_stream] {
        for (int i = 0; i < 200; ++i) own_stream->Write(echo(std::to_string(i), std::to_string(i)));
        own_stream->WritesDone();
      });
      std::vector<std::string> answers;
      Response response;
      while (own_stream->Read(&response)) {
        answers.push_back(response.infer_response().raw_output_contents(0));
      }
      writer.wait();
      return own_stream->Finish().ok() ? answers : std::vector<std::string>{};
    }));
  }
  for (auto& client : clients) EXPECT_EQ(client.get(), ids_up_to(200));
}

}  // namespace
}  // namespace takt::server::rpc
