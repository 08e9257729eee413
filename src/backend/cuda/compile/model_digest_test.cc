// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/compile/model_digest.h"

#include "backend/cuda/compile/sha256.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <onnx/onnx.pb.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>

namespace takt::cuda {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class ModelDigest : public ::testing::Test {
 protected:
  void SetUp() override { fs::create_directories(folder_); }
  void TearDown() override { fs::remove_all(folder_); }

  fs::path write(const std::string& name, const std::string& bytes) const {
    std::ofstream(folder_ / name, std::ios::binary) << bytes;
    return folder_ / name;
  }
  fs::path write(const onnx::ModelProto& model) const {
    return write("model.onnx", model.SerializeAsString());
  }
  [[nodiscard]] const fs::path& folder() const { return folder_; }

  static void keep_outside(onnx::TensorProto& tensor, const std::string& location) {
    tensor.set_data_location(onnx::TensorProto::EXTERNAL);
    onnx::StringStringEntryProto& entry = *tensor.add_external_data();
    entry.set_key("location");
    entry.set_value(location);
  }
  static onnx::ModelProto model(const std::string& location) {
    onnx::ModelProto model;
    model.set_ir_version(8);
    onnx::TensorProto& own = *model.mutable_graph()->add_initializer();
    own.set_raw_data(std::string(100'000, 'x'));
    if (!location.empty()) keep_outside(*model.mutable_graph()->add_initializer(), location);
    return model;
  }

 private:
  fs::path folder_ =
      fs::temp_directory_path() / ("takt-model-digest-" + std::to_string(::getpid()));
};

TEST_F(ModelDigest, IsTheFilesOwnWhereItHoldsAllWeights) {
  const onnx::ModelProto whole = model("");
  EXPECT_EQ(model_digest(write(whole)), sha256_hex(whole.SerializeAsString()));
}

TEST_F(ModelDigest, ChangesWithTheWeightsInOtherFiles) {
  const fs::path file = write(model("weights.bin"));
  write("weights.bin", "one");
  const Result<std::string> one = model_digest(file);
  write("weights.bin", "two");
  const Result<std::string> two = model_digest(file);
  ASSERT_TRUE(one && two);
  EXPECT_NE(*one, *two);
}

TEST_F(ModelDigest, FindsWeightsInSubgraphs) {
  onnx::ModelProto outer = model("");
  onnx::AttributeProto& attribute = *outer.mutable_graph()->add_node()->add_attribute();
  keep_outside(*attribute.mutable_g()->add_initializer(), "weights.bin");
  const Result<std::string> missing = model_digest(write(outer));
  ASSERT_FALSE(missing);
  EXPECT_THAT(missing.error().message, HasSubstr("weights.bin: can't be opened"));
}

TEST_F(ModelDigest, RefusesWeightsOutsideOfTheFolder) {
  for (const char* location : {"/etc/passwd", "../weights.bin", "a/../../weights.bin"}) {
    const Result<std::string> digest = model_digest(write(model(location)));
    ASSERT_FALSE(digest) << location;
    EXPECT_THAT(digest.error().message, HasSubstr("not inside its folder"));
  }
}

TEST_F(ModelDigest, WaitsForNoPipe) {
  ASSERT_EQ(::mkfifo((folder() / "weights.bin").c_str(), 0600), 0);
  const Result<std::string> digest = model_digest(write(model("weights.bin")));
  ASSERT_FALSE(digest);
  EXPECT_THAT(digest.error().message, HasSubstr("not a regular file"));
}

TEST_F(ModelDigest, RefusesWhatIsNoModel) {
  EXPECT_FALSE(model_digest(folder() / "no.onnx"));
  EXPECT_FALSE(model_digest(folder()));
  EXPECT_EQ(model_digest(write("text.onnx", "{\"layers\": [1, 2]}")).error().kind,
            ErrorKind::invalid_input);
}

// Whatever it finds, it ends.
TEST_F(ModelDigest, EndsOnEveryTruncation) {
  onnx::ModelProto small = model("weights.bin");
  small.mutable_graph()->mutable_initializer(0)->set_raw_data("xyz");
  const std::string bytes = small.SerializeAsString();
  write("weights.bin", "one");
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    const Result<std::string> digest = model_digest(write("cut.onnx", bytes.substr(0, length)));
    EXPECT_TRUE(digest || digest.error().kind == ErrorKind::invalid_input) << length;
  }
}

}  // namespace
}  // namespace takt::cuda
