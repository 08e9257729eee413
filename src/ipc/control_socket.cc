// SPDX-License-Identifier: Apache-2.0
#include "ipc/control_socket.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <system_error>

namespace takt::ipc {
namespace {

// Text and descriptors of one message as the kernel wants them.
struct Envelope {
  explicit Envelope(std::span<char> text) {
    part = {.iov_base = text.data(), .iov_len = text.size()};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    header.msg_control = room.data();
    header.msg_controllen = room.size();
  }

  iovec part{};
  msghdr header{};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(kControlDescriptorsMax * sizeof(int))> room{};
};

std::vector<Descriptor> take_descriptors(msghdr& header) {
  std::vector<Descriptor> taken;
  for (cmsghdr* part = CMSG_FIRSTHDR(&header); part != nullptr; part = CMSG_NXTHDR(&header, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int number = -1;
      std::memcpy(&number, CMSG_DATA(part) + i * sizeof(int), sizeof(int));
      taken.emplace_back(number);
    }
  }
  return taken;
}

std::unexpected<Error> gone(int error) {
  return fail(ErrorKind::unavailable, error == 0 ? "the other process closed its end"
                                                 : "the other process can't be reached: " +
                                                       std::generic_category().message(error));
}

}  // namespace

Result<std::pair<ControlSocket, ControlSocket>> ControlSocket::pair() {
  std::array<int, 2> ends{-1, -1};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    return fail(ErrorKind::unavailable,
                "no socket pair to be had: " + std::generic_category().message(errno) +
                    "; raise the limit on files (ulimit -n)");
  }
  return std::pair(ControlSocket(Descriptor(ends[0])), ControlSocket(Descriptor(ends[1])));
}

Result<void> ControlSocket::send(std::string_view text, std::span<const int> descriptors) {
  if (text.empty() || text.size() > kControlBytesMax ||
      descriptors.size() > kControlDescriptorsMax) {
    return fail(ErrorKind::invalid_input,
                "a control message of " + std::to_string(text.size()) + " bytes and " +
                    std::to_string(descriptors.size()) + " descriptors; 1 to " +
                    std::to_string(kControlBytesMax) + " and at most " +
                    std::to_string(kControlDescriptorsMax) + " can be sent");
  }
  std::string copy(text);
  Envelope envelope(copy);
  if (descriptors.empty()) {
    envelope.header.msg_control = nullptr;
    envelope.header.msg_controllen = 0;
  } else {
    cmsghdr* const part = CMSG_FIRSTHDR(&envelope.header);
    part->cmsg_level = SOL_SOCKET;
    part->cmsg_type = SCM_RIGHTS;
    part->cmsg_len = CMSG_LEN(descriptors.size_bytes());
    std::memcpy(CMSG_DATA(part), descriptors.data(), descriptors.size_bytes());
    envelope.header.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
  }
  ssize_t sent = 0;
  do {
    sent = ::sendmsg(end_.get(), &envelope.header, MSG_NOSIGNAL | MSG_DONTWAIT);
  } while (sent < 0 && errno == EINTR);
  if (sent < 0) return gone(errno);
  return {};
}

Result<ControlMessage> ControlSocket::receive(Duration wait_max) {
  const auto end = std::chrono::steady_clock::now() + wait_max;
  while (true) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
    pollfd watched{.fd = end_.get(), .events = POLLIN, .revents = 0};
    const int ready =
        ::poll(&watched, 1, static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, 60'000)));
    if (ready > 0) break;
    if (ready < 0 && errno != EINTR) return gone(errno);
    if (left.count() <= 0) {
      return fail(ErrorKind::deadline_exceeded, "the other process sent nothing in time");
    }
  }
  std::string text(kControlBytesMax, '\0');
  Envelope envelope(text);
  const ssize_t received = ::recvmsg(end_.get(), &envelope.header, MSG_CMSG_CLOEXEC);
  if (received < 0) return gone(errno);
  ControlMessage message;
  message.descriptors = take_descriptors(envelope.header);
  if (received == 0) return gone(0);
  if ((envelope.header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) {
    return fail(ErrorKind::invalid_input, "a control message beyond the limits");
  }
  text.resize(static_cast<std::size_t>(received));
  message.text = std::move(text);
  return message;
}

}  // namespace takt::ipc
