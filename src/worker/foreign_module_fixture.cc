// SPDX-License-Identifier: Apache-2.0
// Two modules that open_module_test.cc must see refused: of another build, and of something else.
#include <cstdlib>

extern "C" {
#ifdef FOREIGN_BACKEND
extern const char takt_backend_id[];
const char takt_backend_id[] = "takt 0.0.9";
#endif

void takt_make_backend(void* made);
void takt_make_backend(void* /*made*/) {
  std::abort();  // nothing of a foreign module is called
}
}
