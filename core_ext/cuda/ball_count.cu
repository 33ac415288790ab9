#include "genpipe/ball_count.h"

#include "pairs.cuh"

namespace genpipe {
namespace cuda {
namespace {

// P: of the products, T: of the points. As in cpu/ball_count.cpp; lane 0 counts.
template <class P, class T>
__global__ void __launch_bounds__(kThreads) count(BallCountArgs a) {
  typedef compute_t<P> C;
  const Pairs& p = a.pairs;
  const C *lower = static_cast<const C*>(p.reference_bounds), *upper = lower + p.columns;
  const C *ball_lower = upper + p.columns, *ball_upper = ball_lower + p.columns;
  bool writes = threadIdx.x % kWarp == 0;
  int64_t stride = int64_t(gridDim.x) * kWarps;
  for (int64_t row = int64_t(blockIdx.x) * kWarps + threadIdx.x / kWarp; row < p.rows; row += stride) {
    const P* products = static_cast<const P*>(p.products) + row * p.columns;
    const C* query = static_cast<const C*>(p.query_bounds) + row;
    C own_lower = query[0], own_upper = query[p.rows];
    C own_ball_lower = query[2 * p.rows], own_ball_upper = query[3 * p.rows];
    int64_t contained = 0, holds = 0;
    for_interesting(
        p.columns,
        [&](int64_t j) {
          C product = load(products + j);
          return !((product < own_lower + ball_lower[j]) & (product < own_ball_lower + lower[j]));
        },
        [&](int64_t j) {
          C product = load(products + j);
          bool in_reference = product > own_upper + ball_upper[j], in_query = product > own_ball_upper + upper[j];
          bool not_reference = product < own_lower + ball_lower[j], not_query = product < own_ball_lower + lower[j];
          if (!(in_reference || not_reference) || !(in_query || not_query)) {
            double distance = sqrt(warp_squared_distance<T>(p, row, j));
            in_reference = distance < a.reference_radii[j];
            in_query = distance < a.query_radii[row];
          }
          contained += in_reference;
          holds += in_query;
          if (writes && in_query) add_one(a.reference_counts + 2 * j);
          if (writes && in_reference) add_one(a.reference_counts + 2 * j + 1);
        });
    if (writes) {
      a.query_counts[2 * row] += contained;
      a.query_counts[2 * row + 1] += holds;
    }
  }
}

}  // namespace

int ball_count(const BallCountArgs& a, void* stream) {
  dispatch_dtype(a.pairs.product_dtype, [&](auto p) {
    dispatch_dtype(a.pairs.dtype, [&](auto t) {
      GENPIPE_CUDA_LAUNCH((count<decltype(p), decltype(t)>), blocks_for(a.pairs.rows, kWarps), kThreads, 0, stream, a);
    });
  });
  return int(cudaGetLastError());
}

}  // namespace cuda
}  // namespace genpipe
