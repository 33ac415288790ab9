// Sums over rows by the tree of row_sum.h: a block takes whole rows where they are short, and otherwise one row, kSumBlock
// terms at a time; all of its threads make terms, half a warp adds up a row's.
#pragma once

#include "genpipe/row_sum.h"
#include "launch.cuh"

namespace genpipe {
namespace cuda {

// terms(first, count, scratch, out): out[i] = the term of element first + i, i < count, by all threads of the block,
// which it synchronises at its end. scratch lies in shared memory, terms.scratch_bytes of it.
template <class C, class Terms>
__global__ void sum_row_tiles(Terms terms, int64_t rows, int64_t columns, C* out) {
  GENPIPE_DYNAMIC_SHARED(C, values);
  C* scratch = values + kSumBlock;
  int lane = threadIdx.x % kSumLanes, half_warp = threadIdx.x / kSumLanes, half_warps = blockDim.x / kSumLanes;
  bool whole = columns > 0 && columns <= kSumBlock;
  int64_t group = whole ? kSumBlock / columns : 1;
  for (int64_t row = blockIdx.x * group; row < rows; row += gridDim.x * group) {
    int64_t here = min(group, rows - row);
    double total = 0;
    for (int64_t start = 0; start < columns; start += kSumBlock) {
      int64_t length = min(columns - start, kSumBlock);
      terms(row * columns + start, here * length, scratch, values);
      for (int64_t r = 0; r < here; r += half_warps) {  // as often for each thread, since they shuffle
        bool mine = r + half_warp < here;
        C sum = 0;
        for (int64_t j = lane; mine && j < length; j += kSumLanes) sum += values[(r + half_warp) * length + j];
        for (int width = kSumLanes / 2; width > 0; width /= 2) {
          sum += __shfl_down_sync(0xffffffffu, sum, width, kSumLanes);
        }
        if (mine && lane == 0 && whole) out[row + r + half_warp] = sum;
        total += double(sum);
      }
      __syncthreads();
    }
    if (threadIdx.x == 0 && !whole) out[row] = C(total);
  }
}

template <class C, class Terms>
int launch_sum_row_tiles(Terms terms, int64_t rows, int64_t columns, void* out, int threads, void* stream) {
  int64_t group = columns > 0 && columns <= kSumBlock ? kSumBlock / columns : 1;
  GENPIPE_CUDA_LAUNCH((sum_row_tiles<C, Terms>), blocks_for(rows, group), threads,
                      kSumBlock * sizeof(C) + terms.scratch_bytes, stream, terms, rows, columns, static_cast<C*>(out));
  return int(cudaGetLastError());
}

// The same for terms that come one by one: term(i), of element i.
template <class C, class Term>
struct OneByOne {
  Term term;
  static constexpr int scratch_bytes = 0;

  __device__ void operator()(int64_t first, int64_t count, C*, C* out) const {
    for (int64_t i = threadIdx.x; i < count; i += blockDim.x) out[i] = term(first + i);
    __syncthreads();
  }
};

template <class C, class Term>
int launch_sum_row_terms(Term term, int64_t rows, int64_t columns, void* out, void* stream) {
  return launch_sum_row_tiles<C>(OneByOne<C, Term>{term}, rows, columns, out, kThreads, stream);
}

}  // namespace cuda
}  // namespace genpipe
