// How the kernels are launched: grids that stride, on the caller's stream, with the launch's error code returned.
#pragma once

#include <cuda_runtime.h>

#include "genpipe/philox.h"
#include "genpipe/platform.h"

// GENPIPE_CUDA_LAUNCH((kernel<Args>), grid, threads, shared_bytes, stream, arguments...): the kernel in parentheses and
// with all of its template arguments; grid and threads are numbers or dim3. Ask cudaGetLastError() afterwards.
// GENPIPE_DYNAMIC_SHARED(float, name); in a kernel: `float* name`, the shared_bytes of its launch, aligned to 16.
#if !defined(GENPIPE_CUDA_EMULATION)  // which has its own
#define GENPIPE_CUDA_LAUNCH(kernel, grid, threads, shared_bytes, stream, ...)                              \
  do {                                                                                                     \
    auto launched = &kernel;                                                                               \
    /* More than 48 KiB wants leave, which each architecture grants up to a limit of its own. */           \
    if (size_t(shared_bytes) <= 48 * 1024 ||                                                               \
        cudaFuncSetAttribute(launched, cudaFuncAttributeMaxDynamicSharedMemorySize, int(shared_bytes)) ==  \
            cudaSuccess) {                                                                                 \
      launched<<<grid, threads, shared_bytes, cudaStream_t(stream)>>>(__VA_ARGS__);                        \
    }                                                                                                      \
  } while (false)
#define GENPIPE_DYNAMIC_SHARED(type, name)                                \
  extern __shared__ __align__(16) unsigned char genpipe_dynamic_shared[]; \
  type* name = reinterpret_cast<type*>(genpipe_dynamic_shared)
#endif

namespace genpipe {
namespace cuda {

constexpr int kThreads = 256;

inline unsigned blocks_for(int64_t units, int64_t per_block) {
  int64_t blocks = (units + per_block - 1) / per_block;
  return unsigned(min(blocks, int64_t(1) << 20));  // the kernels stride over what a grid leaves
}

// The key where it is: passed by value, or read from the device so that a captured graph can change it.
static __device__ __forceinline__ PhiloxKey read_key(PhiloxKey value, const int64_t* device_key) {
  return device_key == nullptr ? value : PhiloxKey{uint64_t(device_key[0]), uint64_t(device_key[1])};
}

}  // namespace cuda
}  // namespace genpipe
