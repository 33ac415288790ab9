#include "genpipe/centre_rows.h"

#include "row_tiles.cuh"

namespace genpipe {
namespace cuda {
namespace {

template <class T, class O>
struct Centre {
  CentreRowsArgs a;

  __device__ double operator()(int64_t i) const {
    double value = centred(static_cast<const T*>(a.x) + i, a.centre[i % a.columns], a.scale);
    store_rounded(static_cast<O*>(a.out) + i, value);
    return value * value;
  }
};

}  // namespace

int centre_rows(const CentreRowsArgs& a, void* stream) {
  return dispatch_dtype(a.dtype, [&](auto t) {
    return dispatch_dtype(a.out_dtype, [&](auto o) {
      return launch_sum_row_terms<double>(Centre<decltype(t), decltype(o)>{a}, a.rows, a.columns, a.squares, stream);
    });
  });
}

}  // namespace cuda
}  // namespace genpipe
