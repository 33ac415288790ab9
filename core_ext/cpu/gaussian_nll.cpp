// The work unit is a row.
#include "genpipe/gaussian_nll.h"

#include "row_sum.h"

namespace genpipe {
namespace {

template <class T>
GENPIPE_FN void forward(const GaussianNllArgs& a, int64_t begin, int64_t end) {
  typedef compute_t<T> C;
  for (int64_t row = begin; row < end; ++row) {
    int64_t at = row * a.columns;
    const T* mean = static_cast<const T*>(a.mean) + at;
    const T* log_var = static_cast<const T*>(a.log_var) + at;
    const T* x = static_cast<const T*>(a.x) + at;
    static_cast<C*>(a.nll)[row] = C(sum_row<C>(a.columns, [&](int64_t column, int64_t count, C* terms) {
      for (int64_t j = 0; j < count; ++j) {
        terms[j] = gaussian_nll_term(load(mean + column + j), load(log_var + column + j), load(x + column + j));
      }
    }));
  }
}

template <class T>
GENPIPE_FN void backward(const GaussianNllBackwardArgs& a, int64_t begin, int64_t end) {
  typedef compute_t<T> C;
  for (int64_t row = begin; row < end; ++row) {
    int64_t at = row * a.columns;
    const T* mean = static_cast<const T*>(a.mean) + at;
    const T* log_var = static_cast<const T*>(a.log_var) + at;
    const T* x = static_cast<const T*>(a.x) + at;
    T* grad_mean = static_cast<T*>(a.grad_mean) + at;
    T* grad_log_var = static_cast<T*>(a.grad_log_var) + at;
    C grad = static_cast<const C*>(a.grad)[row * a.grad_stride];
    for (int64_t j = 0; j < a.columns; ++j) {
      C m, v;
      gaussian_nll_slopes(grad, load(mean + j), load(log_var + j), load(x + j), &m, &v);
      store(grad_mean + j, m);
      store(grad_log_var + j, v);
    }
  }
}

}  // namespace

namespace GENPIPE_VARIANT {

void gaussian_nll(const GaussianNllArgs& a, int64_t begin, int64_t end) {
  switch (a.dtype) {
    case DType::f32: return forward<float>(a, begin, end);
    case DType::f64: return forward<double>(a, begin, end);
    case DType::bf16: return forward<bfloat16>(a, begin, end);
  }
}

void gaussian_nll_backward(const GaussianNllBackwardArgs& a, int64_t begin, int64_t end) {
  switch (a.dtype) {
    case DType::f32: return backward<float>(a, begin, end);
    case DType::f64: return backward<double>(a, begin, end);
    case DType::bf16: return backward<bfloat16>(a, begin, end);
  }
}

}  // namespace GENPIPE_VARIANT
}  // namespace genpipe
