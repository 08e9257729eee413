// SPDX-License-Identifier: Apache-2.0
// takt-openvino.so, as backend/backend_module.h says.
#include "backend/backend_module.h"
#include "backend/openvino/openvino_backend.h"

#include <backend_id.h>

extern "C" {
[[gnu::visibility("default")]] extern const char takt_backend_id[];
const char takt_backend_id[] = TAKT_BACKEND_ID;

[[gnu::visibility("default")]] void takt_make_backend(
    takt::Result<std::unique_ptr<takt::Backend>>* made) {
  *made = takt::make_openvino_backend();
}
}
