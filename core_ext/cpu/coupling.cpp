// The work unit is a row.
#include "genpipe/coupling.h"

#include "row_sum.h"

namespace genpipe {
namespace {

template <class T, bool bounded, bool masked, bool inverse>
GENPIPE_FN void forward(const AffineCouplingArgs& a, int64_t begin, int64_t end) {
  typedef compute_t<T> C;
  C limit = C(a.limit), per_limit = C(1 / a.limit);
  for (int64_t row = begin; row < end; ++row) {
    const T* x = static_cast<const T*>(a.x) + row * a.columns;
    const T* shift = static_cast<const T*>(a.shift) + row * a.shift_stride;
    const T* raw = static_cast<const T*>(a.log_scale) + row * a.log_scale_stride;
    T* y = static_cast<T*>(a.y) + row * a.columns;
    static_cast<C*>(a.log_det)[row] = C(sum_row<C>(a.columns, [&](int64_t column, int64_t count, C* terms) {
      for (int64_t i = 0; i < count; ++i) {
        int64_t j = column + i;
        bool held = masked && a.mask[j] != 0;
        C s = select(held, C(0), coupling_scale<bounded>(load(raw + j), limit, per_limit).log_scale);
        C t = select(held, C(0), load(shift + j));
        store(y + j, inverse ? uncouple(load(x + j), t, s) : couple(load(x + j), t, s));
        terms[i] = inverse ? -s : s;
      }
    }));
  }
}

template <class T, bool bounded, bool masked, bool inverse>
GENPIPE_FN void backward(const AffineCouplingBackwardArgs& a, int64_t begin, int64_t end) {
  typedef compute_t<T> C;
  C limit = C(a.limit), per_limit = C(1 / a.limit);
  for (int64_t row = begin; row < end; ++row) {
    const T* x = static_cast<const T*>(a.x) + row * a.columns;
    const T* grad_y = static_cast<const T*>(a.grad_y) + row * a.columns;
    const T* raw = static_cast<const T*>(a.log_scale) + row * a.log_scale_stride;
    T* grad_x = static_cast<T*>(a.grad_x) + row * a.columns;
    T* grad_raw = static_cast<T*>(a.grad_log_scale) + row * a.columns;
    C grad_log_det = static_cast<const C*>(a.grad_log_det)[row * a.grad_stride];
    for (int64_t j = 0; j < a.columns; ++j) {
      bool held = masked && a.mask[j] != 0;
      CouplingScale<C> scale = coupling_scale<bounded>(load(raw + j), limit, per_limit);
      scale.log_scale = select(held, C(0), scale.log_scale);
      CouplingGradient<C> to = coupling_gradient<inverse>(load(grad_y + j), grad_log_det, load(x + j), scale);
      store(grad_x + j, to.input);
      store(grad_raw + j, select(held, C(0), to.raw));
    }
  }
}

}  // namespace

namespace GENPIPE_VARIANT {

void affine_coupling(const AffineCouplingArgs& a, int64_t begin, int64_t end) {
  dispatch_coupling(a, [&](auto t, auto bounded, auto masked, auto inverse) {
    forward<decltype(t), bounded.value, masked.value, inverse.value>(a, begin, end);
  });
}

void affine_coupling_backward(const AffineCouplingBackwardArgs& a, int64_t begin, int64_t end) {
  dispatch_coupling(a, [&](auto t, auto bounded, auto masked, auto inverse) {
    backward<decltype(t), bounded.value, masked.value, inverse.value>(a, begin, end);
  });
}

}  // namespace GENPIPE_VARIANT
}  // namespace genpipe
