// -log p(x) of independent categoricals over the data's levels: log sum_k exp(logit_k) - logit_x for each number of an
// event. A number's exponentials add up in order of k; where logits lie side by side (one pixel), by the lanes of
// row_sum.h.
#pragma once

#include "genpipe/math.h"

namespace genpipe {

struct CategoricalNllArgs {
  const void* logits;  // (rows, channels, levels, pixels) of dtype
  const void* x;       // (rows, channels, pixels), uint8 or int64
  void* nll;           // (rows,), in the precision that dtype computes in; null in a backward pass
  void* pixel_nll;     // CUDA alone: (rows, channels, pixels) in that precision
  void* slope;         // d nll / d logits times scale, in that precision; or null
  const void* grad;    // backward: (rows,) in that precision, grad_stride apart
  void* grad_logits;   // backward: of dtype
  DType dtype;
  bool x_is_u8;
  int64_t rows, channels, levels, pixels, grad_stride;
  double scale;
};

GENPIPE_FN int64_t level_at(const CategoricalNllArgs& a, int64_t i) {
  return a.x_is_u8 ? int64_t(static_cast<const uint8_t*>(a.x)[i]) : static_cast<const int64_t*>(a.x)[i];
}

}  // namespace genpipe
