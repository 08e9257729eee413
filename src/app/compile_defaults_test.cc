// SPDX-License-Identifier: Apache-2.0
#include "app/compile_defaults.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

namespace takt::app {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// A model for inputs [n,2,h,w], "images" by name, with what config.pbtxt says of it.
class CompileDefaults : public ::testing::Test {
 protected:
  CompileDefaults() {
    std::string pattern = (fs::temp_directory_path() / "takt-defaults-XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
    arguments_.model = folder_ / "net" / "1" / "model.onnx";
    fs::create_directories(arguments_.model.parent_path());
    fs::copy_file(fs::path(TAKT_TEST_MODELS) / "conv_net.onnx", arguments_.model);
  }
  ~CompileDefaults() override {
    std::error_code ignored;
    fs::remove_all(folder_, ignored);
  }
  void configure(const std::string& text) const {
    std::ofstream(folder_ / "net" / "config.pbtxt") << text;
  }
  static std::string parameter(const std::string& key, const std::string& value) {
    return "parameters { key: \"" + key + "\" value { string_value: \"" + value + "\" } }\n";
  }

  fs::path folder_;
  CompileArguments arguments_;
};

TEST_F(CompileDefaults, AreWhatTheServerWouldTake) {
  configure("max_batch_size: 6\n" + parameter("cuda.effort", "fast") +
            parameter("cuda.workspace_mib", "64"));
  const Result<void> filled = fill_from_repository(arguments_);
  ASSERT_TRUE(filled) << filled.error().message;
  EXPECT_EQ(arguments_.precision, "fp32");
  EXPECT_EQ(arguments_.effort, "fast");
  EXPECT_EQ(arguments_.workspace, "64MiB");
  EXPECT_THAT(arguments_.batches, ElementsAre(1, 2, 4, 6));
  EXPECT_THAT(arguments_.inputs, ElementsAre(HasSubstr("=1x2x16x16")));
}

TEST_F(CompileDefaults, LeaveWhatWasGiven) {
  configure("max_batch_size: 6\n" + parameter("cuda.precision", "bf16"));
  arguments_.precision = "fp16";
  arguments_.batches = {3};
  ASSERT_TRUE(fill_from_repository(arguments_));
  EXPECT_EQ(arguments_.precision, "fp16");
  EXPECT_THAT(arguments_.batches, ElementsAre(3));
}

TEST_F(CompileDefaults, OfAFileWithoutAConfigurationStayOpen) {
  ASSERT_TRUE(fill_from_repository(arguments_));
  EXPECT_EQ(arguments_.precision, "");
  EXPECT_TRUE(arguments_.batches.empty());
  EXPECT_TRUE(arguments_.inputs.empty());
}

TEST_F(CompileDefaults, OfAnotherFileBesideTheServedOneStayOpen) {
  configure("max_batch_size: 6\n");
  fs::rename(arguments_.model, arguments_.model.parent_path() / "old.onnx");
  fs::copy_file(fs::path(TAKT_TEST_MODELS) / "conv_net.onnx", arguments_.model);
  arguments_.model = arguments_.model.parent_path() / "old.onnx";
  ASSERT_TRUE(fill_from_repository(arguments_));
  EXPECT_TRUE(arguments_.batches.empty());
}

TEST_F(CompileDefaults, AConfigurationThatCannotBeServedIsRefused) {
  configure("max_batch: 6\n");
  const Result<void> filled = fill_from_repository(arguments_);
  ASSERT_FALSE(filled);
  EXPECT_THAT(filled.error().message, HasSubstr("unknown field 'max_batch'"));
  configure(parameter("cuda.precison", "fp16"));
  const Result<void> misspelt = fill_from_repository(arguments_);
  ASSERT_FALSE(misspelt);
  EXPECT_THAT(misspelt.error().message, HasSubstr("cuda.precision"));
}

}  // namespace
}  // namespace takt::app
