// log(1/K sum_k exp(x_k)) over the first of two dimensions, and the normalised weights that are its derivative.
#pragma once

#include "genpipe/math.h"

namespace genpipe {

struct LogMeanExpArgs {
  const void* x;     // (samples, columns) of dtype, float or double
  void* out;         // (columns,)
  const void* grad;  // backward: (columns,), grad_stride apart; else null
  void* grad_x;      // backward: (samples, columns)
  DType dtype;
  int64_t samples, columns, grad_stride;
};

// The exponential of x over that of the largest, both of which may be infinite.
template <class T>
GENPIPE_FN T weight_beside(T x, T top) {
  return relative_weight(select(x == top, T(0), x - top));
}

}  // namespace genpipe
