// Every row times a number of its own, in place: the backward pass of a sum over rows whose slopes are known.
#pragma once

#include "genpipe/platform.h"

namespace genpipe {

struct ScaleRowsArgs {
  void* x;              // (rows, columns) of dtype, float or double
  const void* factors;  // (rows,), the same, factor_stride apart
  DType dtype;
  int64_t rows, columns, factor_stride;
};

}  // namespace genpipe
