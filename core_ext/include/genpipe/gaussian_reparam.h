// The reparameterised Gaussian of a variational autoencoder (Kingma and Welling, 2014): z = mean + sigma eps, and its
// divergence from N(0, I), 1/2 sum(mean^2 + sigma^2 - 1 - log sigma^2) (their appendix B).
#pragma once

#include "genpipe/math.h"
#include "genpipe/philox.h"

namespace genpipe {

struct GaussianReparamArgs {
  const void *mean, *log_var;  // (rows, columns) of dtype
  void* z;                     // the same
  void* kl;                    // (rows,), in the precision that dtype computes in
  DType dtype;
  int64_t rows, columns;
  int64_t first_index;
  PhiloxKey key;
  const int64_t* device_key;
};

struct GaussianReparamBackwardArgs {
  const void *grad_z, *grad_kl, *mean, *log_var;  // grad_kl: (rows,), grad_stride apart
  void *grad_mean, *grad_log_var;
  DType dtype;
  int64_t rows, columns, grad_stride;
  int64_t first_index;
  PhiloxKey key;
  const int64_t* device_key;
};

// z, and the element's part of the divergence.
template <class T>
GENPIPE_FN T reparameterise(T mean, T log_var, T noise, T* kl) {
  T sigma = exp(T(0.5) * log_var);
  *kl = T(0.5) * (fma(mean, mean, sigma * sigma) - T(1) - log_var);
  return fma(sigma, noise, mean);
}

template <class T>
GENPIPE_FN void reparameterise_backward(T grad_z, T grad_kl, T mean, T log_var, T noise, T* grad_mean,
                                        T* grad_log_var) {
  T sigma = exp(T(0.5) * log_var);
  *grad_mean = fma(grad_kl, mean, grad_z);
  *grad_log_var = T(0.5) * fma(grad_z, sigma * noise, grad_kl * fma(sigma, sigma, T(-1)));
}

}  // namespace genpipe
