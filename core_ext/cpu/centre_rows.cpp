// The work unit is a row.
#include "genpipe/centre_rows.h"

#include "row_sum.h"

namespace genpipe {
namespace {

template <class T, class O>
GENPIPE_FN void centre(const CentreRowsArgs& a, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    const T* x = static_cast<const T*>(a.x) + row * a.columns;
    O* out = static_cast<O*>(a.out) + row * a.columns;
    a.squares[row] = sum_row<double>(a.columns, [&](int64_t column, int64_t count, double* terms) {
      for (int64_t j = 0; j < count; ++j) {
        double value = centred(x + column + j, a.centre[column + j], a.scale);
        terms[j] = value * value;
        store_rounded(out + column + j, value);
      }
    });
  }
}

}  // namespace

namespace GENPIPE_VARIANT {

void centre_rows(const CentreRowsArgs& a, int64_t begin, int64_t end) {
  dispatch_dtype(a.dtype, [&](auto t) {
    dispatch_dtype(a.out_dtype, [&](auto o) { centre<decltype(t), decltype(o)>(a, begin, end); });
  });
}

}  // namespace GENPIPE_VARIANT
}  // namespace genpipe
