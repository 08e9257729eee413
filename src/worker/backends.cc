// SPDX-License-Identifier: Apache-2.0
#include "worker/backends.h"

#include "backend/openvino/openvino_backend.h"
#include "backend/simulated/simulated_backend.h"
#include "core/suggest.h"

namespace takt::worker {

std::vector<std::string> backend_names() {
  return {"openvino", "simulated"};
}

Result<std::unique_ptr<Backend>> make_backend(std::string_view name) {
  if (name == "openvino") return make_openvino_backend();
  if (name == "simulated") return make_simulated_backend();
  return fail(ErrorKind::invalid_input,
              "no backend '" + std::string(name) + "'" + suggestion(name, backend_names()));
}

}  // namespace takt::worker
