// The work unit is a row.
#include "genpipe/bernoulli_nll.h"

#include "row_sum.h"

namespace genpipe {
namespace {

template <class T, bool with_slope>
GENPIPE_FN void forward(const BernoulliNllArgs& a, int64_t begin, int64_t end) {
  typedef compute_t<T> C;
  for (int64_t row = begin; row < end; ++row) {
    const T* logits = static_cast<const T*>(a.logits) + row * a.columns;
    const T* x = static_cast<const T*>(a.x) + row * a.columns;
    C* slope = with_slope ? static_cast<C*>(a.slope) + row * a.columns : nullptr;
    static_cast<C*>(a.nll)[row] = C(sum_row<C>(a.columns, [&](int64_t column, int64_t count, C* terms) {
      for (int64_t j = 0; j < count; ++j) {
        C logit = load(logits + column + j), target = load(x + column + j), decay = exp_decay(abs(logit));
        terms[j] = bernoulli_nll_term(logit, target, decay);
        if (with_slope) slope[column + j] = bernoulli_nll_slope(logit, target, decay);
      }
    }));
  }
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
  switch (a.dtype) {
    case DType::f32: return forward<float>(a, begin, end);
    case DType::f64: return forward<double>(a, begin, end);
    case DType::bf16: return forward<bfloat16>(a, begin, end);
  }
}

void bernoulli_nll_backward(const BernoulliNllBackwardArgs& a, int64_t begin, int64_t end) {
  switch (a.dtype) {
    case DType::f32: return backward<float>(a, begin, end);
    case DType::f64: return backward<double>(a, begin, end);
    case DType::bf16: return backward<bfloat16>(a, begin, end);
  }
}

}  // namespace GENPIPE_VARIANT
}  // namespace genpipe
