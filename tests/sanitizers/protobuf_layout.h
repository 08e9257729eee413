// SPDX-License-Identifier: Apache-2.0
// Included first, by the compiler's -include, in every source of the preset tsan that uses protobuf.
//
// Under __SANITIZE_THREAD__ protobuf's header map_field.h gives each map field two members more,
// which Debian's libprotobuf, built without the sanitizer, doesn't know of: the two disagree where
// a message's fields lie, and reading a map crashes. Without the macro they agree. The accesses
// stay instrumented; only a self-check of protobuf's maps is gone.
#pragma once

#include <version>  // libstdc++ settles here what the macro means to it, the same in every source

#undef __SANITIZE_THREAD__
