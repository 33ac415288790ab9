// Copies from global to shared memory that go on while the threads compute (PTX cp.async, sm_80 and newer).
#pragma once

#include <stdint.h>
#include <string.h>

namespace genpipe {
namespace cuda {

// Begins a copy of 4 or 16 bytes, both sides aligned to them; zeros where nothing is `given`.
template <int kBytes>
static __device__ __forceinline__ void copy_async(void* shared, const void* global, bool given) {
  static_assert(kBytes == 4 || kBytes == 16, "cp.async's sizes, without 8");
#if defined(GENPIPE_CUDA_EMULATION)
  if (given) {
    memcpy(shared, global, kBytes);
  } else {
    memset(shared, 0, kBytes);
  }
#else
  uint32_t to = uint32_t(__cvta_generic_to_shared(shared));
  int bytes = given ? kBytes : 0;
  if (kBytes == 4) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(to), "l"(global), "r"(bytes) : "memory");
  } else {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(global), "r"(bytes) : "memory");
  }
#endif
}

// Closes a batch of copies; wait_copies<n>() returns when all of this thread's batches but the last n have arrived.
static __device__ __forceinline__ void close_copies() {
#if !defined(GENPIPE_CUDA_EMULATION)
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}
template <int kLeft>
static __device__ __forceinline__ void wait_copies() {
#if !defined(GENPIPE_CUDA_EMULATION)
  asm volatile("cp.async.wait_group %0;" ::"n"(kLeft) : "memory");
#endif
}

}  // namespace cuda
}  // namespace genpipe
