// The work unit is a row.
#include "genpipe/gaussian_nll.h"

#include "row_sum.h"

namespace genpipe {
namespace {

template <class T>
GENPIPE_FN void forward(const GaussianNllArgs& a, int64_t begin, int64_t end) {
  typedef compute_t<T> C;
  sum_rows<C>(a.nll, begin, end, a.columns, [&](int64_t at, int64_t count, C* terms) {
    const T* mean = static_cast<const T*>(a.mean) + at;
    const T* log_var = static_cast<const T*>(a.log_var) + at;
    const T* x = static_cast<const T*>(a.x) + at;
    for (int64_t j = 0; j < count; ++j) terms[j] = gaussian_nll_term(load(mean + j), load(log_var + j), load(x + j));
  });
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
  dispatch_dtype(a.dtype, [&](auto t) { forward<decltype(t)>(a, begin, end); });
}

void gaussian_nll_backward(const GaussianNllBackwardArgs& a, int64_t begin, int64_t end) {
  dispatch_dtype(a.dtype, [&](auto t) { backward<decltype(t)>(a, begin, end); });
}

}  // namespace GENPIPE_VARIANT
}  // namespace genpipe
