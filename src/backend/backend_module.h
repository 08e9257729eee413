// SPDX-License-Identifier: Apache-2.0
// What the file of a backend (takt-NAME.so beside the program) offers to whoever opens it. A backend
// that brings a library of its own stands in such a file, so that a gateway whose models run in
// workers never maps that library.
// Thread-safe: as backend/backend.h says.
// Owns: nothing.
#pragma once

#include "backend/backend.h"

#include <memory>

namespace takt {

// The two names that a module exports. C++ objects pass between module and program, so both must
// come from one build: the identity is compared before anything is called.
inline constexpr const char* kBackendIdSymbol = "takt_backend_id";      // const char[]
inline constexpr const char* kMakeBackendSymbol = "takt_make_backend";  // MakeBackend
using MakeBackend = void(Result<std::unique_ptr<Backend>>* made);

// The identity of this build: version, compiler, kind of build, hash of the interface's headers.
[[nodiscard]] const char* backend_id() noexcept;

}  // namespace takt
