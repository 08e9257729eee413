// SPDX-License-Identifier: Apache-2.0
#include "engine/instance_fixture.h"
#include "engine/served_model.h"

#include <gtest/gtest.h>

#include <array>
#include <limits>

namespace takt::engine {
namespace {

using engine_test::InstantInstance;

class SignatureCheck : public ::testing::Test {
 protected:
  std::shared_ptr<const ServedModel> serve(Signature signature) {
    ModelRuntime runtime = engine_test::model_runtime("detector", 3, 0);
    runtime.signature = std::move(signature);
    runtime.output_bytes_max.assign(runtime.signature.outputs.size(), 64);
    runtime.instances.push_back(std::make_unique<InstantInstance>());
    return *ServedModel::create(ModelId{1}, runtime, std::make_shared<Counters>());
  }
  TensorView tensor(DataType type, Shape shape, std::size_t bytes) {
    return {type, std::move(shape), std::span(bytes_).first(bytes)};
  }
  ImageView image(int width, int height) {
    return {reinterpret_cast<const std::uint8_t*>(bytes_.data()), width, height, width,
            PixelFormat::gray8};
  }
  static std::string refusal(const ServedModel& model, const InferRequest& request) {
    const Result<void> checked = check_request(model, request);
    if (checked) return "accepted";
    EXPECT_EQ(checked.error().kind, ErrorKind::invalid_input);
    return checked.error().message;
  }
  static InferRequest with(InputData input, std::int64_t rows = 1) {
    InferRequest request;
    request.inputs.push_back(std::move(input));
    request.rows = rows;
    return request;
  }

  std::vector<std::byte> bytes_ = std::vector<std::byte>(4096);
  std::shared_ptr<const ServedModel> batched_ = serve(engine_test::signature(8));
};

TEST_F(SignatureCheck, AcceptsWhatFits) {
  EXPECT_EQ(refusal(*batched_, with(tensor(DataType::fp32, {1, 4}, 16))), "accepted");
  EXPECT_EQ(refusal(*batched_, with(tensor(DataType::fp32, {8, 4}, 128), 8)), "accepted");
  EXPECT_EQ(refusal(*batched_, with(ImageStack{{image(8, 8), image(8, 8)}, {}})), "accepted");
  EXPECT_EQ(refusal(*batched_, with(ImageStack{{image(8, 8)}, {-3, -3, 20, 20}})), "accepted")
      << "a region may reach outside";
}

TEST_F(SignatureCheck, NamesTheInputWhatWasExpectedAndWhatCame) {
  EXPECT_EQ(refusal(*batched_, with(tensor(DataType::fp32, {1, 5}, 20))),
            "detector 3: input 'x': expected FP32[1,4], got FP32[1,5]");
  EXPECT_EQ(refusal(*batched_, with(tensor(DataType::uint8, {1, 4}, 4))),
            "detector 3: input 'x': expected FP32[1,4], got UINT8[1,4]");
  EXPECT_EQ(refusal(*batched_, with(tensor(DataType::fp32, {4}, 16))),
            "detector 3: input 'x': expected FP32[1,4], got FP32[4]");
  EXPECT_EQ(refusal(*batched_, with(tensor(DataType::fp32, {2, 4}, 32), 1)),
            "detector 3: input 'x': expected FP32[1,4], got FP32[2,4]");
  EXPECT_EQ(refusal(*batched_, with(tensor(DataType::fp32, {1, 4}, 15))),
            "detector 3: input 'x': expected 16 bytes for FP32[1,4], got 15");
  EXPECT_EQ(refusal(*batched_, with(TensorView{DataType::fp32, {1, 4}, {}})),
            "detector 3: input 'x': expected data, got none");
}

TEST_F(SignatureCheck, CountsInputsAndRows) {
  EXPECT_EQ(refusal(*batched_, InferRequest{}), "detector 3: expected 1 inputs, got 0");
  EXPECT_EQ(refusal(*batched_, with(tensor(DataType::fp32, {9, 4}, 144), 9)),
            "detector 3: expected 1 to 8 rows, got 9; split the request");
  EXPECT_NE(refusal(*batched_, with(tensor(DataType::fp32, {0, 4}, 0), 0)).find("got 0"),
            std::string::npos);
  const auto alone = serve(engine_test::signature(0));
  EXPECT_EQ(refusal(*alone, with(tensor(DataType::fp32, {4}, 16))), "accepted");
  EXPECT_NE(refusal(*alone, with(tensor(DataType::fp32, {4}, 16), 2)).find("1 to 1 rows"),
            std::string::npos);
}

TEST_F(SignatureCheck, AnOpenDimensionTakesAnySizeButNothingEmptyOrHuge) {
  Signature open = engine_test::signature(0);
  open.inputs[0].shape = {-1, 4};
  const auto model = serve(open);
  EXPECT_EQ(refusal(*model, with(tensor(DataType::fp32, {7, 4}, 112))), "accepted");
  EXPECT_NE(refusal(*model, with(tensor(DataType::fp32, {0, 4}, 0))).find("FP32[-1,4]"),
            std::string::npos);
  EXPECT_NE(refusal(*model, with(tensor(DataType::fp32, {-1, 4}, 0))).find("FP32[-1,4]"),
            std::string::npos);
  constexpr auto kHuge = std::numeric_limits<std::int64_t>::max();
  EXPECT_NE(refusal(*model, with(tensor(DataType::fp32, {kHuge, 4}, 16))), "accepted");
}

TEST_F(SignatureCheck, AStringTensorHasAsManyStringsAsItsShapeSays) {
  Signature text = engine_test::signature(2);
  text.inputs[0] = {"text", DataType::bytes, {2}};
  const auto model = serve(text);
  // Zeros are empty strings of four bytes each.
  EXPECT_EQ(refusal(*model, with(tensor(DataType::bytes, {1, 2}, 8))), "accepted");
  EXPECT_EQ(refusal(*model, with(tensor(DataType::bytes, {2, 2}, 16), 2)), "accepted");
  EXPECT_EQ(refusal(*model, with(tensor(DataType::bytes, {2, 2}, 8), 2)),
            "detector 3: input 'text': BYTES[2,2]: expected 4 strings, got 2");
  EXPECT_EQ(refusal(*model, with(tensor(DataType::bytes, {1, 2}, 12))),
            "detector 3: input 'text': BYTES[1,2]: expected 2 strings, got 3");
  bytes_[0] = std::byte{5};
  EXPECT_TRUE(refusal(*model, with(tensor(DataType::bytes, {1, 2}, 8)))
                  .starts_with("detector 3: input 'text': BYTES[1,2]: expected 2 strings, got 0 "
                               "and then bytes"));
  EXPECT_EQ(refusal(*model, with(tensor(DataType::bytes, {1, 2}, 13))), "accepted")
      << "five bytes, then none";
}

TEST_F(SignatureCheck, ImagesNeedPixelsOneSizeAndOneRow) {
  EXPECT_NE(refusal(*batched_, with(ImageStack{})).find("at least one image"), std::string::npos);
  EXPECT_NE(refusal(*batched_, with(ImageStack{{image(8, 8)}, {}}, 2)).find("one row for images"),
            std::string::npos);
  EXPECT_EQ(refusal(*batched_, with(ImageStack{{image(8, 8), image(8, 7)}, {}})),
            "detector 3: input 'x': image 1: expected the size of image 0 (8x8 gray8), got 8x7 "
            "gray8");
  EXPECT_NE(refusal(*batched_, with(ImageStack{{image(0, 8)}, {}})).find("expected pixels"),
            std::string::npos);
  ImageView empty = image(8, 8);
  empty.pixels = nullptr;
  EXPECT_NE(refusal(*batched_, with(ImageStack{{empty}, {}})).find("without data"),
            std::string::npos);
  ImageView narrow = image(8, 8);
  narrow.stride_bytes = 7;
  EXPECT_NE(refusal(*batched_, with(ImageStack{{narrow}, {}})).find("stride"), std::string::npos);
}

TEST_F(SignatureCheck, ARegionIsFiniteAndNotInsideOut) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  for (const Region& region :
       {Region{0, 0, -1, 4}, Region{0, 0, 4, 0}, Region{kNan, 0, 4, 4}, Region{0, 0, 4, kNan}}) {
    EXPECT_NE(refusal(*batched_, with(ImageStack{{image(8, 8)}, region})).find("region"),
              std::string::npos);
  }
}

// Outputs -----------------------------------------------------------------------------------------

TEST_F(SignatureCheck, WhatIsNoStringTensorCannotBeBelieved) {
  Signature text = engine_test::signature(2);
  text.outputs[0] = {"text", DataType::bytes, {-1}};
  const auto model = serve(text);
  const auto checked = [&](Shape shape, std::size_t bytes_used) -> std::string {
    const std::array outputs{OutputBuffer{.room = bytes_,
                                          .type = DataType::bytes,
                                          .shape = std::move(shape),
                                          .bytes_used = bytes_used}};
    const Result<void> result = check_outputs(*model, outputs, 1);
    if (result) return "believed";
    EXPECT_EQ(result.error().kind, ErrorKind::corrupt_output);
    return result.error().message;
  };
  EXPECT_EQ(checked({1, 2}, 8), "believed");
  EXPECT_EQ(checked({1, 0}, 0), "believed");
  EXPECT_EQ(checked({1, 3}, 8), "detector 3: output 'text': BYTES[1,3]: expected 3 strings, got 2");
  bytes_[4] = std::byte{1};
  EXPECT_TRUE(checked({1, 2}, 8).starts_with(
      "detector 3: output 'text': BYTES[1,2]: expected 2 strings, got 1 and then bytes"));
}

TEST(OutputLayout, PacksAllOutputsIntoOneSlotOn64ByteBoundaries) {
  ModelRuntime runtime = engine_test::model_runtime("detector", 1, 4);
  runtime.signature.outputs = {{"a", DataType::uint8, {3}}, {"b", DataType::fp32, {-1}}};
  runtime.output_bytes_max = {3, 400};
  runtime.instances.push_back(std::make_unique<InstantInstance>());
  const auto model = *ServedModel::create(ModelId{1}, runtime, std::make_shared<Counters>());
  const auto replica = *model->make_replica(DeviceId{0}, runtime, 4);
  for (const std::int64_t rows : {1, 2, 3, 4}) {
    const Slot slot = *model->acquire_outputs(*replica->outputs, rows);
    const std::vector<OutputBuffer> buffers = model->lay_out(slot, rows);
    ASSERT_EQ(buffers.size(), 2);
    EXPECT_EQ(buffers[0].room.size(), 3 * rows);
    EXPECT_EQ(buffers[1].room.size(), 400 * rows);
    EXPECT_EQ(buffers[0].type, DataType::uint8);
    const std::byte* const end = slot.bytes().data() + slot.bytes().size();
    EXPECT_LE(buffers[0].room.data() + buffers[0].room.size(), buffers[1].room.data());
    EXPECT_LE(buffers[1].room.data() + buffers[1].room.size(), end);
    for (const OutputBuffer& buffer : buffers)
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer.room.data()) % 64, 0);
  }
}

TEST(OutputLayout, HasRoomForFullBatchesOnEveryInstanceAndForHeldResults) {
  ModelRuntime runtime = engine_test::model_runtime("detector", 1, 6);
  for (int i = 0; i < 2; ++i) runtime.instances.push_back(std::make_unique<InstantInstance>());
  const auto model = *ServedModel::create(ModelId{1}, runtime, std::make_shared<Counters>());
  const auto replica = *model->make_replica(DeviceId{0}, runtime, 10);
  std::vector<Slot> slots;
  for (int i = 0; i < 2 * 6 + 10; ++i) {
    Result<Slot> slot = model->acquire_outputs(*replica->outputs, 1);
    ASSERT_TRUE(slot) << "slot " << i << ": " << slot.error().message;
    slots.push_back(std::move(*slot));
  }
  slots.clear();
  for (int i = 0; i < 2 + 1; ++i) {
    Result<Slot> slot = model->acquire_outputs(*replica->outputs, 6);
    ASSERT_TRUE(slot) << "slot " << i << ": " << slot.error().message;
    slots.push_back(std::move(*slot));
  }
}

}  // namespace
}  // namespace takt::engine
