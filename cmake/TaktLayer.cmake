# SPDX-License-Identifier: Apache-2.0
# The functions that src/*/CMakeLists.txt are written with.
include(GoogleTest)

# Links takt_<layer> for each name in layers. A layer that comes later in TAKT_LAYERS is an error.
function(takt_link_layers target visibility)
  foreach(layer IN LISTS ARGN)
    if(NOT TARGET takt_${layer}
       AND NOT EXISTS ${CMAKE_SOURCE_DIR}/src/${layer}/CMakeLists.txt)
      message(WARNING "${target} uses layer '${layer}', which has no CMakeLists.txt yet")
      continue()
    elseif(NOT TARGET takt_${layer})
      message(FATAL_ERROR "${target} uses layer '${layer}', which does not exist or comes later "
                          "in TAKT_LAYERS (CMakeLists.txt)")
    endif()
    target_link_libraries(${target} ${visibility} takt_${layer})
  endforeach()
endfunction()

# takt_add_layer(<layer> SOURCES a.cc... [LAYERS core...] [LIBS t...] [PRIVATE_LIBS t...])
# Static library takt_<layer>. LAYERS and LIBS are public: what the layer's headers include.
function(takt_add_layer layer)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;LAYERS;LIBS;PRIVATE_LIBS")
  if(arg_UNPARSED_ARGUMENTS OR NOT arg_SOURCES)
    message(FATAL_ERROR "takt_add_layer(${layer} ...): SOURCES missing, or unknown words: "
                        "${arg_UNPARSED_ARGUMENTS}")
  endif()
  set(target takt_${layer})
  add_library(${target} STATIC ${arg_SOURCES})
  if(TARGET takt_precompiled)
    target_precompile_headers(${target} REUSE_FROM takt_precompiled)
  endif()
  target_include_directories(${target} PUBLIC ${CMAKE_SOURCE_DIR}/src)
  target_compile_options(${target} PRIVATE ${TAKT_LAYER_OPTIONS})
  takt_link_layers(${target} PUBLIC ${arg_LAYERS})
  target_link_libraries(${target} PUBLIC ${arg_LIBS} Threads::Threads PRIVATE ${arg_PRIVATE_LIBS})
endfunction()

# takt_add_program(<name> SOURCES main.cc... [LAYERS ...] [LIBS ...])
# Executable <name> in the root of the build folder.
function(takt_add_program name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;LAYERS;LIBS")
  if(arg_UNPARSED_ARGUMENTS OR NOT arg_SOURCES)
    message(FATAL_ERROR "takt_add_program(${name} ...): SOURCES missing, or unknown words: "
                        "${arg_UNPARSED_ARGUMENTS}")
  endif()
  if(TAKT_SANITIZE)
    list(APPEND arg_SOURCES ${CMAKE_SOURCE_DIR}/tests/sanitizers/options.cc)
  endif()
  add_executable(${name} ${arg_SOURCES})
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR}/src)
  takt_link_layers(${name} PRIVATE ${arg_LAYERS})
  target_link_libraries(${name} PRIVATE ${arg_LIBS} Threads::Threads)
endfunction()

# takt_add_tests(<layer> SOURCES a_test.cc... [LAYERS ...] [LIBS ...] [TIMEOUT_S n] [WHOLE])
# Executable takt-<layer>-tests with gtest_main and gmock, each test registered with ctest under
# the label `unit`; with WHOLE all of them as one, where starting the program takes longer than they
# do. Links takt_<layer> itself where that is a target. Tests find files of the checkout (models/,
# examples/) under TAKT_SOURCE_DIR.
function(takt_add_tests layer)
  cmake_parse_arguments(PARSE_ARGV 1 arg "WHOLE" "TIMEOUT_S" "SOURCES;LAYERS;LIBS")
  set(name takt-${layer}-tests)
  if(NOT arg_TIMEOUT_S)
    set(arg_TIMEOUT_S 60)
  endif()
  if(TARGET takt_${layer})
    list(APPEND arg_LAYERS ${layer})
    list(REMOVE_DUPLICATES arg_LAYERS)
  endif()
  takt_add_program(${name} SOURCES ${arg_SOURCES} LAYERS ${arg_LAYERS} LIBS ${arg_LIBS}
                   GTest::gtest_main GTest::gmock)
  target_compile_definitions(${name} PRIVATE TAKT_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
  # The code under test is the layers'; that of the tests themselves needs to compile fast.
  # With precompiled headers GCC 12 warns about the insides of std::string (GCC bug 105329).
  target_compile_options(${name} PRIVATE $<$<CONFIG:Release>:-O1> -Wno-array-bounds -Wno-stringop-overflow
                         -Wno-stringop-overread)
  target_precompile_headers(${name} REUSE_FROM takt_precompiled_tests)
  # PRE_TEST: the build only links; discovery runs when ctest does. Sanitizers are slower.
  if(TAKT_SANITIZE)
    math(EXPR arg_TIMEOUT_S "${arg_TIMEOUT_S} * 5")
  endif()
  if(arg_WHOLE)
    add_test(NAME "${layer}: all" COMMAND ${name} --gtest_brief=1
             WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
    set_tests_properties("${layer}: all" PROPERTIES LABELS unit TIMEOUT ${arg_TIMEOUT_S})
    return()
  endif()
  gtest_discover_tests(
    ${name}
    DISCOVERY_MODE PRE_TEST
    DISCOVERY_TIMEOUT 60
    TEST_PREFIX "${layer}: "
    WORKING_DIRECTORY ${CMAKE_SOURCE_DIR}
    PROPERTIES LABELS unit TIMEOUT ${arg_TIMEOUT_S})
endfunction()

# takt_add_bench(<name> SOURCES ... [LAYERS ...] [LIBS ...])
# Google Benchmark program takt-bench-<name>; `make bench BENCH=<name>` builds and runs it. Built with
# everything else where it could be run, so that no change leaves it behind.
function(takt_add_bench name)
  takt_add_program(takt-bench-${name} ${ARGN})
  target_link_libraries(takt-bench-${name} PRIVATE benchmark::benchmark benchmark::benchmark_main)
  if(TAKT_SANITIZE)
    set_target_properties(takt-bench-${name} PROPERTIES EXCLUDE_FROM_ALL ON)
  endif()
endfunction()
