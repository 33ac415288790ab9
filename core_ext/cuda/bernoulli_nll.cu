#include "genpipe/bernoulli_nll.h"

#include "row_sum.cuh"
#include "row_tiles.cuh"

namespace genpipe {
namespace cuda {
namespace {

template <class T>
struct Forward {
  typedef compute_t<T> C;
  BernoulliNllArgs a;

  __device__ C operator()(int64_t i) const {
    C logit = load(static_cast<const T*>(a.logits) + i), x = load(static_cast<const T*>(a.x) + i);
    C decay = exp_decay(abs(logit));
    if (a.slope != nullptr) static_cast<C*>(a.slope)[i] = C(a.scale) * bernoulli_nll_slope(logit, x, decay);
    return bernoulli_nll_term(logit, x, decay);
  }
};

template <class T>
struct Backward {
  BernoulliNllBackwardArgs a;

  __device__ void operator()(int64_t i) const {
    typedef compute_t<T> C;
    C logit = load(static_cast<const T*>(a.logits) + i);
    C slope = bernoulli_nll_slope(logit, load(static_cast<const T*>(a.x) + i), exp_decay(abs(logit)));
    store(static_cast<T*>(a.grad_logits) + i, static_cast<const C*>(a.grad)[i / a.columns * a.grad_stride] * slope);
  }
};

}  // namespace

int bernoulli_nll(const BernoulliNllArgs& a, void* stream) {
  return dispatch_dtype(a.dtype, [&](auto t) {
    typedef decltype(t) T;
    return launch_sum_row_terms<compute_t<T>>(Forward<T>{a}, a.rows, a.columns, a.nll, stream);
  });
}

int bernoulli_nll_backward(const BernoulliNllBackwardArgs& a, void* stream) {
  return dispatch_dtype(a.dtype, [&](auto t) {
    typedef decltype(t) T;
    return launch_for_each(Backward<T>{a}, a.rows * a.columns, stream);
  });
}

}  // namespace cuda
}  // namespace genpipe
