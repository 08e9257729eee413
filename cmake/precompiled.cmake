# SPDX-License-Identifier: Apache-2.0
# Headers that nearly every source includes, compiled once. A source still includes what it uses: the
# preset tsan has none of this.
if(TAKT_SANITIZE MATCHES thread)  # protobuf_layout.h must come first there
  set(CMAKE_DISABLE_PRECOMPILE_HEADERS ON)
endif()

# A macro that a command line brings must be there when the headers are compiled; this one is OpenVINO's.
add_compile_definitions(_GLIBCXX_USE_CXX11_ABI=1)

# One source for each owner: CMake makes precompiled headers for a target that compiles something.
file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/gen/precompiled.cc CONTENT "// Empty.\n")

# Layers: nothing that takes long to read and that few use. Not with GCC 12, which then warns about the
# insides of std::string (GCC bug 105329) as if they were the layers'.
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  add_library(takt_precompiled OBJECT ${CMAKE_BINARY_DIR}/gen/precompiled.cc)
  target_compile_options(takt_precompiled PRIVATE ${TAKT_LAYER_OPTIONS})
  target_precompile_headers(takt_precompiled PRIVATE
    <algorithm> <array> <atomic> <chrono> <condition_variable> <cstdint> <deque> <expected>
    <filesystem> <functional> <map> <memory> <mutex> <optional> <set> <span> <sstream> <string>
    <string_view> <thread> <utility> <variant> <vector>)
endif()

# Tests.
add_library(takt_precompiled_tests OBJECT ${CMAKE_BINARY_DIR}/gen/precompiled.cc)
target_link_libraries(takt_precompiled_tests PRIVATE GTest::gmock)
target_compile_options(takt_precompiled_tests PRIVATE $<$<CONFIG:Release>:-O1>)
target_precompile_headers(takt_precompiled_tests PRIVATE
  <algorithm> <array> <atomic> <chrono> <cstdint> <expected> <filesystem> <fstream> <functional> <map>
  <memory> <mutex> <optional> <random> <span> <string> <string_view> <thread> <utility> <vector>
  <gmock/gmock.h> <gtest/gtest.h>)
