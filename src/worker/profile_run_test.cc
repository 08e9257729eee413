// SPDX-License-Identifier: Apache-2.0
#include "worker/profile_run.h"

#include "core/string_tensor.h"
#include "worker/batch_run.h"
#include "worker/instance_fixture.h"

#include <gtest/gtest.h>

namespace takt::worker {
namespace {

TEST(ProfileRun, MeasuresPowersOfTwoAndTheLargestBatch) {
  EXPECT_EQ(profiled_batches(0), (std::vector<int>{1}));
  EXPECT_EQ(profiled_batches(1), (std::vector<int>{1}));
  EXPECT_EQ(profiled_batches(6), (std::vector<int>{1, 2, 4, 6}));
  EXPECT_EQ(profiled_batches(8), (std::vector<int>{1, 2, 4, 8}));
}

TEST(ProfileRun, RunsEachSizeThatFitsIntoTheTime) {
  ScaleInstance instance(1);
  const Signature signature = scale_signature(6);
  const auto profile = measure_profile(instance, signature, {}, *output_bytes(signature, 0),
                                       std::chrono::seconds(1));
  ASSERT_TRUE(profile) << profile.error().message;
  ASSERT_EQ(profile->size(), 4U);
  EXPECT_EQ(profile->back().batch, 6);
  EXPECT_EQ(instance.rows_max, 6U);
}

TEST(ProfileRun, ScalesUpWhatDoesNotFitIntoTheTime) {
  ScaleInstance instance(1);
  instance.times_per_row = std::chrono::milliseconds(3);
  const Signature signature = scale_signature(8);
  const auto profile =
      measure_profile(instance, signature, {}, *output_bytes(signature, 0), Duration(8));
  ASSERT_TRUE(profile) << profile.error().message;
  EXPECT_EQ(instance.runs, 2 * 2) << "batch 1 and 2, each once to warm up and once to measure";
  EXPECT_EQ(instance.rows_max, 2U);
  ASSERT_EQ(profile->size(), 4U);
  EXPECT_EQ(profile->front().p50, std::chrono::milliseconds(3));
  EXPECT_EQ(profile->back().batch, 8);
  EXPECT_EQ(profile->back().p50, std::chrono::milliseconds(24));
  EXPECT_EQ(profile->back().p99, std::chrono::milliseconds(24));
}

TEST(ProfileRun, WithoutTimeTheFirstTwoSizesRunOnce) {
  ScaleInstance instance(1);
  const Signature signature = scale_signature(8);
  ASSERT_TRUE(
      measure_profile(instance, signature, {}, *output_bytes(signature, 0), Duration::zero()));
  EXPECT_EQ(instance.runs, 2);
  EXPECT_EQ(instance.rows_max, 2U);
}

TEST(ProfileRun, HopesForTheGainThatSmallerSizesShowed) {
  ScaleInstance instance(1);
  instance.times_per_batch = std::chrono::milliseconds(4);
  instance.times_per_row = std::chrono::milliseconds(1);
  const Signature signature = scale_signature(8);
  const auto profile =
      measure_profile(instance, signature, {}, *output_bytes(signature, 0), Duration::zero());
  ASSERT_TRUE(profile) << profile.error().message;
  EXPECT_EQ(instance.rows_max, 2U);
  EXPECT_EQ(profile->at(2).p50, std::chrono::milliseconds(8));
  EXPECT_EQ(profile->back().p50, std::chrono::milliseconds(12)) << "5 ms, 6 ms, and so on";
  EXPECT_EQ(profile->back().p99, std::chrono::milliseconds(24)) << "the promise: as 6 ms for two";
}

// Answers when its one input is as many strings as its shape says, each a zero.
class ZerosInstance final : public Instance {
 public:
  [[nodiscard]] Result<void> submit(BatchView batch, BatchCompletion done) override {
    for (const Sample& sample : batch) {
      const auto& tensor = std::get<TensorView>(sample.inputs[0]);
      shape = tensor.shape;
      const Result<void> checked = check_strings(tensor.bytes, *element_count(tensor.shape));
      if (!checked) return checked;
      StringElements elements(tensor.bytes);
      while (const auto element = elements.next()) {
        if (*element != "0") return fail(ErrorKind::invalid_input, "got " + shown(*element));
      }
    }
    done({});
    return {};
  }

  Shape shape;
};

TEST(ProfileRun, StringsAreZerosOfTheSmallestShape) {
  ZerosInstance instance;
  Signature signature = scale_signature(2);
  signature.inputs[0] = {.name = "x", .type = DataType::bytes, .shape = {-1, 3}};
  const auto profile =
      measure_profile(instance, signature, {}, *output_bytes(signature, 0), Duration::zero());
  ASSERT_TRUE(profile) << profile.error().message;
  EXPECT_EQ(instance.shape, (Shape{1, 1, 3}));
}

TEST(ProfileRun, PassesOnWhatTheInstanceSays) {
  ScaleInstance instance(1);
  const Signature signature = scale_signature(1);
  Signature images = signature;
  images.inputs[0].shape = {1, 8, 8};
  const std::vector<InputPlan> plans{{.name = "x", .image = ImagePreprocess{}}};
  const auto profile =
      measure_profile(instance, images, plans, *output_bytes(signature, 0), Duration::zero());
  ASSERT_FALSE(profile) << "this instance takes no images";
  EXPECT_EQ(profile.error().kind, ErrorKind::invalid_input);
}

TEST(OutputBytes, OpenDimensionsTakeTheStatedRoom) {
  Signature signature = scale_signature(1);
  signature.outputs.push_back({.name = "boxes", .type = DataType::fp32, .shape = {-1, 4}});
  EXPECT_EQ(*output_bytes(signature, 1 << 20), (std::vector<std::size_t>{16, 1 << 20}));
}

}  // namespace
}  // namespace takt::worker
