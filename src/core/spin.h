// SPDX-License-Identifier: Apache-2.0
// For loops that wait by looking again and again.
// Thread-safe: yes.
// Owns: nothing.
#pragma once

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace takt {

// Between two looks: leaves the core's resources to its other hardware thread.
inline void pause_cpu() noexcept {
#if defined(__x86_64__)
  _mm_pause();
#endif
}

}  // namespace takt
