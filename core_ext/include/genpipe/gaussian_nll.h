// -log N(x; mean, exp(log_var)) = 1/2 ((x - mean)^2 exp(-log_var) + log_var + log 2 pi).
#pragma once

#include "genpipe/math.h"

namespace genpipe {

struct GaussianNllArgs {
  const void *mean, *log_var, *x;  // (rows, columns) of dtype
  void* nll;                       // (rows,), in the precision that dtype computes in
  DType dtype;
  int64_t rows, columns;
};

struct GaussianNllBackwardArgs {
  const void *grad, *mean, *log_var, *x;  // grad: (rows,), grad_stride apart
  void *grad_mean, *grad_log_var;  // the gradient of x is -grad_mean
  DType dtype;
  int64_t rows, columns, grad_stride;
};

// The residual is divided by sigma before it is squared: half the exponent, so small variances overflow later.
template <class T>
GENPIPE_FN T gaussian_nll_term(T mean, T log_var, T x) {
  T u = (x - mean) * exp(T(-0.5) * log_var);
  return T(0.5) * fma(u, u, log_var + T(1.8378770664093454836));
}

template <class T>
GENPIPE_FN void gaussian_nll_slopes(T grad, T mean, T log_var, T x, T* grad_mean, T* grad_log_var) {
  T precision_root = exp(T(-0.5) * log_var);
  T u = (x - mean) * precision_root;
  *grad_mean = -grad * u * precision_root;
  *grad_log_var = T(0.5) * grad * fma(-u, u, T(1));
}

}  // namespace genpipe
