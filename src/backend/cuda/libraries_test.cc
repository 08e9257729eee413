// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/libraries.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

namespace takt::cuda {
namespace {

namespace fs = std::filesystem;
using testing::Contains;
using testing::HasSubstr;
using testing::Not;

class Libraries : public testing::Test {
 protected:
  Libraries() {
    std::string pattern = testing::TempDir() + "takt-libraries-XXXXXX";
    folder_ = ::mkdtemp(pattern.data());
  }
  ~Libraries() override { fs::remove_all(folder_); }

  // A file of the library's name that is no library.
  fs::path put(const fs::path& file) {
    fs::create_directories((folder_ / file).parent_path());
    std::ofstream(folder_ / file) << "no library";
    return folder_ / file;
  }

  fs::path folder_;
};

LibraryNames absent() {
  return {.purpose = "library of a test",
          .files = {"libtakt-absent.so.2", "libtakt-absent.so.1"},
          .wheel_folders = {"absent/lib"},
          .remedy = "install it"};
}

std::string message_of(const LibraryNames& names, const LibrarySearch& search) {
  const Result<Library> library = open_library(names, search);
  EXPECT_FALSE(library.has_value());
  if (library) return {};
  EXPECT_EQ(library.error().kind, ErrorKind::unavailable);
  return library.error().message;
}

TEST_F(Libraries, AMissingOneSaysWhatItIsWhereItWasLookedForAndWhatToDo) {
  const fs::path packages = folder_ / "lib" / "python3.11" / "site-packages";
  fs::create_directories(packages);
  const std::string message =
      message_of(absent(), {.folders = {"/opt/configured"}, .environments = {folder_}});
  EXPECT_THAT(message, HasSubstr("library of a test"));
  EXPECT_THAT(message, HasSubstr("libtakt-absent.so.2 or libtakt-absent.so.1"));
  EXPECT_THAT(message, HasSubstr("/opt/configured"));
  EXPECT_THAT(message, HasSubstr((packages / "absent/lib").string()));
  EXPECT_THAT(message, HasSubstr("the system's loader"));
  EXPECT_THAT(message, HasSubstr("install it"));
}

TEST_F(Libraries, ADamagedOneIsNamedWithWhatTheLoaderSays) {
  const fs::path file = put("libtakt-absent.so.1");
  const std::string message = message_of(absent(), {.folders = {folder_}, .environments = {}});
  EXPECT_THAT(message, HasSubstr(file.string() + ": file too short"));
}

TEST_F(Libraries, ADamagedOneDoesNotHideOneThatTheLoaderFinds) {
  put("libm.so.6");
  const LibraryNames names = {
      .purpose = "libm", .files = {"libm.so.6"}, .wheel_folders = {}, .remedy = "-"};
  const Result<Library> library = open_library(names, {.folders = {folder_}, .environments = {}});
  ASSERT_TRUE(library.has_value()) << library.error().message;
  EXPECT_NE(library->file().parent_path(), folder_);
  EXPECT_NE(library->symbol("cos"), nullptr);
  EXPECT_EQ(library->symbol("takt_no_such_function"), nullptr);
}

TEST_F(Libraries, TheEnvironmentBesideTheProgramAndTheActiveOneAreSearched) {
  fs::create_directories(folder_ / ".venv");
  ::setenv("VIRTUAL_ENV", "/opt/active", 1);
  const LibrarySearch search = library_search({"/opt/configured"}, folder_ / "build" / "takt");
  ::unsetenv("VIRTUAL_ENV");
  EXPECT_THAT(search.folders, testing::ElementsAre("/opt/configured"));
  EXPECT_THAT(search.environments, testing::ElementsAre(folder_ / ".venv", "/opt/active"));
}

TEST(NvrtcLibrary, ANewerCompilerThanTheDriverIsNotTried) {
  EXPECT_THAT(nvrtc_library(13).files, testing::ElementsAre("libnvrtc.so.13", "libnvrtc.so.12"));
  EXPECT_THAT(nvrtc_library(12).files, Not(Contains("libnvrtc.so.13")));
  EXPECT_THAT(nvrtc_library(12).remedy, HasSubstr("nvidia-cuda-nvrtc-cu12"));
}

TEST(DriverLibrary, AMissingDriverIsExplained) {
  if (open_library(driver_library(), {})) GTEST_SKIP() << "this machine has a driver";
  const std::string message = message_of(driver_library(), {});
  EXPECT_THAT(message, HasSubstr("CUDA driver (libcuda.so.1)"));
  EXPECT_THAT(message, HasSubstr("nvidia-smi"));
}

}  // namespace
}  // namespace takt::cuda
