// The work unit is a row.
#include "genpipe/bernoulli_nll.h"

#include "row_sum.h"

namespace genpipe {
namespace {

template <class T, bool with_slope>
GENPIPE_FN void forward(const BernoulliNllArgs& a, int64_t begin, int64_t end) {
  typedef compute_t<T> C;
  sum_rows<C>(a.nll, begin, end, a.columns, [&](int64_t at, int64_t count, C* terms) {
    const T* logits = static_cast<const T*>(a.logits) + at;
    const T* x = static_cast<const T*>(a.x) + at;
    C scale = C(a.scale);
    C* slope = with_slope ? static_cast<C*>(a.slope) + at : nullptr;
    for (int64_t j = 0; j < count; ++j) {
      C logit = load(logits + j), target = load(x + j), decay = exp_decay(abs(logit));
      terms[j] = bernoulli_nll_term(logit, target, decay);
      if (with_slope) slope[j] = scale * bernoulli_nll_slope(logit, target, decay);
    }
  });
}

template <class T>
GENPIPE_FN void forward(const BernoulliNllArgs& a, int64_t begin, int64_t end) {
  a.slope == nullptr ? forward<T, false>(a, begin, end) : forward<T, true>(a, begin, end);
}

template <class T>
GENPIPE_FN void backward(const BernoulliNllBackwardArgs& a, int64_t begin, int64_t end) {
  typedef compute_t<T> C;
  for (int64_t row = begin; row < end; ++row) {
    const T* logits = static_cast<const T*>(a.logits) + row * a.columns;
    const T* x = static_cast<const T*>(a.x) + row * a.columns;
    T* out = static_cast<T*>(a.grad_logits) + row * a.columns;
    C grad = static_cast<const C*>(a.grad)[row * a.grad_stride];
    for (int64_t j = 0; j < a.columns; ++j) {
      C logit = load(logits + j);
      store(out + j, grad * bernoulli_nll_slope(logit, load(x + j), exp_decay(abs(logit))));
    }
  }
}

}  // namespace

namespace GENPIPE_VARIANT {

void bernoulli_nll(const BernoulliNllArgs& a, int64_t begin, int64_t end) {
  dispatch_dtype(a.dtype, [&](auto t) { forward<decltype(t)>(a, begin, end); });
}

void bernoulli_nll_backward(const BernoulliNllBackwardArgs& a, int64_t begin, int64_t end) {
  dispatch_dtype(a.dtype, [&](auto t) { backward<decltype(t)>(a, begin, end); });
}

}  // namespace GENPIPE_VARIANT
}  // namespace genpipe
