// SPDX-License-Identifier: Apache-2.0
#include "server/grpc/wire_writer.h"

#include "server/grpc/wire_fixture.h"

#include <gtest/gtest.h>

namespace takt::server::rpc {
namespace {

std::string joined(const std::vector<WirePiece>& pieces) {
  std::string whole;
  for (const WirePiece& piece : pieces) {
    std::visit(
        [&whole](const auto& part) {
          whole.append(reinterpret_cast<const char*>(part.data()), part.size());
        },
        piece);
  }
  return whole;
}

AnswerOutput output(const std::string& name, DataType type, Shape shape, std::string_view bytes) {
  return {.name = name,
          .type = type,
          .shape = std::move(shape),
          .bytes = bytes_of(bytes),
          .made = {},
          .shared = {}};
}

InferAnswer answer(std::vector<AnswerOutput> outputs) {
  InferAnswer answer;
  answer.model = "defects";
  answer.version = "3";
  answer.id = "part-17";
  answer.outputs = std::move(outputs);
  return answer;
}

inference::ModelInferResponse parsed(const InferAnswer& answer) {
  inference::ModelInferResponse response;
  EXPECT_TRUE(response.ParseFromString(joined(write_infer_response(answer))));
  return response;
}

TEST(WireWriter, WritesWhatProtobufReads) {
  const std::string large(5000, 'x');
  const auto response = parsed(answer({output("scores", DataType::fp32, {1, 2}, "12345678"),
                                       output("mask", DataType::uint8, {1, 5000}, large),
                                       output("count", DataType::int64, {1}, "87654321")}));
  EXPECT_EQ(response.model_name(), "defects");
  EXPECT_EQ(response.model_version(), "3");
  EXPECT_EQ(response.id(), "part-17");
  EXPECT_EQ(response.parameters_size(), 0);
  ASSERT_EQ(response.outputs_size(), 3);
  EXPECT_EQ(response.outputs(0).name(), "scores");
  EXPECT_EQ(response.outputs(0).datatype(), "FP32");
  ASSERT_EQ(response.outputs(1).shape_size(), 2);
  EXPECT_EQ(response.outputs(1).shape(1), 5000);
  ASSERT_EQ(response.raw_output_contents_size(), 3);
  EXPECT_EQ(response.raw_output_contents(0), "12345678");
  EXPECT_EQ(response.raw_output_contents(1), large);
  EXPECT_EQ(response.raw_output_contents(2), "87654321");
}

TEST(WireWriter, LeavesLargeTensorsWhereTheyAre) {
  const std::string large(kCopiedBytesMax + 1, 'x');
  const std::string small(kCopiedBytesMax, 'y');
  const auto pieces = write_infer_response(
      answer({output("a", DataType::uint8, {1}, small), output("b", DataType::uint8, {1}, large)}));
  ASSERT_EQ(pieces.size(), 2U);
  const auto& view = std::get<std::span<const std::byte>>(pieces[1]);
  EXPECT_EQ(static_cast<const void*>(view.data()), large.data());
  EXPECT_EQ(view.size(), large.size());
}

TEST(WireWriter, NamesThePlaceOfAnOutputInSharedMemory) {
  AnswerOutput placed = output("boxes", DataType::fp32, {4}, "");
  placed.shared = SharedPlace{"out", 64, 16};
  const auto response =
      parsed(answer({std::move(placed), output("scores", DataType::uint8, {2}, "ab")}));
  const auto& parameters = response.outputs(0).parameters();
  EXPECT_EQ(parameters.at("shared_memory_region").string_param(), "out");
  EXPECT_EQ(parameters.at("shared_memory_byte_size").int64_param(), 16);
  EXPECT_EQ(parameters.at("shared_memory_offset").int64_param(), 64);
  ASSERT_EQ(response.raw_output_contents_size(), 2) << "one an output, as clients count them";
  EXPECT_EQ(response.raw_output_contents(0), "");
  EXPECT_EQ(response.raw_output_contents(1), "ab");
}

TEST(WireWriter, WritesAnAnswerWithoutOutputs) {
  EXPECT_EQ(parsed(answer({})).id(), "part-17");
  EXPECT_EQ(joined(write_infer_response(InferAnswer{})), "");
}

TEST(WireWriter, WrapsAnswersOfAStream) {
  const std::string large(100'000, 'x');
  inference::ModelStreamInferResponse response;
  ASSERT_TRUE(response.ParseFromString(joined(
      write_stream_response(answer({output("mask", DataType::uint8, {1, 100'000}, large)})))));
  EXPECT_EQ(response.error_message(), "");
  EXPECT_EQ(response.infer_response().id(), "part-17");
  EXPECT_TRUE(response.infer_response().parameters().at("triton_final_response").bool_param());
  EXPECT_EQ(response.infer_response().raw_output_contents(0), large);
}

TEST(WireWriter, WritesErrorsOfAStreamWithTheirId) {
  inference::ModelStreamInferResponse response;
  ASSERT_TRUE(response.ParseFromString(write_stream_error("part-17", "no model 'x\xff'")));
  EXPECT_EQ(response.error_message(), "no model 'x?'");
  EXPECT_EQ(response.infer_response().id(), "part-17");
}

}  // namespace
}  // namespace takt::server::rpc
