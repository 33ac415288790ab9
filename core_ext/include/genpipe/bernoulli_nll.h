// -log p(x) of a Bernoulli with the given logits: softplus(logit) - x logit, for x in [0, 1].
#pragma once

#include "genpipe/math.h"

namespace genpipe {

struct BernoulliNllArgs {
  const void *logits, *x;  // (rows, columns) of dtype
  void* nll;               // (rows,), in the precision that dtype computes in
  void* slope;             // d nll / d logits times scale, (rows, columns) in that precision; null: nobody wants it
  DType dtype;
  int64_t rows, columns;
  double scale;
};

struct BernoulliNllBackwardArgs {
  const void *grad, *logits, *x;  // grad: (rows,), grad_stride apart
  void* grad_logits;
  DType dtype;
  int64_t rows, columns, grad_stride;
};

// Both are made of decay = exp(-|logit|), which cannot overflow.
template <class T>
GENPIPE_FN T bernoulli_nll_term(T logit, T x, T decay) {
  return fma(-x, logit, larger(logit, T(0))) + log1p_unit(decay);
}

// d nll / d logit = sigmoid(logit) - x. The divider works beside the multiply-adds that the value keeps busy: Newton's
// steps in its place cost more.
template <class T>
GENPIPE_FN T bernoulli_nll_slope(T logit, T x, T decay) {
  return select(logit < T(0), decay, T(1)) / (T(1) + decay) - x;
}

}  // namespace genpipe
