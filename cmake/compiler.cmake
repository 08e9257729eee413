# SPDX-License-Identifier: Apache-2.0
# Language, warnings, optimisation, sanitizers, compiler cache.

set(CMAKE_CXX_STANDARD 23)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR})
set_property(GLOBAL PROPERTY USE_FOLDERS ON)

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Release or Debug" FORCE)
endif()

# -O2 rather than -O3: the arithmetic that counts runs inside OpenVINO, and -O2 compiles faster.
# -g1 keeps file and line for profiles and stack traces at a fraction of the size of -g.
# x86-64-v2 (SSE4.2) is in every server CPU since 2009 and lets byte loops vectorise; never
# -march=native, because the program is built on one machine and runs on another.
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -g1 -DNDEBUG")
set(CMAKE_CXX_FLAGS_DEBUG "-O0 -g")
if(CMAKE_SYSTEM_PROCESSOR STREQUAL "x86_64")
  add_compile_options(-march=x86-64-v2)
endif()

# -Wno-restrict: GCC 12 reports std::string concatenation (GCC bug 105329).
add_compile_options(
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wnon-virtual-dtor -Woverloaded-virtual
  -Wimplicit-fallthrough -Wunused -Wvla -Wno-restrict)
option(TAKT_WERROR "Treat warnings as errors" ON)
if(TAKT_WERROR)
  add_compile_options(-Werror)
endif()

# Some libraries ask for it, and precompiled headers need the same options everywhere.
add_compile_options(-pthread)

# Paths in stack traces, logs and test failures are relative to the checkout, wherever it lies.
add_compile_options(-ffile-prefix-map=${CMAKE_SOURCE_DIR}/=)

set(TAKT_SANITIZE "" CACHE STRING "Sanitizers: empty, address,undefined or thread")
if(TAKT_SANITIZE)
  # GCC's flow warnings are unreliable on instrumented code, and the release build has them on. Its
  # instrumented code runs twice as fast at -O1; Clang's compiles about twice as fast without.
  add_compile_options(-fsanitize=${TAKT_SANITIZE} -fno-sanitize-recover=all
                      -fno-omit-frame-pointer -g1 -Wno-maybe-uninitialized
                      $<$<CXX_COMPILER_ID:GNU>:-O1>)
  add_compile_definitions(TAKT_SANITIZED)
  add_link_options(-fsanitize=${TAKT_SANITIZE})
  set(TAKT_SANITIZE_SUMMARY ${TAKT_SANITIZE})
else()
  set(TAKT_SANITIZE_SUMMARY none)
endif()

if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  # GCC's builds are those without warnings; Clang has others, also about the standard library.
  add_compile_options(-Wno-unknown-warning-option -Wno-error)
endif()

# libFuzzer finds new inputs by the edges that they reach in the layers.
option(TAKT_FUZZ "Build the fuzz targets too (Clang alone has libFuzzer)" OFF)
set(TAKT_LAYER_OPTIONS "$<$<BOOL:${TAKT_FUZZ}>:-fsanitize=fuzzer-no-link>")

# ccache: depend, so that a miss costs no preprocessing of its own; nohashdir, and paths left absolute,
# so that every build folder of one checkout shares hits whatever its depth (a base_dir would make the
# relative paths differ).
option(TAKT_CCACHE "Use ccache where it is installed" ON)
set(TAKT_CCACHE_SUMMARY no)
if(TAKT_CCACHE)
  find_program(TAKT_CCACHE_PROGRAM ccache)
  mark_as_advanced(TAKT_CCACHE_PROGRAM)
  if(TAKT_CCACHE_PROGRAM)
    set(CMAKE_CXX_COMPILER_LAUNCHER
        ${CMAKE_COMMAND} -E env CCACHE_NOHASHDIR=1 CCACHE_DEPEND=1
        CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime
        ${TAKT_CCACHE_PROGRAM})
    set(TAKT_CCACHE_SUMMARY ${TAKT_CCACHE_PROGRAM})
  endif()
endif()
