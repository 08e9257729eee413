// SPDX-License-Identifier: Apache-2.0
// The backends that run on every machine.
#include "backend/conformance/conformance_backends.h"
#include "backend/openvino/openvino_backend.h"
#include "backend/simulated/simulated_backend.h"

namespace takt::conformance {

std::vector<BackendCase> conformance_backends() {
  BackendCase openvino;
  openvino.name = "openvino";
  openvino.make = []() -> Result<std::unique_ptr<Backend>> { return make_openvino_backend(); };
  BackendCase simulated;
  simulated.name = "simulated";
  simulated.make = []() -> Result<std::unique_ptr<Backend>> { return make_simulated_backend(); };
  simulated.slow = {{"simulated.base_us", "5000"}, {"simulated.row_us", "100"}};
  simulated.takes_strings = true;
  return {openvino, simulated};
}

}  // namespace takt::conformance
