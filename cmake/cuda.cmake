# SPDX-License-Identifier: Apache-2.0
# Finds nvcc. Without it everything else builds; `takt doctor` says at run time what is missing.
set(TAKT_CUDA AUTO CACHE STRING "CUDA parts: AUTO (when nvcc is found), ON or OFF")
set_property(CACHE TAKT_CUDA PROPERTY STRINGS AUTO ON OFF)

set(TAKT_NVCC_SUMMARY "not used (TAKT_CUDA=OFF)")
if(NOT TAKT_CUDA STREQUAL "OFF")
  find_program(TAKT_NVCC nvcc HINTS /usr/local/cuda/bin)
  mark_as_advanced(TAKT_NVCC)
  if(TAKT_NVCC)
    execute_process(COMMAND ${TAKT_NVCC} --version OUTPUT_VARIABLE nvcc_output ERROR_QUIET)
    string(REGEX MATCH "release [0-9]+\\.[0-9]+" nvcc_release "${nvcc_output}")
    set(TAKT_NVCC_SUMMARY "${TAKT_NVCC} (${nvcc_release})")
  elseif(TAKT_CUDA STREQUAL "ON")
    message(FATAL_ERROR "TAKT_CUDA=ON, but nvcc was not found. Put it on PATH, or use "
                        "TAKT_CUDA=AUTO to build without the CUDA parts.")
  else()
    set(TAKT_NVCC_SUMMARY "not found")
  endif()
endif()
