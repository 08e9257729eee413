// SPDX-License-Identifier: Apache-2.0
#include "ipc/control_socket.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <array>
#include <chrono>
#include <string>

namespace takt::ipc {
namespace {

using namespace std::chrono_literals;

TEST(ControlSocket, CarriesTextAndDescriptors) {
  auto ends = ControlSocket::pair();
  ASSERT_TRUE(ends);
  auto& [a, b] = *ends;
  const Descriptor file(::memfd_create("carried", MFD_CLOEXEC));
  ASSERT_EQ(::write(file.get(), "x", 1), 1);
  const std::array sent{file.get(), file.get()};
  ASSERT_TRUE(a.send("hello", sent));
  const auto message = b.receive(10s);
  ASSERT_TRUE(message) << message.error().message;
  EXPECT_EQ(message->text, "hello");
  ASSERT_EQ(message->descriptors.size(), 2U);
  char read = 0;
  EXPECT_EQ(::pread(message->descriptors[1].get(), &read, 1, 0), 1);
  EXPECT_EQ(read, 'x');
}

TEST(ControlSocket, SaysWhenNothingComesAndWhenNobodyIsThere) {
  auto ends = ControlSocket::pair();
  ASSERT_TRUE(ends);
  EXPECT_EQ(ends->first.receive(1ms).error().kind, ErrorKind::deadline_exceeded);
  ends->second = ControlSocket(Descriptor());
  EXPECT_EQ(ends->first.receive(10s).error().kind, ErrorKind::unavailable);
  EXPECT_EQ(ends->first.send("anybody?").error().kind, ErrorKind::unavailable);
}

TEST(ControlSocket, RefusesWhatIsTooLargeOrEmpty) {
  auto ends = ControlSocket::pair();
  ASSERT_TRUE(ends);
  EXPECT_EQ(ends->first.send(std::string(kControlBytesMax + 1, 'x')).error().kind,
            ErrorKind::invalid_input);
  EXPECT_EQ(ends->first.send("").error().kind, ErrorKind::invalid_input);
  ASSERT_TRUE(ends->first.send(std::string(kControlBytesMax, 'x')));
  EXPECT_EQ(ends->second.receive(10s)->text.size(), kControlBytesMax);
}

}  // namespace
}  // namespace takt::ipc
