// -log p(x) of a Bernoulli with the given logits: softplus(logit) - x logit, for x in [0, 1].
#pragma once

#include "genpipe/math.h"

namespace genpipe {

struct BernoulliNllArgs {
  const void *logits, *x;  // (rows, columns) of dtype
  void* nll;               // (rows,), in the precision that dtype computes in
  void* slope;             // d nll / d logits, (rows, columns) in that precision; null where nobody wants it
  DType dtype;
  int64_t rows, columns;
};

struct BernoulliNllBackwardArgs {
  const void *grad, *logits, *x;
  void* grad_logits;
  DType dtype;
  int64_t rows, columns;
};

// Both are made of decay = exp(-|logit|), which cannot overflow.
template <class T>
GENPIPE_FN T bernoulli_nll_term(T logit, T x, T decay) {
  T positive = select(logit > T(0), logit, T(0));
  return fma(-x, logit, positive) + log1p_unit(decay);
}

// d nll / d logit = sigmoid(logit) - x.
template <class T>
GENPIPE_FN T bernoulli_nll_slope(T logit, T x, T decay) {
  T r = reciprocal_one_to_two(T(1) + decay);
  return select(logit < T(0), decay * r, r) - x;
}

}  // namespace genpipe
