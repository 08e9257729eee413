// SPDX-License-Identifier: Apache-2.0
// What `takt compile` does where its command line leaves something open: as `takt serve` would load the model.
// Thread-safe: yes; it reads files.
// Owns: nothing.
#pragma once

#include "app/commands.h"
#include "core/result.h"

namespace takt::app {

// Fills what is empty from config.pbtxt where the model is a version of a repository, NAME/VERSION/model.onnx: its
// cuda.precision, cuda.batches, cuda.effort and cuda.workspace_mib or the server's defaults of them, and the shapes of
// inputs. Elsewhere nothing changes. Errors: invalid_input (config.pbtxt, or the ONNX file, isn't served as it is).
[[nodiscard]] Result<void> fill_from_repository(CompileArguments& arguments);

}  // namespace takt::app
