// SPDX-License-Identifier: Apache-2.0
// The table behind Driver. It brings cuda.h with it, so only the .cc files of this folder include
// it.
// Thread-safe: yes; a table never changes.
// Owns: nothing.
#pragma once

#include "backend/cuda/driver.h"

#include <cuda.h>
#include <cudaTypedefs.h>

namespace takt::cuda {

template <typename Pointer>
struct DriverFunction {
  Pointer pointer = nullptr;
  const char* name = "";
};

// field, name, and the version of CUDA that brought it in the form that is called here.
#define TAKT_DRIVER_FUNCTIONS(FUNCTION)                                   \
  FUNCTION(init, cuInit, 2000)                                            \
  FUNCTION(get_error_name, cuGetErrorName, 6000)                          \
  FUNCTION(get_error_string, cuGetErrorString, 6000)                      \
  FUNCTION(device_get, cuDeviceGet, 2000)                                 \
  FUNCTION(device_get_count, cuDeviceGetCount, 2000)                      \
  FUNCTION(device_get_name, cuDeviceGetName, 2000)                        \
  FUNCTION(device_get_attribute, cuDeviceGetAttribute, 2000)              \
  FUNCTION(device_get_pci_bus_id, cuDeviceGetPCIBusId, 4010)              \
  FUNCTION(device_total_mem, cuDeviceTotalMem, 3020)                      \
  FUNCTION(ctx_create, cuCtxCreate, 3020)                                 \
  FUNCTION(ctx_destroy, cuCtxDestroy, 4000)                               \
  FUNCTION(ctx_push_current, cuCtxPushCurrent, 4000)                      \
  FUNCTION(ctx_pop_current, cuCtxPopCurrent, 4000)                        \
  FUNCTION(ctx_synchronize, cuCtxSynchronize, 2000)                       \
  FUNCTION(mem_get_info, cuMemGetInfo, 3020)                              \
  FUNCTION(mem_alloc, cuMemAlloc, 3020)                                   \
  FUNCTION(mem_free, cuMemFree, 3020)                                     \
  FUNCTION(mem_host_alloc, cuMemHostAlloc, 2020)                          \
  FUNCTION(mem_free_host, cuMemFreeHost, 2000)                            \
  FUNCTION(mem_host_register, cuMemHostRegister, 6050)                    \
  FUNCTION(mem_host_unregister, cuMemHostUnregister, 4000)                \
  FUNCTION(mem_host_get_device_pointer, cuMemHostGetDevicePointer, 3020)  \
  FUNCTION(memcpy_h_to_d_async, cuMemcpyHtoDAsync, 3020)                  \
  FUNCTION(memcpy_d_to_h_async, cuMemcpyDtoHAsync, 3020)                  \
  FUNCTION(memset_d8_async, cuMemsetD8Async, 3020)                        \
  FUNCTION(stream_create_with_priority, cuStreamCreateWithPriority, 5050) \
  FUNCTION(stream_destroy, cuStreamDestroy, 4000)                         \
  FUNCTION(stream_synchronize, cuStreamSynchronize, 2000)                 \
  FUNCTION(stream_wait_event, cuStreamWaitEvent, 3020)                    \
  FUNCTION(stream_begin_capture, cuStreamBeginCapture, 10010)             \
  FUNCTION(stream_end_capture, cuStreamEndCapture, 10000)                 \
  FUNCTION(event_create, cuEventCreate, 2000)                             \
  FUNCTION(event_destroy, cuEventDestroy, 4000)                           \
  FUNCTION(event_record, cuEventRecord, 2000)                             \
  FUNCTION(event_query, cuEventQuery, 2000)                               \
  FUNCTION(event_synchronize, cuEventSynchronize, 2000)                   \
  FUNCTION(event_elapsed_time, cuEventElapsedTime, 2000)                  \
  FUNCTION(module_load_data, cuModuleLoadData, 2000)                      \
  FUNCTION(module_unload, cuModuleUnload, 2000)                           \
  FUNCTION(module_get_function, cuModuleGetFunction, 2000)                \
  FUNCTION(launch_kernel, cuLaunchKernel, 4000)                           \
  FUNCTION(graph_instantiate, cuGraphInstantiateWithFlags, 11040)         \
  FUNCTION(graph_upload, cuGraphUpload, 11010)                            \
  FUNCTION(graph_launch, cuGraphLaunch, 10000)                            \
  FUNCTION(graph_get_nodes, cuGraphGetNodes, 10000)                       \
  FUNCTION(graph_destroy, cuGraphDestroy, 10000)                          \
  FUNCTION(graph_exec_destroy, cuGraphExecDestroy, 10000)

struct DriverFunctions {
#define TAKT_FIELD(field, function, version) DriverFunction<PFN_##function##_v##version> field;
  TAKT_DRIVER_FUNCTIONS(TAKT_FIELD)
#undef TAKT_FIELD
};

// Calls a function of the driver; its failure becomes an error that names it.
template <typename Pointer, typename... Arguments>
[[nodiscard]] Result<void> invoke(const Driver& driver,
                                  DriverFunction<Pointer> DriverFunctions::* field,
                                  Arguments... arguments) {
  const DriverFunction<Pointer>& function = driver.functions().*field;
  const CUresult result = function.pointer(arguments...);
  if (result == CUDA_SUCCESS) [[likely]]
    return {};
  return std::unexpected(driver.error(result, function.name));
}

// For what is given back: on a lost context that fails too, and nothing is left to be done.
template <typename Pointer, typename... Arguments>
void give_back(const Driver& driver, DriverFunction<Pointer> DriverFunctions::* field,
               Arguments... arguments) noexcept {
  (driver.functions().*field).pointer(arguments...);
}

}  // namespace takt::cuda
