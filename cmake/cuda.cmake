# SPDX-License-Identifier: Apache-2.0
# The headers of the CUDA driver and of its runtime compiler (NVRTC), from the wheels in the
# project's own Python environment, as the imported target cuda::headers. Nothing is linked: the
# libraries are opened at run time, and kernels are compiled then.
set(TAKT_CUDA_INCLUDE "${takt_site_packages}/nvidia/cu13/include")
foreach(header cuda.h nvrtc.h)
  if(NOT EXISTS "${TAKT_CUDA_INCLUDE}/${header}")
    message(FATAL_ERROR "${header} (wheels nvidia-cuda-runtime and nvidia-cuda-nvrtc) is not in "
                        "${TAKT_VENV}; ${TAKT_SETUP_HINT}")
  endif()
endforeach()
add_library(cuda::headers INTERFACE IMPORTED GLOBAL)
target_include_directories(cuda::headers INTERFACE ${TAKT_CUDA_INCLUDE})

file(STRINGS "${TAKT_CUDA_INCLUDE}/cuda.h" cuda_version_line REGEX "^#define CUDA_VERSION ")
string(REGEX REPLACE "^#define CUDA_VERSION ([0-9]+)0([0-9])0$" "\\1.\\2" TAKT_CUDA_SUMMARY
       "${cuda_version_line}")
