// SPDX-License-Identifier: Apache-2.0
#include "worker/open_module.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace takt::worker {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;

class OpenModule : public testing::Test {
 public:
  OpenModule() { fs::create_directories(folder_); }
  ~OpenModule() override { fs::remove_all(folder_); }

 protected:
  static void expect_refused(const fs::path& file, const std::string& why) {
    const auto backend = open_module(file);
    ASSERT_FALSE(backend);
    EXPECT_EQ(backend.error().kind, ErrorKind::unavailable);
    EXPECT_THAT(backend.error().message,
                AllOf(HasSubstr(file.string()), HasSubstr(why), HasSubstr("make build")));
  }

  static void touch(const fs::path& file) {
    fs::create_directories(file.parent_path());
    std::ofstream(file) << "not a library";
  }

  const fs::path folder_ =
      fs::path(testing::TempDir()) / ("takt-open-module-" + std::to_string(::getpid()));
};

TEST_F(OpenModule, AMissingFileIsNamedWithTheRemedy) {
  expect_refused(folder_ / "takt-openvino.so", "missing");
}

TEST_F(OpenModule, AFileThatIsNoLibraryIsRefused) {
  touch(folder_ / "takt-openvino.so");
  expect_refused(folder_ / "takt-openvino.so", "");
}

TEST_F(OpenModule, AModuleOfAnotherBuildIsRefusedBeforeAnythingOfItIsCalled) {
  expect_refused(TAKT_FOREIGN_MODULE, "another build (takt 0.0.9; the program is takt ");
}

TEST_F(OpenModule, ALibraryThatIsNoBackendIsRefused) {
  expect_refused(TAKT_NO_MODULE, "no backend of takt");
}

TEST_F(OpenModule, TheFileBesideTheProgramComesBeforeTheInstalledOne) {
  const fs::path program = folder_ / "bin" / "takt";
  const fs::path beside = folder_ / "bin" / "takt-openvino.so";
  const fs::path installed = folder_ / "lib" / "takt" / "takt-openvino.so";
  EXPECT_EQ(module_file("openvino", program), beside);  // where it is missed
  touch(installed);
  EXPECT_EQ(module_file("openvino", program), installed);
  touch(beside);
  EXPECT_EQ(module_file("openvino", program), beside);
}

}  // namespace
}  // namespace takt::worker
