# SPDX-License-Identifier: Apache-2.0
# Every third-party library, each as an imported target (so that its headers are SYSTEM headers):
#
#   openvino::runtime            spng::spng               GTest::gtest_main, GTest::gmock
#   yaml-cpp::yaml-cpp           turbojpeg::turbojpeg     rapidcheck::gtest (with rapidcheck)
#   CLI11::CLI11, fmt::fmt       ZLIB::ZLIB               benchmark::benchmark
#   nlohmann_json::nlohmann_json SQLiteCpp                takt_onnx_proto
#   seccomp::seccomp, hwloc::hwloc  Boost::headers           simdjson::simdjson
#   OpenSSL::SSL, OpenSSL::Crypto  prometheus::prometheus   gRPC::grpc++
#   LibArchive::LibArchive
#
# Debian's packages are listed in setup/apt.txt, the wheels in setup/requirements.in.

set(TAKT_SETUP_HINT "run: make setup")

# Finds a CMake package or stops with the one remedy.
macro(takt_find_package name debian_package)
  find_package(${name} ${ARGN} QUIET)
  if(NOT ${name}_FOUND)
    message(FATAL_ERROR "${name} not found (Debian package ${debian_package}); ${TAKT_SETUP_HINT}")
  endif()
endmacro()

# Wraps a pkg-config module as the imported target <name>::<name>.
function(takt_find_module name module debian_package)
  pkg_check_modules(${name} QUIET IMPORTED_TARGET GLOBAL ${module})
  if(NOT ${name}_FOUND)
    message(FATAL_ERROR
            "${module} not found (Debian package ${debian_package}); ${TAKT_SETUP_HINT}")
  endif()
  add_library(${name}::${name} ALIAS PkgConfig::${name})
endfunction()

find_package(Threads REQUIRED)
find_package(PkgConfig QUIET)
if(NOT PKG_CONFIG_FOUND)
  message(FATAL_ERROR "pkg-config not found; ${TAKT_SETUP_HINT}")
endif()

takt_find_package(yaml-cpp libyaml-cpp-dev)
add_library(yaml-cpp::yaml-cpp ALIAS yaml-cpp) # the name that yaml-cpp 0.8 exports itself
takt_find_package(CLI11 libcli11-dev)
takt_find_package(fmt libfmt-dev)
takt_find_package(nlohmann_json nlohmann-json3-dev)
takt_find_package(SQLiteCpp libsqlitecpp-dev)
takt_find_package(ZLIB zlib1g-dev)
takt_find_package(Boost libboost1.81-dev 1.81 CONFIG)
takt_find_package(simdjson libsimdjson-dev)
takt_find_package(OpenSSL libssl-dev)
takt_find_package(LibArchive libarchive-dev)
takt_find_package(mimalloc libmimalloc-dev CONFIG)
takt_find_module(spng spng libspng-dev)
takt_find_module(prometheus prometheus-cpp-core prometheus-cpp-dev)
takt_find_module(turbojpeg libturbojpeg libturbojpeg0-dev)
takt_find_module(seccomp libseccomp libseccomp-dev)
takt_find_module(hwloc hwloc libhwloc-dev)

# OpenVINO and onnx.proto come from the wheels in the project's own Python environment.
set(TAKT_VENV ${CMAKE_SOURCE_DIR}/.venv CACHE PATH "Python environment that holds the wheels")
file(GLOB takt_site_packages ${TAKT_VENV}/lib/python3.*/site-packages)
set(takt_openvino_cmake "${takt_site_packages}/openvino/cmake")
if(NOT EXISTS "${takt_openvino_cmake}/OpenVINOConfig.cmake")
  message(FATAL_ERROR "the OpenVINO wheel is not in ${TAKT_VENV}; ${TAKT_SETUP_HINT}")
endif()
find_package(OpenVINO QUIET CONFIG COMPONENTS Runtime PATHS ${takt_openvino_cmake} NO_DEFAULT_PATH)
if(NOT OpenVINO_FOUND)
  message(FATAL_ERROR "the OpenVINO wheel in ${TAKT_VENV} is damaged; delete that folder and "
                      "${TAKT_SETUP_HINT}")
endif()
# Linked from a folder without TBB's binding to NUMA nodes: with it, every inference lets its thread use
# all CPUs of the node and confines it again, two system calls, while takt has chosen its CPU already.
set(takt_openvino_libs ${CMAKE_BINARY_DIR}/openvino-libs)
file(MAKE_DIRECTORY ${takt_openvino_libs})
file(GLOB takt_openvino_files ${takt_site_packages}/openvino/libs/*.so*)
foreach(library IN LISTS takt_openvino_files)
  get_filename_component(name ${library} NAME)
  if(NOT name MATCHES "tbbbind|hwloc")
    file(CREATE_LINK ${library} ${takt_openvino_libs}/${name} SYMBOLIC)
  endif()
endforeach()
get_target_property(takt_openvino_library openvino::runtime LOCATION)
get_filename_component(name ${takt_openvino_library} NAME)
set_target_properties(openvino::runtime PROPERTIES
  IMPORTED_LOCATION ${takt_openvino_libs}/${name}
  IMPORTED_LOCATION_RELEASE ${takt_openvino_libs}/${name})

takt_find_package(Protobuf "protobuf-compiler, libprotobuf-dev")
if(TAKT_SANITIZE MATCHES thread)
  target_compile_options(protobuf::libprotobuf INTERFACE
                         -include ${CMAKE_SOURCE_DIR}/tests/sanitizers/protobuf_layout.h)
endif()
takt_find_package(gRPC "libgrpc++-dev, protobuf-compiler-grpc")
set(takt_onnx_schema ${takt_site_packages}/onnx/onnx.proto)
if(NOT EXISTS ${takt_onnx_schema})
  message(FATAL_ERROR "the onnx wheel is not in ${TAKT_VENV}; ${TAKT_SETUP_HINT}")
endif()
set(takt_gen ${CMAKE_BINARY_DIR}/gen)
file(MAKE_DIRECTORY ${takt_gen}/onnx)
add_custom_command(
  OUTPUT ${takt_gen}/onnx/onnx.pb.cc ${takt_gen}/onnx/onnx.pb.h
  # lite: what is generated registers itself nowhere, so that the program and a module can each have it.
  COMMAND protobuf::protoc --cpp_out=lite:${takt_gen} -I ${takt_site_packages} ${takt_onnx_schema}
  DEPENDS ${takt_onnx_schema}
  COMMENT "Generating onnx/onnx.pb.h"
  VERBATIM)
# Use it as: #include "onnx/onnx.pb.h"
add_library(takt_onnx_proto STATIC ${takt_gen}/onnx/onnx.pb.cc ${takt_gen}/onnx/onnx.pb.h)
target_include_directories(takt_onnx_proto SYSTEM PUBLIC ${takt_gen})
target_link_libraries(takt_onnx_proto PUBLIC protobuf::libprotobuf)
target_compile_options(takt_onnx_proto PRIVATE -w)
set_target_properties(takt_onnx_proto PROPERTIES POSITION_INDEPENDENT_CODE ON)

# Tests and benchmarks.
takt_find_package(GTest "libgtest-dev, libgmock-dev")
takt_find_package(rapidcheck librapidcheck-dev)
add_library(rapidcheck::rapidcheck ALIAS rapidcheck)
add_library(rapidcheck::gtest ALIAS rapidcheck_gtest)
takt_find_package(benchmark libbenchmark-dev)
