// SPDX-License-Identifier: Apache-2.0
// What a request to load a model states in place of what the repository has, as files.
// Thread-safe: pure functions.
// Owns: nothing; the result owns its folder.
#pragma once

#include "app/temporary_folder.h"
#include "core/result.h"
#include "server/model_catalog.h"

#include <cstddef>
#include <filesystem>
#include <string>

namespace takt::app {

// A repository that holds this one model: NAME/config.pbtxt says what the JSON does, and the files lie
// in their versions. Without files the versions are those of `repository`, an absolute path. `name`
// is a model's (repository::check_model_name). Errors: invalid_input (the configuration, files without one, a key
// other than file:VERSION/NAME, more than `bytes_max` in all), unavailable (no room).
[[nodiscard]] Result<TemporaryFolder> make_override(const std::filesystem::path& repository,
                                                    const std::string& name,
                                                    const server::LoadOverrides& overrides,
                                                    std::size_t bytes_max);

}  // namespace takt::app
