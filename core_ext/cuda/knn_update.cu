#include "genpipe/knn_update.h"

#include "pairs.cuh"

namespace genpipe {
namespace cuda {
namespace {

// P: of the products, T: of the points. As in cpu/knn_update.cpp; the lists are lane 0's to write.
template <class P, class T>
__global__ void __launch_bounds__(kThreads) update(KnnUpdateArgs a) {
  typedef compute_t<P> C;
  const Pairs& p = a.pairs;
  const C* query = static_cast<const C*>(p.query_bounds);
  const C *lower = static_cast<const C*>(p.reference_bounds), *upper = lower + p.columns;
  bool writes = threadIdx.x % kWarp == 0;
  C farther = a.beyond_squared < 0 ? -infinity<C>() : in_bound_units<C>(a, a.beyond_squared);
  int64_t stride = int64_t(gridDim.x) * kWarps;
  for (int64_t row = int64_t(blockIdx.x) * kWarps + threadIdx.x / kWarp; row < p.rows; row += stride) {
    const P* products = static_cast<const P*>(p.products) + row * p.columns;
    C own_lower = query[row], own_upper = query[p.rows + row];
    double* squares = a.squares + row * a.k;
    int64_t* indices = a.indices + row * a.k;
    int64_t self = a.first_query < 0 ? -1 : a.first_query + row - a.first_reference;

    C ceiling = in_bound_units<C>(a, squares[a.k - 1]);
    C* smallest = static_cast<C*>(a.scratch) + row * a.k;
    int64_t held = 0;
    C limit = ceiling - own_upper;
    for_interesting(
        p.columns, [&](int64_t j) { return upper[j] - load(products + j) < limit; },
        [&](int64_t j) {
          if (j == self || !(lower[j] + own_lower - load(products + j) > farther)) return;
          if (writes) insert_smallest(smallest, held, a.k, upper[j] - load(products + j));
          held = min(held + 1, a.k);
          __syncwarp();
          if (held == a.k) limit = smallest[a.k - 1];
          __syncwarp();
        });
    if (held == a.k) ceiling = limit + own_upper;

    limit = ceiling - own_lower;
    for_interesting(
        p.columns, [&](int64_t j) { return !(lower[j] - load(products + j) > limit); },
        [&](int64_t j) {
          if (j == self) return;
          double square = warp_squared_distance<T>(p, row, j);
          if (square <= a.beyond_squared) return;
          if (writes) insert_neighbour(squares, indices, a.k, square, a.first_reference + j);
          __syncwarp();
          C bound = in_bound_units<C>(a, squares[a.k - 1]);
          __syncwarp();
          if (bound < ceiling) {
            ceiling = bound;
            limit = ceiling - own_lower;
          }
        });
  }
}

}  // namespace

int knn_update(const KnnUpdateArgs& a, void* stream) {
  dispatch_dtype(a.pairs.product_dtype, [&](auto p) {
    dispatch_dtype(a.pairs.dtype, [&](auto t) {
      GENPIPE_CUDA_LAUNCH((update<decltype(p), decltype(t)>), blocks_for(a.pairs.rows, kWarps), kThreads, 0, stream, a);
    });
  });
  return int(cudaGetLastError());
}

}  // namespace cuda
}  // namespace genpipe
