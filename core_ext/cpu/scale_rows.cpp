// The work unit is a row.
#include "genpipe/scale_rows.h"

namespace genpipe {
namespace {

template <class T>
GENPIPE_FN void scale(const ScaleRowsArgs& a, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    T* x = static_cast<T*>(a.x) + row * a.columns;
    T factor = static_cast<const T*>(a.factors)[row * a.factor_stride] / T(a.assumed);
    if (factor == T(1)) continue;
    for (int64_t j = 0; j < a.columns; ++j) x[j] *= factor;
  }
}

}  // namespace

namespace GENPIPE_VARIANT {

void scale_rows(const ScaleRowsArgs& a, int64_t begin, int64_t end) {
  a.dtype == DType::f64 ? scale<double>(a, begin, end) : scale<float>(a, begin, end);
}

}  // namespace GENPIPE_VARIANT
}  // namespace genpipe
