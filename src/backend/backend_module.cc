// SPDX-License-Identifier: Apache-2.0
#include "backend/backend_module.h"

#include <backend_id.h>

namespace takt {

const char* backend_id() noexcept {
  return TAKT_BACKEND_ID;
}

}  // namespace takt
