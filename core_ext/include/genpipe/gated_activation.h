// The gated activation of van den Oord et al. (2016b), Eq. 2: tanh(a) sigmoid(b), a and b the halves of the channels.
#pragma once

#include "genpipe/math.h"

namespace genpipe {

constexpr int64_t kGatedPiece = 4096;

// A row is a sample: `columns` numbers of a, then as many of b.
struct GatedActivationArgs {
  const void *x, *addend;  // (rows, 2 columns); the addend is null where there is none
  void* out;               // (rows, columns)
  DType dtype;
  int64_t rows, columns;
};

struct GatedActivationBackwardArgs {
  const void *grad, *x, *addend;  // grad: (rows, columns)
  void* grad_x;                   // (rows, 2 columns); the addend's gradient too
  DType dtype;
  int64_t rows, columns;
};

// sigmoid(x) and its derivative.
template <class T>
GENPIPE_FN T sigmoid_with_slope(T x, T* slope) {
  T decay = exp_decay(abs(x)), inverse = T(1) / (T(1) + decay);
  *slope = decay * inverse * inverse;
  return select(x < T(0), decay, T(1)) * inverse;
}

template <class T>
GENPIPE_FN T gated(T a, T b) {
  T by_a, by_b;
  return tanh_with_slope(a, &by_a) * sigmoid_with_slope(b, &by_b);
}

template <class T>
GENPIPE_FN void gated_backward(T grad, T a, T b, T* grad_a, T* grad_b) {
  T by_a, by_b;
  T tanh = tanh_with_slope(a, &by_a), sigmoid = sigmoid_with_slope(b, &by_b);
  *grad_a = grad * (by_a * sigmoid);
  *grad_b = grad * (tanh * by_b);
}

}  // namespace genpipe
