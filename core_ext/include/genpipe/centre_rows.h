// (x − centre) · scale in another precision, and each row's squared norm before it is rounded to that: what comes
// between data and a matrix product of centred data, in one pass. Differences and norms are float64, the norms by the
// tree of row_sum.h.
#pragma once

#include "genpipe/platform.h"

namespace genpipe {

struct CentreRowsArgs {
  DType dtype;            // of x
  DType out_dtype;
  const void* x;          // (rows, columns)
  const double* centre;   // (columns,)
  double scale;
  void* out;              // (rows, columns)
  double* squares;        // (rows,)
  int64_t rows;
  int64_t columns;
};

template <class T>
GENPIPE_FN double centred(const T* x, double centre, double scale) {
  return (double(load(x)) - centre) * scale;
}

GENPIPE_FN void store_rounded(double* p, double x) { *p = x; }
GENPIPE_FN void store_rounded(float* p, double x) { *p = float(x); }
GENPIPE_FN void store_rounded(bfloat16* p, double x) { store(p, float(x)); }

}  // namespace genpipe
