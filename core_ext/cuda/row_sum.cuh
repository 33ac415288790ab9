// Sums over rows by the tree of row_sum.h: half a warp is the 16 lanes of a block of 256 terms, and one thread adds a
// row's blocks in order.
#pragma once

#include "genpipe/random.h"
#include "genpipe/row_sum.h"
#include "launch.cuh"

namespace genpipe {
namespace cuda {

constexpr int kGroups = kThreads / kSumLanes;  // blocks of a row that are summed side by side

// Terms gives `prepare(row, column, count, scratch, lane)`, run by the 16 lanes of a block before it is summed, and
// `at(row, column, offset, scratch)`, its terms; scratch is kSumBlock numbers of the group's own.
template <class C, class Terms>
__global__ void __launch_bounds__(kThreads) sum_rows(Terms terms, int64_t rows, int64_t columns, C* out) {
  __shared__ C scratch[Terms::kScratch ? kGroups * kSumBlock : 1];
  __shared__ C partial[kGroups];
  int lane = threadIdx.x % kSumLanes, group = threadIdx.x / kSumLanes;
  C* own = scratch + (Terms::kScratch ? group * kSumBlock : 0);
  int64_t step = int64_t(kGroups) * kSumBlock;
  for (int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    double total = 0;
    for (int64_t start = 0; start < columns; start += step) {
      int64_t column = start + int64_t(group) * kSumBlock;
      int64_t count = min(columns - column, kSumBlock);
      if (Terms::kScratch) {
        if (count > 0) terms.prepare(row, column, count, own, lane);
        __syncwarp();
      }
      C sum = 0;
      for (int64_t j = lane; j < count; j += kSumLanes) sum += terms.at(row, column, j, own);
      for (int width = kSumLanes / 2; width > 0; width /= 2) {
        sum += __shfl_down_sync(0xffffffffu, sum, width, kSumLanes);
      }
      if (lane == 0) partial[group] = sum;
      __syncthreads();
      if (threadIdx.x == 0) {
        for (int g = 0; g < kGroups && start + int64_t(g) * kSumBlock < columns; ++g) total += double(partial[g]);
      }
      __syncthreads();
    }
    if (threadIdx.x == 0) out[row] = C(total);
  }
}

template <class C, class Terms>
int launch_sum_rows(Terms terms, int64_t rows, int64_t columns, void* out, void* stream) {
  GENPIPE_CUDA_LAUNCH((sum_rows<C, Terms>), blocks_for(rows, 1), kThreads, 0, stream, terms, rows, columns,
                      static_cast<C*>(out));
  return int(cudaGetLastError());
}

// Terms that another kernel has left in memory, (rows, columns).
template <class C>
struct StoredTerms {
  static constexpr bool kScratch = false;
  const C* terms;
  int64_t columns;

  __device__ void prepare(int64_t, int64_t, int64_t, C*, int) const {}
  __device__ C at(int64_t row, int64_t column, int64_t offset, const C*) const {
    return terms[row * columns + column + offset];
  }
};

// Calls piece(i) for every i in [0, units), one thread each.
template <class Piece>
__global__ void __launch_bounds__(kThreads) for_each(Piece piece, int64_t units) {
  int64_t stride = int64_t(gridDim.x) * kThreads;
  for (int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x; i < units; i += stride) piece(i);
}

template <class Piece>
int launch_for_each(Piece piece, int64_t units, void* stream) {
  GENPIPE_CUDA_LAUNCH((for_each<Piece>), blocks_for(units, kThreads), kThreads, 0, stream, piece, units);
  return int(cudaGetLastError());
}

}  // namespace cuda
}  // namespace genpipe
