# SPDX-License-Identifier: Apache-2.0
# Headers of NVIDIA's libraries, from the wheels in the project's own Python environment. Nothing is
# linked: the libraries are opened at run time, and kernels are compiled then.
#   cuda::headers   the CUDA driver and its runtime compiler (NVRTC)
#   cudnn::headers  cuDNN's graph API in C++ (cudnn-frontend) and what it includes
set(TAKT_CUDA_INCLUDE "${takt_site_packages}/nvidia/cu13/include")

# Stops with the one remedy where a header is missing: takt_need_header(folder header wheel).
function(takt_need_header folder header wheel)
  if(NOT EXISTS "${folder}/${header}")
    message(FATAL_ERROR "${header} (wheel ${wheel}) is not in ${folder}; ${TAKT_SETUP_HINT}")
  endif()
endfunction()

takt_need_header(${TAKT_CUDA_INCLUDE} cuda.h nvidia-cuda-runtime)
takt_need_header(${TAKT_CUDA_INCLUDE} nvrtc.h nvidia-cuda-nvrtc)
add_library(cuda::headers INTERFACE IMPORTED GLOBAL)
target_include_directories(cuda::headers INTERFACE ${TAKT_CUDA_INCLUDE})

set(cudnn_frontend_include "${takt_site_packages}/include")
set(cudnn_include "${takt_site_packages}/nvidia/cudnn_jit/include")
takt_need_header(${cudnn_frontend_include} cudnn_frontend.h nvidia-cudnn-frontend)
takt_need_header(${cudnn_include} cudnn.h nvidia-cudnn-jit-cu13)
takt_need_header(${TAKT_CUDA_INCLUDE} crt/host_defines.h nvidia-cuda-crt)
takt_need_header(${TAKT_CUDA_INCLUDE} nv/target nvidia-cuda-cccl)
add_library(cudnn::headers INTERFACE IMPORTED GLOBAL)
target_include_directories(cudnn::headers INTERFACE ${cudnn_frontend_include} ${cudnn_include}
                           ${TAKT_CUDA_INCLUDE})

file(STRINGS "${TAKT_CUDA_INCLUDE}/cuda.h" cuda_version_line REGEX "^#define CUDA_VERSION ")
string(REGEX REPLACE "^#define CUDA_VERSION ([0-9]+)0([0-9])0$" "\\1.\\2" TAKT_CUDA_SUMMARY
       "${cuda_version_line}")
