// The forward process of diffusion, x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps (Ho et al., 2020, Eq. 4).
#pragma once

#include "genpipe/philox.h"
#include "genpipe/platform.h"

namespace genpipe {

struct QSampleArgs {
  const void* x0;         // (rows, columns) of dtype
  const int64_t* t;       // (rows,)
  const void* alpha_bar;  // (num_steps,), double or float
  bool alpha_bar_is_double;
  int64_t num_steps;
  const void* noise;  // as x0; null where it comes from the key
  void* out;          // as x0
  void* noise_out;    // as x0; null where nobody wants the generated noise
  DType dtype;
  int64_t rows, columns;
  int64_t first_index;
  PhiloxKey key;
  const int64_t* device_key;
};

template <class T>
struct NoiseLevel {
  T signal, sigma;
};

// From the table in double, whatever T is: 1 - abar cancels.
template <class T>
GENPIPE_FN NoiseLevel<T> noise_level(const QSampleArgs& a, int64_t t) {
  double alpha_bar = a.alpha_bar_is_double ? static_cast<const double*>(a.alpha_bar)[t]
                                           : double(static_cast<const float*>(a.alpha_bar)[t]);
  return {T(sqrt(alpha_bar)), T(sqrt(1.0 - alpha_bar))};
}

template <class T>
GENPIPE_FN T noised(NoiseLevel<T> level, T x0, T noise) {
  return fma(level.signal, x0, level.sigma * noise);
}

}  // namespace genpipe
