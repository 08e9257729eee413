// SPDX-License-Identifier: Apache-2.0
#include "worker/confine.h"

#include <seccomp.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <cerrno>
#include <string>
#include <system_error>

namespace takt::worker {
namespace {

constexpr const char* kForbiddenCalls[] = {
    "execve",           "execveat",          "ptrace",
    "process_vm_readv", "process_vm_writev", "mount",
    "umount2",          "move_mount",        "open_by_handle_at",
    "init_module",      "finit_module",      "delete_module",
    "kexec_load",       "kexec_file_load",   "bpf",
    "perf_event_open",  "userfaultfd",       "reboot",
    "swapon",           "swapoff",           "setns",
    "unshare",          "pivot_root",        "chroot",
    "keyctl",           "add_key",           "request_key",
    "io_uring_setup",
};

struct Filter {
  Filter() : context(::seccomp_init(SCMP_ACT_ALLOW)) {}
  ~Filter() {
    if (context != nullptr) ::seccomp_release(context);
  }
  Filter(const Filter&) = delete;
  Filter& operator=(const Filter&) = delete;
  scmp_filter_ctx context;
};

std::unexpected<Error> not_allowed(const std::string& what, int error) {
  return fail(ErrorKind::unavailable, what + ": " + std::generic_category().message(error) +
                                          "; switch it off in the task's worker options");
}

Result<void> filter_calls() {
  const Filter filter;
  if (filter.context == nullptr) return not_allowed("sandbox", ENOMEM);
  // Every thread that runs already gets it too.
  int error = ::seccomp_attr_set(filter.context, SCMP_FLTATR_CTL_TSYNC, 1);
  for (const char* name : kForbiddenCalls) {
    const int call = ::seccomp_syscall_resolve_name(name);
    if (call == __NR_SCMP_ERROR || error != 0) continue;  // a call that this kernel doesn't have
    error = ::seccomp_rule_add(filter.context, SCMP_ACT_ERRNO(EPERM), call, 0);
  }
  if (error == 0) {
    error = ::seccomp_rule_add(filter.context, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(socket), 1,
                               SCMP_A0(SCMP_CMP_NE, AF_UNIX));
  }
  if (error == 0) error = ::seccomp_load(filter.context);
  if (error != 0) return not_allowed("sandbox", -error);
  return {};
}

}  // namespace

Result<void> confine(const ipc::Confinement& confinement) {
  if (confinement.memory_bytes_max > 0) {
    const rlimit limit{.rlim_cur = confinement.memory_bytes_max,
                       .rlim_max = confinement.memory_bytes_max};
    if (::setrlimit(RLIMIT_DATA, &limit) != 0) return not_allowed("memory_max", errno);
  }
  return confinement.sandbox ? filter_calls() : Result<void>{};
}

}  // namespace takt::worker
