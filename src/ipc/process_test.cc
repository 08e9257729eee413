// SPDX-License-Identifier: Apache-2.0
#include "ipc/process.h"

#include "ipc/control_socket.h"

#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>

namespace takt::ipc {
namespace {

using namespace std::chrono_literals;

Result<Process> shell(const std::string& script, const Descriptor& control) {
  return Process::start("/bin/sh", {"-c", script}, control);
}

TEST(Process, SaysHowItEnded) {
  auto ends = *ControlSocket::pair();
  auto child = shell("exit 7", ends.second.descriptor());
  ASSERT_TRUE(child) << child.error().message;
  EXPECT_EQ(child->wait(20s), "exit code 7");
  EXPECT_FALSE(*child);
}

TEST(Process, RunsUntilItIsKilled) {
  auto ends = *ControlSocket::pair();
  auto child = shell("exec sleep 1000", ends.second.descriptor());
  ASSERT_TRUE(child);
  EXPECT_EQ(child->wait(1ms), std::nullopt);
  child->kill();
  EXPECT_EQ(child->wait(20s), "killed by signal 9 (Killed)");
}

TEST(Process, TheDestructorLeavesNoChild) {
  auto ends = *ControlSocket::pair();
  pid_t pid = 0;
  {
    auto child = shell("exec sleep 1000", ends.second.descriptor());
    ASSERT_TRUE(child);
    pid = child->pid();
  }
  EXPECT_NE(::kill(pid, 0), 0) << "it is still there, or a zombie";
}

TEST(Process, TheChildHasItsControlSocketAndNothingElseOfOurs) {
  auto ends = *ControlSocket::pair();
  const Descriptor leaked(::dup(0));  // without close-on-exec
  auto child = shell("ls /proc/self/fd | tr '\\n' ' ' >&3", ends.second.descriptor());
  ASSERT_TRUE(child);
  const auto said = ends.first.receive(20s);
  ASSERT_TRUE(said) << said.error().message;
  // 0 to 3, and the one with which ls reads the folder.
  EXPECT_EQ(said->text.substr(0, 8), "0 1 2 3 ");
  EXPECT_LE(said->text.size(), 10U) << said->text;
}

TEST(Process, AProgramThatIsNotThereIsAnError) {
  auto ends = *ControlSocket::pair();
  const auto child = Process::start("/no/such/program", {}, ends.second.descriptor());
  ASSERT_FALSE(child);
  EXPECT_NE(child.error().message.find("/no/such/program"), std::string::npos);
}

}  // namespace
}  // namespace takt::ipc
