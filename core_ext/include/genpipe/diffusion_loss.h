// The weighted squared error of a diffusion model's prediction, w_t sum (prediction - target)^2 per sample. The target
// is a combination of x_0 and eps; eps is made again where it is needed, and never stored.
#pragma once

#include "genpipe/noise_level.h"
#include "genpipe/philox.h"

namespace genpipe {

struct DiffusionLossArgs {
  const void *prediction, *x0;  // (rows, columns) of dtype
  NoiseLevels levels;
  const void* weights;  // (num_levels,), double or float; null where all are 1
  bool weights_are_double;
  const void* noise;  // as x0; null where it comes from the key
  void* loss;         // (rows,), in the precision that dtype computes in
  void* slope;        // d loss / d prediction, (rows, columns) in that precision; null where nobody wants it
  Prediction target;
  DType dtype;
  int64_t rows, columns;
  int64_t first_index;
  PhiloxKey key;
  const int64_t* device_key;
};

struct DiffusionLossBackwardArgs {
  DiffusionLossArgs forward;  // whose loss and slope are null
  const void* grad;           // (rows,) in the computing precision, grad_stride apart
  int64_t grad_stride;
  void* grad_prediction;  // as prediction
};

GENPIPE_FN double loss_weight(const DiffusionLossArgs& a, int64_t row) {
  if (a.weights == nullptr) return 1.0;
  int64_t level = level_of(a.levels, row);
  return a.weights_are_double ? static_cast<const double*>(a.weights)[level]
                              : double(static_cast<const float*>(a.weights)[level]);
}

template <class T>
GENPIPE_FN T loss_error(Target<T> target, T prediction, T x0, T noise) {
  return prediction - target_value(target, x0, noise);
}

}  // namespace genpipe
