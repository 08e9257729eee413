// SPDX-License-Identifier: Apache-2.0
#include "ipc/memory_cgroup.h"

#include "ipc/control_socket.h"
#include "ipc/process.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>

namespace takt::ipc {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using testing::AllOf;
using testing::HasSubstr;

constexpr std::size_t kMiB = std::size_t{1} << 20;
constexpr pid_t kChild = 4321;

void write(const fs::path& file, const std::string& text) {
  fs::create_directories(file.parent_path());
  std::ofstream(file) << text;
}

std::string read(const fs::path& file) {
  std::ifstream stream(file);
  std::ostringstream text;
  text << stream.rdbuf();
  return text.str();
}

// The files of a delegated group in an ordinary folder. The kernel makes a child's files with its
// folder; here they must be there before.
class FakeCgroup : public testing::Test {
 public:
  FakeCgroup() {
    write(group_ / "cgroup.controllers", "cpu memory pids\n");
    write(group_ / "cgroup.subtree_control", "");
    write(group_ / "cgroup.procs", "");
  }
  ~FakeCgroup() override { fs::remove_all(group_); }

 protected:
  [[nodiscard]] fs::path child(const std::string& name) const {
    for (const char* file : {"memory.max", "memory.oom.group", "cgroup.procs"}) {
      write(group_ / name / file, "");
    }
    return group_ / name;
  }
  [[nodiscard]] fs::path child() const {
    return child("takt-" + std::to_string(::getpid()) + "-" + std::to_string(kChild));
  }
  // The kernel lets go of a group's files with its folder.
  static void empty(const fs::path& folder) {
    for (const auto& entry : fs::directory_iterator(folder)) fs::remove(entry.path());
  }

  void expect_refused(const Result<void>& result, const std::string& why,
                      const std::string& remedy) const {
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().kind, ErrorKind::unavailable);
    EXPECT_THAT(result.error().message,
                AllOf(HasSubstr(group_.string()), HasSubstr(why), HasSubstr(remedy)));
  }

  const fs::path group_ =
      fs::path(testing::TempDir()) / ("takt-cgroup-" + std::to_string(::getpid()));
};

TEST_F(FakeCgroup, AChildGetsAGroupWithTheLimitAndIsMovedThere) {
  const fs::path folder = child();
  {
    const auto group = MemoryCgroup::create({group_, 64 * kMiB}, kChild);
    ASSERT_TRUE(group) << group.error().message;
    EXPECT_EQ(read(folder / "memory.max"), "67108864");
    EXPECT_EQ(read(folder / "memory.oom.group"), "1");
    EXPECT_EQ(read(folder / "cgroup.procs"), "4321");
    EXPECT_TRUE(fs::exists(folder));
    empty(folder);
  }
  EXPECT_FALSE(fs::exists(folder)) << "it goes with the child";
}

TEST_F(FakeCgroup, AKernelWithoutGroupedEndsWillDo) {
  const fs::path folder = child();
  fs::remove(folder / "memory.oom.group");
  EXPECT_TRUE(MemoryCgroup::create({group_, kMiB}, kChild));
  EXPECT_FALSE(fs::exists(folder / "memory.oom.group"));
}

TEST_F(FakeCgroup, AFileThatCannotBeWrittenIsNamed) {
  for (const char* file : {"memory.max", "cgroup.procs"}) {
    fs::remove(child() / file);
    const auto group = MemoryCgroup::create({group_, kMiB}, kChild);
    ASSERT_FALSE(group);
    EXPECT_EQ(group.error().kind, ErrorKind::unavailable);
    EXPECT_THAT(group.error().message, HasSubstr(file));
  }
}

TEST_F(FakeCgroup, AKillByTheLimitIsSaidAndOthersAreNot) {
  const fs::path folder = child();
  const auto group = MemoryCgroup::create({group_, 64 * kMiB}, kChild);
  ASSERT_TRUE(group);
  write(folder / "memory.events", "low 0\nhigh 0\nmax 7\noom 1\noom_kill 0\noom_group_kill 0\n");
  EXPECT_EQ(group->explained("killed by signal 9"), "killed by signal 9");
  write(folder / "memory.events", "low 0\nhigh 0\nmax 7\noom 1\noom_kill 2\noom_group_kill 1\n");
  EXPECT_EQ(group->out_of_memory_kills(), 2U);
  EXPECT_THAT(group->explained("killed by signal 9"),
              AllOf(HasSubstr("killed by signal 9: "), HasSubstr("workers.memory_max, 64 MiB")));
}

TEST_F(FakeCgroup, WithoutALimitNothingIsAddedAndNothingTouched) {
  const MemoryCgroup none;
  EXPECT_EQ(none.explained("exit code 1"), "exit code 1");
}

TEST_F(FakeCgroup, PreparedItHandsTheMemoryControllerOn) {
  ASSERT_TRUE(prepare_cgroup(group_));
  EXPECT_EQ(read(group_ / "cgroup.subtree_control"), "+memory");
  write(group_ / "cgroup.subtree_control", "memory pids");
  ASSERT_TRUE(prepare_cgroup(group_));
  EXPECT_EQ(read(group_ / "cgroup.subtree_control"), "memory pids") << "it had it";
}

TEST_F(FakeCgroup, TheGatewayLeavesAGroupThatItIsAloneIn) {
  const std::string own = std::to_string(::getpid());
  write(group_ / "cgroup.procs", own + "\n");
  const fs::path home = child("gateway");
  ASSERT_TRUE(prepare_cgroup(group_));
  EXPECT_EQ(read(home / "cgroup.procs"), own);
}

TEST_F(FakeCgroup, AGroupThatOthersLiveInIsRefused) {
  write(group_ / "cgroup.procs", "1\n" + std::to_string(::getpid()) + "\n");
  expect_refused(prepare_cgroup(group_), "2 processes live in it, such as 1", "takt's alone");
  EXPECT_EQ(read(group_ / "cgroup.subtree_control"), "");
}

TEST_F(FakeCgroup, WhatAKilledTaktLeftIsRemovedAndNothingElse) {
  constexpr const char* kNobody = "4194305";  // above the largest process number
  fs::create_directory(group_ / ("takt-" + std::string(kNobody) + "-7"));
  fs::create_directory(group_ / ("takt-" + std::to_string(::getppid()) + "-7"));
  fs::create_directory(group_ / "somebody-else");
  ASSERT_TRUE(prepare_cgroup(group_));
  EXPECT_FALSE(fs::exists(group_ / ("takt-" + std::string(kNobody) + "-7")));
  EXPECT_TRUE(fs::exists(group_ / ("takt-" + std::to_string(::getppid()) + "-7")));
  EXPECT_TRUE(fs::exists(group_ / "somebody-else"));
}

TEST_F(FakeCgroup, EachReasonWhyItCannotBeIsSaidWithItsRemedy) {
  EXPECT_TRUE(check_cgroup(group_));
  write(group_ / "cgroup.controllers", "cpu pids\n");
  expect_refused(check_cgroup(group_), "no memory controller", "Delegate=yes");
  fs::remove(group_ / "cgroup.controllers");
  expect_refused(check_cgroup(group_), "is no control group", "Delegate=yes");
  write(group_ / "tasks", "");
  expect_refused(check_cgroup(group_), "version 1", "unified_cgroup_hierarchy=1");
}

TEST_F(FakeCgroup, AGroupOfSomebodyElseIsRefused) {
  fs::remove(group_ / "cgroup.procs");  // root may write everything that is there
  expect_refused(check_cgroup(group_), "can't be written", "Delegate=yes");
}

// TAKT_TEST_CGROUP names a delegated group; without, the root of cgroup v2 is tried.
TEST(RealCgroup, TheKernelEndsAChildThatNeedsMoreAndItIsSaid) {
  const char* named = std::getenv("TAKT_TEST_CGROUP");
  const fs::path cgroup = named == nullptr ? "/sys/fs/cgroup" : named;
  if (const auto prepared = prepare_cgroup(cgroup); !prepared) {
    GTEST_SKIP() << "no cgroup v2 that is ours (TAKT_TEST_CGROUP): " << prepared.error().message;
  }
  auto ends = *ControlSocket::pair();
  // dd takes the message in one piece, as it came; tail keeps the last line of a file that never has
  // one.
  auto process =
      Process::start("/bin/sh", {"-c", "dd bs=64 count=1 <&3 >/dev/null 2>&1; exec tail /dev/zero"},
                     ends.second.descriptor());
  ASSERT_TRUE(process);
  fs::path folder;
  {
    const auto group = MemoryCgroup::create({cgroup, 64 * kMiB}, process->pid());
    ASSERT_TRUE(group) << group.error().message;
    folder = cgroup / ("takt-" + std::to_string(::getpid()) + "-" + std::to_string(process->pid()));
    ASSERT_TRUE(ends.first.send("go\n"));
    const std::optional<std::string> ending = process->wait(60s);
    ASSERT_TRUE(ending);
    EXPECT_THAT(group->explained(*ending),
                AllOf(HasSubstr("killed by signal 9"), HasSubstr("workers.memory_max, 64 MiB")));
  }
  EXPECT_FALSE(fs::exists(folder));
}

}  // namespace
}  // namespace takt::ipc
