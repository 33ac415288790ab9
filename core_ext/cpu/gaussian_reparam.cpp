// The work unit is a row.
#include "genpipe/gaussian_reparam.h"

#include "noise.h"
#include "row_sum.h"

namespace genpipe {
namespace {

template <class T>
GENPIPE_FN void forward(const GaussianReparamArgs& a, int64_t begin, int64_t end) {
  typedef compute_t<T> C;
  double total = 0;
  for_each_part<C>(a.key, a.first_index, a.columns, begin, end, [&](int64_t row, int64_t column, int64_t count, const C* noise) {
    int64_t at = row * a.columns + column;
    const T* mean = static_cast<const T*>(a.mean) + at;
    const T* log_var = static_cast<const T*>(a.log_var) + at;
    T* z = static_cast<T*>(a.z) + at;
    if (column == 0) total = 0;
    // Tiles are whole sum blocks, so a row's tree does not depend on where tiles end.
    for (int64_t j = 0; j < count; j += kSumBlock) {
      C block[kSumBlock];
      int64_t n = min(kSumBlock, count - j);
      for (int64_t i = 0; i < n; ++i) {
        store(z + j + i, reparameterise(load(mean + j + i), load(log_var + j + i), noise[j + i], &block[i]));
      }
      total += sum_block(block, n);
    }
    if (column + count == a.columns) static_cast<C*>(a.kl)[row] = C(total);
  });
}

template <class T>
GENPIPE_FN void backward(const GaussianReparamBackwardArgs& a, int64_t begin, int64_t end) {
  typedef compute_t<T> C;
  for_each_part<C>(a.key, a.first_index, a.columns, begin, end, [&](int64_t row, int64_t column, int64_t count, const C* noise) {
    int64_t at = row * a.columns + column;
    const T* grad_z = static_cast<const T*>(a.grad_z) + at;
    const T* mean = static_cast<const T*>(a.mean) + at;
    const T* log_var = static_cast<const T*>(a.log_var) + at;
    T* grad_mean = static_cast<T*>(a.grad_mean) + at;
    T* grad_log_var = static_cast<T*>(a.grad_log_var) + at;
    C grad_kl = static_cast<const C*>(a.grad_kl)[row * a.grad_stride];
    for (int64_t j = 0; j < count; ++j) {
      C m, v;
      reparameterise_backward(load(grad_z + j), grad_kl, load(mean + j), load(log_var + j), noise[j], &m, &v);
      store(grad_mean + j, m);
      store(grad_log_var + j, v);
    }
  });
}

}  // namespace

namespace GENPIPE_VARIANT {

void gaussian_reparam(const GaussianReparamArgs& a, int64_t begin, int64_t end) {
  dispatch_dtype(a.dtype, [&](auto t) { forward<decltype(t)>(a, begin, end); });
}

void gaussian_reparam_backward(const GaussianReparamBackwardArgs& a, int64_t begin, int64_t end) {
  dispatch_dtype(a.dtype, [&](auto t) { backward<decltype(t)>(a, begin, end); });
}

}  // namespace GENPIPE_VARIANT
}  // namespace genpipe
