#include "genpipe/gaussian_nll.h"

#include "row_sum.cuh"
#include "row_tiles.cuh"

namespace genpipe {
namespace cuda {
namespace {

template <class T>
struct Forward {
  typedef compute_t<T> C;
  GaussianNllArgs a;

  __device__ C operator()(int64_t i) const {
    return gaussian_nll_term(load(static_cast<const T*>(a.mean) + i), load(static_cast<const T*>(a.log_var) + i),
                             load(static_cast<const T*>(a.x) + i));
  }
};

template <class T>
struct Backward {
  GaussianNllBackwardArgs a;

  __device__ void operator()(int64_t i) const {
    typedef compute_t<T> C;
    C m, v;
    gaussian_nll_slopes(static_cast<const C*>(a.grad)[i / a.columns * a.grad_stride], load(static_cast<const T*>(a.mean) + i),
                        load(static_cast<const T*>(a.log_var) + i), load(static_cast<const T*>(a.x) + i), &m, &v);
    store(static_cast<T*>(a.grad_mean) + i, m);
    store(static_cast<T*>(a.grad_log_var) + i, v);
  }
};

}  // namespace

int gaussian_nll(const GaussianNllArgs& a, void* stream) {
  return dispatch_dtype(a.dtype, [&](auto t) {
    typedef decltype(t) T;
    return launch_sum_row_terms<compute_t<T>>(Forward<T>{a}, a.rows, a.columns, a.nll, stream);
  });
}

int gaussian_nll_backward(const GaussianNllBackwardArgs& a, void* stream) {
  return dispatch_dtype(a.dtype, [&](auto t) {
    typedef decltype(t) T;
    return launch_for_each(Backward<T>{a}, a.rows * a.columns, stream);
  });
}

}  // namespace cuda
}  // namespace genpipe
