// CUDA for a machine without a GPU: what core_ext/cuda uses of the language and of the runtime, as plain C++. A build
// with GENPIPE_CUDA=EMULATE finds this header instead of the toolkit's. Blocks run one after the other, the threads of
// a block as fibers (fibers.cpp); barriers and shuffles are where fibers meet.
//
// It shows a kernel's logic: indices, barriers, the order of sums, and bounds where the build has AddressSanitizer. A
// kernel whose blocks wait for each other never ends here.
#pragma once

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define __global__
#define __device__
#define __host__
#define __constant__ static const
#define __shared__ static  // one launch at a time, and of it one block
#define __launch_bounds__(...)
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __align__(bytes) __attribute__((aligned(bytes)))

// --- Types and variables that are built in

#define GENPIPE_VECTORS(T, name)                                                  \
  struct __attribute__((aligned(2 * sizeof(T)))) name##2 {                        \
    T x, y;                                                                       \
  };                                                                              \
  struct __attribute__((aligned(sizeof(T) < 4 ? 4 * sizeof(T) : 16))) name##4 {   \
    T x, y, z, w;                                                                 \
  };                                                                              \
  inline name##2 make_##name##2(T x, T y) { return {x, y}; }                      \
  inline name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }
GENPIPE_VECTORS(float, float)
GENPIPE_VECTORS(double, double)
GENPIPE_VECTORS(int32_t, int)
GENPIPE_VECTORS(uint32_t, uint)
GENPIPE_VECTORS(uint16_t, ushort)
GENPIPE_VECTORS(uint8_t, uchar)
#undef GENPIPE_VECTORS

struct uint3 {
  unsigned x, y, z;
};
struct dim3 : uint3 {
  dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : uint3{x, y, z} {}
};
extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
constexpr int warpSize = 32;

// --- The runtime

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorInvalidConfiguration = 9,
  cudaErrorLaunchFailure = 719,
};
typedef struct CUstream_st* cudaStream_t;

cudaError_t cudaGetLastError();               // and forgets it
const char* cudaGetErrorString(cudaError_t);  // of a launch that failed: which thread, where, and why
enum cudaDeviceAttr {
  cudaDevAttrMultiProcessorCount = 16,
  cudaDevAttrComputeCapabilityMajor = 75,
  cudaDevAttrComputeCapabilityMinor = 76,
  cudaDevAttrMaxSharedMemoryPerBlockOptin = 97,
};
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device);
inline cudaError_t cudaGetDevice(int* device) { return *device = 0, cudaSuccess; }
inline cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t) {
  memset(to, value, bytes);
  return cudaSuccess;
}

namespace genpipe {
namespace emulation {

// A line of a kernel. As a default argument it is the caller's, so that threads which meet can be held to one line.
struct Place {
  const char* file;
  int line;
  static constexpr Place here(const char* file = __builtin_FILE(), int line = __builtin_LINE()) { return {file, line}; }
};

void run(const char* kernel, dim3 grid, dim3 block, size_t shared_bytes, void (*thread)(const void*), const void* body);

template <class Body>
void launch(const char* kernel, dim3 grid, dim3 block, size_t shared_bytes, const Body& body) {
  run(kernel, grid, block, shared_bytes, [](const void* body) { (*static_cast<const Body*>(body))(); }, &body);
}

void* dynamic_shared();
int lane();
void fail(const char* why, Place place);  // does not return to the kernel
void meet_block(Place place);
// Waits for the lanes in mask, each of which says which lane's value it takes.
uint64_t meet_warp(unsigned mask, uint64_t value, int source, Place place);

// A source outside of the caller's group of `width` lanes, a power of two, gives the caller its own value back.
template <class T>
T shuffle(unsigned mask, T value, int source, int width, Place place) {
  static_assert(sizeof(T) <= 8, "a shuffle moves at most 64 bits");
  if (width < 1 || width > warpSize || (width & (width - 1))) fail("a width that is no power of two up to 32", place);
  int first = lane() / width * width;
  uint64_t bits = 0;
  memcpy(&bits, &value, sizeof(T));
  bits = meet_warp(mask, bits, source >= first && source < first + width ? source : lane(), place);
  memcpy(&value, &bits, sizeof(T));
  return value;
}

}  // namespace emulation
}  // namespace genpipe

#define GENPIPE_CUDA_LAUNCH(kernel, grid, threads, shared_bytes, stream, ...) \
  ((void)(stream), ::genpipe::emulation::launch(#kernel, grid, threads, shared_bytes, [&] { kernel(__VA_ARGS__); }))
#define GENPIPE_DYNAMIC_SHARED(type, name) type* name = static_cast<type*>(::genpipe::emulation::dynamic_shared())

// --- Intrinsics

typedef genpipe::emulation::Place GenpipePlace;

inline void __syncthreads(GenpipePlace place = GenpipePlace::here()) { genpipe::emulation::meet_block(place); }
inline void __syncwarp(unsigned mask = 0xffffffffu, GenpipePlace place = GenpipePlace::here()) {
  genpipe::emulation::meet_warp(mask, 0, genpipe::emulation::lane(), place);
}
template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = warpSize, GenpipePlace place = GenpipePlace::here()) {
  int lane = genpipe::emulation::lane();
  return genpipe::emulation::shuffle(mask, value, lane / width * width + source % width, width, place);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned by, int width = warpSize, GenpipePlace place = GenpipePlace::here()) {
  return genpipe::emulation::shuffle(mask, value, genpipe::emulation::lane() - int(by), width, place);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = warpSize,
                   GenpipePlace place = GenpipePlace::here()) {
  return genpipe::emulation::shuffle(mask, value, genpipe::emulation::lane() + int(by), width, place);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = warpSize, GenpipePlace place = GenpipePlace::here()) {
  return genpipe::emulation::shuffle(mask, value, genpipe::emulation::lane() ^ bits, width, place);
}

inline void __trap(GenpipePlace place = GenpipePlace::here()) { genpipe::emulation::fail("__trap", place); }
inline void __threadfence() {}
template <class T>
T __ldg(const T* p) {
  return *p;
}
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __clz(int x) { return x == 0 ? 32 : __builtin_clz(unsigned(x)); }

// Threads take turns only where they meet, so that what they do in between is atomic.
template <class T>
T atomicAdd(T* to, T value) {
  static_assert(T(1) / 2 == 0, "the order of additions must not matter: integers only");
  T before = *to;
  *to += value;
  return before;
}
