// SPDX-License-Identifier: Apache-2.0
// `takt worker`: how takt starts its own workers.
#include "app/commands.h"
#include "ipc/process.h"
#include "worker/worker_process.h"

namespace takt::app {

int run_worker(int parent) {
  return worker::run_worker(ipc::ControlSocket(ipc::Descriptor(ipc::kControlDescriptor)), parent);
}

}  // namespace takt::app
