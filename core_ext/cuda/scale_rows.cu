#include "genpipe/scale_rows.h"

#include "row_sum.cuh"

namespace genpipe {
namespace cuda {
namespace {

template <class T>
struct Scale {
  ScaleRowsArgs a;

  __device__ void operator()(int64_t i) const {
    T factor = static_cast<const T*>(a.factors)[i / a.columns * a.factor_stride] / T(a.assumed);
    if (factor != T(1)) static_cast<T*>(a.x)[i] *= factor;
  }
};

}  // namespace

int scale_rows(const ScaleRowsArgs& a, void* stream) {
  int64_t units = a.rows * a.columns;
  return a.dtype == DType::f64 ? launch_for_each(Scale<double>{a}, units, stream)
                               : launch_for_each(Scale<float>{a}, units, stream);
}

}  // namespace cuda
}  // namespace genpipe
