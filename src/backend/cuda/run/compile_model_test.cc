// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/run/compile_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace takt::cuda {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

// Each batch size is put in front again, where the file is read.
TEST(ShapesOfRows, LeaveOutTheFirstSizeWhereThereAreBatchSizes) {
  CompileOptions options;
  options.batches = {1, 8};
  options.input_shapes = {{"images", {1, 3, 640, 640}}, {"scale", {1}}, {"scalar", {}}};
  EXPECT_THAT(shapes_of_rows(options),
              ElementsAre(Pair("images", Shape{3, 640, 640}), Pair("scalar", Shape{}),
                          Pair("scale", Shape{})));
}

TEST(ShapesOfRows, AreWholeWithoutBatchSizes) {
  CompileOptions options;
  options.batches = {0};
  options.input_shapes = {{"images", {1, 3, 640, 640}}};
  EXPECT_EQ(shapes_of_rows(options), options.input_shapes);
}

class NoObserver final : public CompileObserver {
  void progress(std::string_view /*stage*/, int /*done*/, int /*total*/) override {}
};

// Also where there is no GPU, of which the message would speak otherwise.
TEST(CompileModel, ReadsTheModelBeforeItOpensADevice) {
  NoObserver observer;
  const Result<CompileReport> report = compile_model("/no/such.onnx", {}, observer);
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().kind, ErrorKind::invalid_input);
  EXPECT_THAT(report.error().message, HasSubstr("/no/such.onnx"));
}

}  // namespace
}  // namespace takt::cuda
