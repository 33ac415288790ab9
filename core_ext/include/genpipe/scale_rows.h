// Every row times a number of its own, in place: the backward pass of a sum over rows whose slopes are known, up to a
// factor that was taken for granted when they were made. Rows for which it was the right one are left alone.
#pragma once

#include "genpipe/platform.h"

namespace genpipe {

struct ScaleRowsArgs {
  void* x;              // (rows, columns) of dtype, float or double
  const void* factors;  // (rows,), the same, factor_stride apart
  DType dtype;
  int64_t rows, columns, factor_stride;
  double assumed;  // a power of two, so that nothing is rounded twice
};

}  // namespace genpipe
