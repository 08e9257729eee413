// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/cuda_parameters.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>

namespace takt::cuda {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

LoadOptions options_with(std::vector<std::pair<std::string, std::string>> parameters,
                         int batch_max = 8) {
  LoadOptions options;
  options.device = "cuda:0";
  options.batch_max = batch_max;
  options.parameters = std::move(parameters);
  return options;
}

void expect_refused(const LoadOptions& options, ErrorKind kind,
                    const std::vector<std::string>& texts) {
  const Result<CudaParameters> read = read_parameters(options);
  ASSERT_FALSE(read.has_value());
  EXPECT_EQ(read.error().kind, kind) << read.error().message;
  for (const std::string& text : texts) EXPECT_THAT(read.error().message, HasSubstr(text));
}

TEST(CudaParameters, DefaultsAreThoseOfTheOptions) {
  LoadOptions options = options_with({});
  options.device = "cuda:3";
  options.precision = "bf16";
  const Result<CudaParameters> read = read_parameters(options);
  ASSERT_TRUE(read.has_value()) << read.error().message;
  EXPECT_EQ(read->device, 3);
  EXPECT_EQ(read->precision, Precision::bf16);
  EXPECT_EQ(read->effort, Effort::normal);
  EXPECT_EQ(read->workspace_bytes_max, std::size_t{1} << 30);
  EXPECT_THAT(read->batches, ElementsAre(1, 2, 4, 8));
  EXPECT_TRUE(read->may_tune);
}

TEST(CudaParameters, TuningIsForAsManyInstancesAsWillServe) {
  LoadOptions options = options_with({});
  options.instances = 3;
  EXPECT_EQ(read_parameters(options).value().concurrent, 3);
  options.instances = 1;
  options.tuned_instances = 4;
  EXPECT_EQ(read_parameters(options).value().concurrent, 4);
}

TEST(CudaParameters, EachIsRead) {
  const Result<CudaParameters> read = read_parameters(options_with({{"cuda.precision", "fp16"},
                                                                    {"cuda.effort", "max"},
                                                                    {"cuda.workspace_mib", "64"},
                                                                    {"cuda.batches", "8,1,8,3"},
                                                                    {"cuda.tune", "false"}}));
  ASSERT_TRUE(read.has_value()) << read.error().message;
  EXPECT_EQ(read->precision, Precision::fp16);
  EXPECT_EQ(read->effort, Effort::max);
  EXPECT_EQ(read->workspace_bytes_max, std::size_t{64} << 20);
  EXPECT_THAT(read->batches, ElementsAre(1, 3, 8));
  EXPECT_FALSE(read->may_tune);
}

// They are written for the model; a task may take fewer rows.
TEST(CudaParameters, BatchSizesAreThoseThatTheLoadTakesAndItsLargest) {
  const auto batches = [](const char* text, int batch_max) {
    return read_parameters(options_with({{"cuda.batches", text}}, batch_max)).value().batches;
  };
  EXPECT_THAT(batches("1,4,16", 16), ElementsAre(1, 4, 16));
  EXPECT_THAT(batches("1,4,16", 6), ElementsAre(1, 4, 6));
  EXPECT_THAT(batches("1,4,16", 1), ElementsAre(1));
  EXPECT_THAT(batches("1,4", 16), ElementsAre(1, 4, 16));
}

TEST(CudaParameters, BatchSizesDoubleUpToTheLargest) {
  EXPECT_THAT(default_batches(0), ElementsAre(0));
  EXPECT_THAT(default_batches(1), ElementsAre(1));
  EXPECT_THAT(default_batches(8), ElementsAre(1, 2, 4, 8));
  EXPECT_THAT(default_batches(12), ElementsAre(1, 2, 4, 8, 12));
}

TEST(CudaParameters, OtherBackendsKeysAreLeftAlone) {
  EXPECT_TRUE(
      read_parameters(options_with({{"simulated.base_us", "x"}, {"cudax", "1"}})).has_value());
}

TEST(CudaParameters, AKeyThatIsNotKnownIsRefusedWithASuggestion) {
  expect_refused(options_with({{"cuda.efort", "fast"}}), ErrorKind::invalid_input,
                 {"'cuda.efort'", "did you mean 'cuda.effort'?"});
  expect_refused(options_with({{"cuda.", "1"}}), ErrorKind::invalid_input, {"'cuda.'"});
}

TEST(CudaParameters, AValueThatDoesNotFitIsRefusedWithWhatWasExpected) {
  const std::vector<std::pair<std::pair<std::string, std::string>, std::string>> refused{
      {{"cuda.precision", "int8"}, "fp32, tf32, fp16 or bf16"},
      {{"cuda.effort", "most"}, "fast, normal or max"},
      {{"cuda.workspace_mib", "-1"}, "a number of MiB"},
      {{"cuda.workspace_mib", "1 GiB"}, "a number of MiB"},
      {{"cuda.workspace_mib", "99999999999999999999"}, "a number of MiB"},
      {{"cuda.tune", "yes"}, "true or false"},
      {{"cuda.batches", ""}, "from 1 to 65536"},
      {{"cuda.batches", "1,,8"}, "from 1 to 65536"},
      {{"cuda.batches", "1,8,"}, "from 1 to 65536"},
      {{"cuda.batches", "0,8"}, "from 1 to 65536"},
      {{"cuda.batches", "8,65537"}, "from 1 to 65536"},
  };
  for (const auto& [parameter, expected] : refused) {
    SCOPED_TRACE(parameter.first + " " + parameter.second);
    expect_refused(options_with({parameter}), ErrorKind::invalid_input,
                   {parameter.first, "'" + parameter.second + "'", expected});
  }
  expect_refused(options_with({{"cuda.batches", "1"}}, 0), ErrorKind::invalid_input,
                 {"no batch dimension"});
}

TEST(CudaParameters, APrecisionOfTheOptionsThatItLacksIsRefused) {
  LoadOptions options = options_with({});
  options.precision = "int4";
  expect_refused(options, ErrorKind::invalid_input, {"precision", "'int4'"});
}

TEST(CudaParameters, ADeviceThatIsNoGpuIsUnavailable) {
  LoadOptions options = options_with({});
  for (const char* device :
       {"cpu", "cuda", "cuda:", "cuda:one", "cuda:-1", "cuda:1x", "cuda:99999999999"}) {
    SCOPED_TRACE(device);
    options.device = device;
    expect_refused(options, ErrorKind::unavailable, {"'cuda:0'", device});
  }
}

}  // namespace
}  // namespace takt::cuda
