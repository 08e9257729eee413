// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/cuda_backend.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace takt::cuda {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

View view_of(Shape shape) {
  View view;
  view.shape = std::move(shape);
  return view;
}

Signature boxes_of_images() {
  return {{{"images", DataType::fp32, {3, 8, 8}}}, {{"boxes", DataType::fp32, {4}}}, 8};
}

Program program_with(Shape input, Shape output) {
  Program program;
  program.inputs = {view_of(std::move(input))};
  program.outputs = {view_of(std::move(output))};
  return program;
}

TEST(CheckRows, TakesAProgramWhoseRowsAreTheSignatures) {
  EXPECT_TRUE(check_rows(program_with({2, 3, 8, 8}, {2, 4}), 2, boxes_of_images()));
}

// An output may have its batch first at the largest size alone.
TEST(CheckRows, RefusesAnOutputThatIsAnotherAtASmallerBatch) {
  for (const Shape& shape : {Shape{8, 4}, Shape{2, 5}, Shape{2}, Shape{}}) {
    const Result<void> fits = check_rows(program_with({2, 3, 8, 8}, shape), 2, boxes_of_images());
    ASSERT_FALSE(fits);
    EXPECT_EQ(fits.error().kind, ErrorKind::invalid_input);
    EXPECT_THAT(fits.error().message,
                AllOf(HasSubstr("output 'boxes' stays " + takt::to_string(shape)),
                      HasSubstr("when the batch is 2"), HasSubstr("fixed inside the model")));
  }
}

TEST(CheckRows, RefusesAnInputThatIsAnotherAtASmallerBatch) {
  const Result<void> fits = check_rows(program_with({2, 3, 4, 8}, {2, 4}), 2, boxes_of_images());
  ASSERT_FALSE(fits);
  EXPECT_THAT(fits.error().message, HasSubstr("input 'images'"));
}

TEST(CheckRows, LeavesAModelWithoutABatchAsItIs) {
  EXPECT_TRUE(check_rows(program_with({3, 8, 8}, {4}), 0, boxes_of_images()));
}

}  // namespace
}  // namespace takt::cuda
