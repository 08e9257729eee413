// SPDX-License-Identifier: Apache-2.0
#include "worker/confine.h"

#include <seccomp.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstddef>
#include <fstream>
#include <string>
#include <system_error>

namespace takt::worker {
namespace {

// What a worker with a GPU needs, once its model is loaded and this filter comes:
// - /dev/nvidia* opened, and ioctl and mmap on them: no call on files is filtered, file permissions say what is open;
// - threads (clone, futex), eventfd and poll: not filtered;
// - AF_UNIX sockets, to the MPS daemon: the only family that is left;
// - libraries and kernels that are opened and compiled late (dlopen of cuDNN's parts, NVRTC): open, mmap, mprotect.
// Before it: the driver may start nvidia-modprobe (execve) when it makes a context, which happens while loading.
// Profilers (perf_event_open, ptrace) are shut out: profile with sandbox: false.
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

std::string in_mib(std::size_t bytes) {
  return std::to_string(bytes >> 20U) + " MiB";
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

// The line "VmData: N kB": what RLIMIT_DATA counts; 0 where the kernel doesn't say.
std::size_t data_bytes() {
  std::ifstream file("/proc/self/status");
  std::size_t kilobytes = 0;
  for (std::string word; file >> word;) {
    if (word == "VmData:" && file >> kilobytes) return kilobytes * 1024;
  }
  return 0;
}

// RLIMIT_DATA and not RLIMIT_AS: a GPU's driver reserves address space for all memory of host and devices, many
// times what there is. RLIMIT_DATA counts private memory that is writable: neither that (PROT_NONE) nor mappings of
// the device (shared), but what driver and libraries have for themselves, which nobody can know beforehand.
Result<void> limit_memory(std::size_t bytes_max, bool on_gpu) {
  const std::size_t taken = on_gpu ? data_bytes() : 0;
  if (taken > bytes_max) {
    return fail(
        ErrorKind::unavailable,
        "memory_max: " + in_mib(bytes_max) + ", but the process has " + in_mib(taken) +
            " once its model is loaded, most of it of the GPU's driver and libraries; raise "
            "workers.memory_max, or let the kernel count what is used with workers.cgroup");
  }
  const rlimit limit{.rlim_cur = bytes_max, .rlim_max = bytes_max};
  if (::setrlimit(RLIMIT_DATA, &limit) != 0) return not_allowed("memory_max", errno);
  return {};
}

}  // namespace

Result<void> confine(const ipc::Confinement& confinement, std::string_view device) {
  if (confinement.memory_bytes_max > 0) {
    const bool on_gpu = device != "cpu";
    if (Result<void> limited = limit_memory(confinement.memory_bytes_max, on_gpu); !limited) {
      return limited;
    }
  }
  return confinement.sandbox ? filter_calls() : Result<void>{};
}

}  // namespace takt::worker
