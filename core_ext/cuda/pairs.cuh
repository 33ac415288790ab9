// Pairs on CUDA: a warp has a query, looks at 32 references at a time, and computes a distance together.
#pragma once

#include "genpipe/pairs.h"
#include "genpipe/row_sum.h"
#include "launch.cuh"

namespace genpipe {
namespace cuda {

constexpr int kWarp = 32;
constexpr int kWarps = kThreads / kWarp;
constexpr unsigned kAllLanes = 0xffffffffu;

static __device__ __forceinline__ bool any_lane(bool flag) {
  int any = flag;
  for (int width = kWarp / 2; width > 0; width /= 2) any |= __shfl_xor_sync(kAllLanes, any, width);
  return any != 0;
}

// The sum of row_sum.h's tree: each half of the warp takes every other block, and every lane adds the blocks in order.
template <class T>
__device__ double warp_squared_distance(const T* a, const T* b, int64_t dims) {
  int lane = threadIdx.x % kSumLanes, half = threadIdx.x / kSumLanes % 2;
  double total = 0;
  for (int64_t start = 0; start < dims; start += 2 * kSumBlock) {
    int64_t first = start + half * kSumBlock, stop = min(dims, first + kSumBlock);
    double sum = 0;
    for (int64_t j = first + lane; j < stop; j += kSumLanes) {
      double difference = double(load(a + j)) - double(load(b + j));
      sum += difference * difference;
    }
    for (int width = kSumLanes / 2; width > 0; width /= 2) sum += __shfl_down_sync(kAllLanes, sum, width, kSumLanes);
    total += __shfl_sync(kAllLanes, sum, 0);
    double second = __shfl_sync(kAllLanes, sum, kSumLanes);
    if (start + kSumBlock < dims) total += second;
  }
  return total;
}

template <class T>
__device__ double warp_squared_distance(const Pairs& p, int64_t row, int64_t column) {
  return warp_squared_distance(static_cast<const T*>(p.queries) + row * p.dims,
                               static_cast<const T*>(p.references) + column * p.dims, p.dims);
}

// Calls visit(column), all lanes together, for every column in order of which interesting(column) holds.
template <class Interesting, class Visit>
__device__ void for_interesting(int64_t columns, Interesting interesting, Visit visit) {
  int lane = threadIdx.x % kWarp;
  for (int64_t start = 0; start < columns; start += kWarp) {
    if (!any_lane(start + lane < columns && interesting(start + lane))) continue;
    int64_t stop = min(columns, start + kWarp);
    for (int64_t j = start; j < stop; ++j) {
      if (interesting(j)) visit(j);
    }
  }
}

}  // namespace cuda
}  // namespace genpipe
