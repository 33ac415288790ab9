#include "genpipe/centre_rows.h"

#include "row_sum.cuh"

namespace genpipe {
namespace cuda {
namespace {

template <class T, class O>
struct Centre {
  static constexpr bool kScratch = false;
  CentreRowsArgs a;

  __device__ void prepare(int64_t, int64_t, int64_t, double*, int) const {}
  __device__ double at(int64_t row, int64_t column, int64_t offset, const double*) const {
    int64_t j = column + offset, i = row * a.columns + j;
    double value = centred(static_cast<const T*>(a.x) + i, a.centre[j], a.scale);
    store_rounded(static_cast<O*>(a.out) + i, value);
    return value * value;
  }
};

}  // namespace

int centre_rows(const CentreRowsArgs& a, void* stream) {
  return dispatch_dtype(a.dtype, [&](auto t) {
    return dispatch_dtype(a.out_dtype, [&](auto o) {
      return launch_sum_rows<double>(Centre<decltype(t), decltype(o)>{a}, a.rows, a.columns, a.squares, stream);
    });
  });
}

}  // namespace cuda
}  // namespace genpipe
