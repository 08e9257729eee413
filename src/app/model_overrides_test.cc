// SPDX-License-Identifier: Apache-2.0
#include "app/model_overrides.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <iterator>

namespace takt::app {
namespace {

namespace fs = std::filesystem;
using server::LoadOverrides;
using ::testing::HasSubstr;

std::string content_of(const fs::path& file) {
  std::ifstream stream(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

// A repository with versions 1 and 2 of "m"; temporary folders are made beside it.
class ModelOverrides : public ::testing::Test {
 protected:
  ModelOverrides() {
    for (const char* const version : {"1", "2", "drafts"}) {
      fs::create_directories(root() / "m" / version);
      std::ofstream(root() / "m" / version / "model.onnx") << "version " << version;
    }
    fs::create_directories(temporary());
    ::setenv("TMPDIR", temporary().c_str(), 1);
  }
  void TearDown() override { ::unsetenv("TMPDIR"); }
  [[nodiscard]] fs::path root() const { return folder_.path() / "models"; }
  [[nodiscard]] fs::path temporary() const { return folder_.path() / "tmp"; }
  [[nodiscard]] Result<TemporaryFolder> make(const LoadOverrides& overrides) const {
    return make_override(root(), "m", overrides, 100);
  }
  [[nodiscard]] std::string error_of(const LoadOverrides& overrides) const {
    const Result<TemporaryFolder> made = make(overrides);
    if (made) return "no error";
    EXPECT_EQ(made.error().kind, ErrorKind::invalid_input);
    return made.error().message;
  }

  const TemporaryFolder folder_ = std::move(*TemporaryFolder::make());
};

TEST_F(ModelOverrides, AConfigurationStandsBeforeTheRepositorysVersions) {
  const auto made = make({.config_json = R"({"max_batch_size": 3})", .files = {}});
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_EQ(content_of(made->path() / "m" / "config.pbtxt"), "max_batch_size: 3\n");
  EXPECT_EQ(content_of(made->path() / "m" / "1" / "model.onnx"), "version 1");
  EXPECT_EQ(content_of(made->path() / "m" / "2" / "model.onnx"), "version 2");
  EXPECT_FALSE(fs::exists(made->path() / "m" / "drafts"));
}

TEST_F(ModelOverrides, DeletingThemLeavesTheRepositoryAsItWas) {
  {
    ASSERT_TRUE(make({.config_json = "{}", .files = {}}));
  }
  EXPECT_TRUE(fs::is_empty(temporary()));
  EXPECT_EQ(content_of(root() / "m" / "1" / "model.onnx"), "version 1");
}

TEST_F(ModelOverrides, FilesAreAllThatTheModelHas) {
  const std::string bytes("a\0\xff\n", 4);
  const auto made = make(
      {.config_json = "{}", .files = {{"file:3/model.onnx", bytes}, {"file:3/weights 1.bin", ""}}});
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_EQ(content_of(made->path() / "m" / "3" / "model.onnx"), bytes);
  EXPECT_TRUE(fs::exists(made->path() / "m" / "3" / "weights 1.bin"));
  EXPECT_FALSE(fs::exists(made->path() / "m" / "1"));
  EXPECT_EQ(fs::status(made->path()).permissions() & fs::perms::others_all, fs::perms::none);
}

TEST_F(ModelOverrides, OnlyAPlainNameInAVersionIsAFile) {
  for (const std::string key : {"1/model.onnx",
                                "file:model.onnx",
                                "file:1/",
                                "file:/model.onnx",
                                "file://etc/x",
                                "file:0/model.onnx",
                                "file:01/model.onnx",
                                "file:-1/model.onnx",
                                "file:one/model.onnx",
                                "file:1234567890123456789/model.onnx",
                                "file:1/../model.onnx",
                                "file:../1/model.onnx",
                                "file:1/..",
                                "file:1/.hidden",
                                "file:1/sub/model.onnx",
                                "file:1//model.onnx",
                                "file:1/sub\\model.onnx",
                                "file:1/line\nbreak",
                                "file:",
                                "FILE:1/model.onnx",
                                ""}) {
    EXPECT_THAT(error_of({.config_json = "{}", .files = {{key, "x"}}}),
                HasSubstr("expected file:VERSION/NAME"))
        << key;
  }
  EXPECT_THAT(error_of({.config_json = "{}", .files = {{std::string("file:1/a\0b", 10), "x"}}}),
              HasSubstr("expected file:VERSION/NAME"));
  const std::string most(255, 'a');
  EXPECT_THAT(error_of({.config_json = "{}", .files = {{"file:" + most, "x"}}}),
              HasSubstr("expected file:VERSION/NAME"));
  for (const std::string& key : {"file:" + most + "a", "file:1/" + most + "a"}) {
    const auto refused = make({.config_json = "{}", .files = {{key, "x"}}});
    ASSERT_FALSE(refused) << key;
    EXPECT_EQ(refused.error().kind, ErrorKind::internal) << "as Triton's clients expect";
    EXPECT_THAT(refused.error().message, HasSubstr("failed to poll from model repository"));
  }
  EXPECT_TRUE(fs::is_empty(temporary())) << "nothing is left of what was refused";
}

TEST_F(ModelOverrides, FilesNeedAConfiguration) {
  EXPECT_THAT(error_of({.config_json = "", .files = {{"file:1/model.onnx", "x"}}}),
              HasSubstr("files without a configuration"));
}

TEST_F(ModelOverrides, ABadConfigurationIsRefusedByItsField) {
  EXPECT_THAT(error_of({.config_json = R"({"max_bach_size": 3})", .files = {}}),
              HasSubstr("config: unknown field 'max_bach_size'"));
}

TEST_F(ModelOverrides, AllFilesTogetherAreBounded) {
  const std::string half(50, 'x');
  LoadOverrides overrides{.config_json = "{}",
                          .files = {{"file:1/model.onnx", half}, {"file:1/weights", half}}};
  EXPECT_EQ(error_of(overrides), "no error");
  overrides.files["file:2/model.onnx"] = "x";
  EXPECT_THAT(error_of(overrides), HasSubstr("the files have 101 bytes; at most 100"));
}

}  // namespace
}  // namespace takt::app
