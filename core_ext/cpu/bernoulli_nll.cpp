// The work unit is a row.
#include "genpipe/bernoulli_nll.h"

#include "row_sum.h"

namespace genpipe {
namespace {

template <class T>
GENPIPE_FN void forward(const BernoulliNllArgs& a, int64_t begin, int64_t end) {
  typedef compute_t<T> C;
  for (int64_t row = begin; row < end; ++row) {
    const T* logits = static_cast<const T*>(a.logits) + row * a.columns;
    const T* x = static_cast<const T*>(a.x) + row * a.columns;
    static_cast<C*>(a.nll)[row] = C(sum_row<C>(a.columns, [&](int64_t column, int64_t count, C* terms) {
      for (int64_t j = 0; j < count; ++j) {
        terms[j] = bernoulli_nll_term(load(logits + column + j), load(x + column + j));
      }
    }));
  }
}

template <class T>
GENPIPE_FN void backward(const BernoulliNllBackwardArgs& a, int64_t begin, int64_t end) {
  typedef compute_t<T> C;
  for (int64_t row = begin; row < end; ++row) {
    const T* logits = static_cast<const T*>(a.logits) + row * a.columns;
    const T* x = static_cast<const T*>(a.x) + row * a.columns;
    T* out = static_cast<T*>(a.grad_logits) + row * a.columns;
    C grad = static_cast<const C*>(a.grad)[row];
    for (int64_t j = 0; j < a.columns; ++j) store(out + j, grad * bernoulli_nll_slope(load(logits + j), load(x + j)));
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
