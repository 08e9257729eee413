// SPDX-License-Identifier: Apache-2.0
#include "ipc/batch_wire.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <random>
#include <vector>

namespace takt::ipc {
namespace {

// Two processes' views of the same memory: the same offsets at other addresses.
class BatchWire : public ::testing::Test {
 protected:
  BatchWire() {
    inputs.add(input_bytes);
    outputs.add(output_bytes);
    their_inputs.add(their_input_bytes);
    their_outputs.add(their_output_bytes);
  }
  const std::uint8_t* pixels(std::size_t offset) {
    return reinterpret_cast<const std::uint8_t*>(input_bytes.data() + offset);
  }
  // One request with a stack of two images and a tensor, one output.
  Sample sample() {
    data.clear();
    data.emplace_back(ImageStack{{{pixels(0), 8, 4, 8}, {pixels(64), 8, 4, 8}}, {1, 1, 2, 2}});
    data.emplace_back(TensorView{DataType::fp32, {1, 4}, std::span(input_bytes).subspan(128, 16)});
    rooms[0] = {.room = std::span(output_bytes).subspan(64, 32)};
    return {data, rooms, 1};
  }
  std::span<const std::byte> encoded(BatchView batch) {
    const Result<std::size_t> used = encode_request(area, batch, inputs, outputs);
    EXPECT_TRUE(used) << used.error().message;
    return std::span(area).first(used.value_or(0));
  }

  std::array<std::byte, 1024> input_bytes{};
  std::array<std::byte, 256> output_bytes{};
  std::array<std::byte, 1024> their_input_bytes{};
  std::array<std::byte, 256> their_output_bytes{};
  RegionTable inputs;
  RegionTable outputs;
  RegionTable their_inputs;
  RegionTable their_outputs;
  std::vector<InputData> data;
  std::array<OutputBuffer, 1> rooms;
  std::array<std::byte, 4096> area{};
};

TEST_F(BatchWire, TheOtherSideSeesTheSameBatchInItsOwnMemory) {
  const std::array batch{sample()};
  DecodedBatch decoded;
  ASSERT_TRUE(decoded.decode(encoded(batch), their_inputs, their_outputs));
  ASSERT_EQ(decoded.view().size(), 1U);
  const Sample& got = decoded.view()[0];
  const auto& stack = std::get<ImageStack>(got.inputs[0]);
  ASSERT_EQ(stack.images.size(), 2U);
  EXPECT_EQ(reinterpret_cast<const std::byte*>(stack.images[1].pixels),
            their_input_bytes.data() + 64);
  EXPECT_EQ(stack.region, (Region{1, 1, 2, 2}));
  const auto& tensor = std::get<TensorView>(got.inputs[1]);
  EXPECT_EQ(tensor.shape, (Shape{1, 4}));
  EXPECT_EQ(tensor.bytes.data(), their_input_bytes.data() + 128);
  EXPECT_EQ(got.outputs[0].room.data(), their_output_bytes.data() + 64);
  EXPECT_EQ(got.outputs[0].room.size(), 32U);
}

TEST_F(BatchWire, ABatchFitsInTheRoomThatIsSaidToBeEnough) {
  const std::array batch{sample(), sample(), sample()};
  EXPECT_LE(encoded(batch).size(), request_bytes_max(3, 2, 1));
}

// What was on the stack before must not cross with it.
TEST_F(BatchWire, TheSameBatchIsTheSameBytes) {
  const std::array batch{sample()};
  const auto dirty_stack = [](int value) {
    std::array<volatile char, 4096> garbage;
    for (volatile char& byte : garbage) byte = static_cast<char>(value);
  };
  dirty_stack(0x55);
  const auto first = encoded(batch);
  const std::vector<std::byte> kept(first.begin(), first.end());
  dirty_stack(0xaa);
  EXPECT_TRUE(std::ranges::equal(encoded(batch), kept));
}

TEST_F(BatchWire, MemoryThatIsNotSharedIsRefused) {
  std::array batch{sample()};
  const std::array<std::byte, 16> own{};
  data[1] = TensorView{DataType::fp32, {1, 4}, own};
  batch[0].inputs = data;
  const auto used = encode_request(area, batch, inputs, outputs);
  ASSERT_FALSE(used);
  EXPECT_EQ(used.error().kind, ErrorKind::invalid_input);
  EXPECT_NE(used.error().message.find("slot"), std::string::npos);
}

TEST_F(BatchWire, ATensorThatReachesBeyondItsRegionIsRefused) {
  std::array batch{sample()};
  data[1] = TensorView{DataType::fp32, {1, 4}, {input_bytes.data() + 1020, 16}};
  batch[0].inputs = data;
  EXPECT_FALSE(encode_request(area, batch, inputs, outputs));
}

TEST_F(BatchWire, AReplyFillsTheOutputsOfTheBatch) {
  std::array batch{sample()};
  BatchOutcome outcome;
  outcome.times.exec_end = TimePoint(Duration(1000));
  batch[0].outputs[0].shape = {1, 8};
  batch[0].outputs[0].bytes_used = 32;
  const auto used = encode_reply(area, batch, outcome);
  ASSERT_TRUE(used);
  EXPECT_LE(*used, reply_bytes_max(1, 1));
  std::array<OutputBuffer, 1> mine{{{.room = std::span(output_bytes).subspan(64, 32)}}};
  const std::array sent{Sample{data, mine, 1}};
  const auto got = decode_reply(std::span(area).first(*used), sent);
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_TRUE(got->status);
  EXPECT_EQ(got->times.exec_end, outcome.times.exec_end);
  EXPECT_EQ(mine[0].shape, (Shape{1, 8}));
  EXPECT_EQ(mine[0].bytes_used, 32U);
}

TEST_F(BatchWire, AFailureTravelsWithItsKindAndACutMessage) {
  const std::array batch{sample()};
  BatchOutcome outcome;
  outcome.status = fail(ErrorKind::out_of_memory, std::string(5000, 'm') + "\n");
  const auto used = encode_reply(area, batch, outcome);
  ASSERT_TRUE(used);
  const auto got = decode_reply(std::span(area).first(*used), batch);
  ASSERT_TRUE(got);
  EXPECT_EQ(got->status.error().kind, ErrorKind::out_of_memory);
  EXPECT_LT(got->status.error().message.size(), 5000U);
}

TEST_F(BatchWire, AReplyThatClaimsMoreThanItsRoomIsNotBelieved) {
  std::array batch{sample()};
  batch[0].outputs[0].bytes_used = 33;
  const auto used = encode_reply(area, batch, {});
  ASSERT_TRUE(used);
  const auto got = decode_reply(std::span(area).first(*used), batch);
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().kind, ErrorKind::corrupt_output);
}

// Whatever a process writes into an area: an error or a batch inside the regions, never more.
TEST_F(BatchWire, DamagedBytesNeverNameMemoryOutside) {
  const std::array batch{sample(), sample()};
  const auto whole = encoded(batch);
  const std::vector<std::byte> original(whole.begin(), whole.end());
  std::mt19937 random(1);
  DecodedBatch decoded;
  for (int round = 0; round < 20'000; ++round) {
    std::vector<std::byte> damaged = original;
    for (int hits = 0; hits < 1 + round % 4; ++hits) {
      damaged[random() % damaged.size()] = static_cast<std::byte>(random());
    }
    damaged.resize(random() % 8 == 0 ? random() % damaged.size() : damaged.size());
    if (!decoded.decode(damaged, their_inputs, their_outputs)) continue;
    for (const Sample& got : decoded.view()) {
      for (const OutputBuffer& room : got.outputs) {
        ASSERT_TRUE(their_outputs.find(room.room.data(), room.room.size()) || room.room.empty());
      }
    }
  }
  std::array replied{sample(), sample()};
  const auto used = encode_reply(area, replied, {});
  ASSERT_TRUE(used);
  const std::vector<std::byte> reply(area.begin(),
                                     area.begin() + static_cast<std::ptrdiff_t>(*used));
  for (int round = 0; round < 20'000; ++round) {
    std::vector<std::byte> damaged = reply;
    damaged[random() % damaged.size()] = static_cast<std::byte>(random());
    if (!decode_reply(damaged, replied)) continue;
    for (const OutputBuffer& room : replied[0].outputs) ASSERT_LE(room.bytes_used, 32U);
  }
}

}  // namespace
}  // namespace takt::ipc
