// How the kernels are launched: grids that stride, on the caller's stream, with the launch's error code returned.
#pragma once

#include <cuda_runtime.h>

#include "genpipe/philox.h"
#include "genpipe/platform.h"

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
