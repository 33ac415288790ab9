#include "genpipe/coupling.h"

#include "row_sum.cuh"
#include "row_tiles.cuh"

namespace genpipe {
namespace cuda {
namespace {

template <class T, bool bounded, bool masked, bool inverse>
struct Forward {
  typedef compute_t<T> C;
  AffineCouplingArgs a;

  __device__ C operator()(int64_t at) const {
    int64_t row = at / a.columns, j = at - row * a.columns;
    bool held = masked && a.mask[j] != 0;
    C raw = load(static_cast<const T*>(a.log_scale) + row * a.log_scale_stride + j);
    C t = load(static_cast<const T*>(a.shift) + row * a.shift_stride + j), x = load(static_cast<const T*>(a.x) + at);
    C s = held ? C(0) : coupling_scale<bounded>(raw, C(a.limit), C(1 / a.limit)).log_scale;
    t = held ? C(0) : t;
    store(static_cast<T*>(a.y) + at, inverse ? uncouple(x, t, s) : couple(x, t, s));
    return inverse ? -s : s;
  }
};

template <class T, bool bounded, bool masked, bool inverse>
struct Backward {
  AffineCouplingBackwardArgs a;

  __device__ void operator()(int64_t at) const {
    typedef compute_t<T> C;
    int64_t row = at / a.columns, j = at - row * a.columns;
    bool held = masked && a.mask[j] != 0;
    C raw = load(static_cast<const T*>(a.log_scale) + row * a.log_scale_stride + j);
    CouplingScale<C> scale = coupling_scale<bounded>(raw, C(a.limit), C(1 / a.limit));
    scale.log_scale = held ? C(0) : scale.log_scale;
    CouplingGradient<C> to = coupling_gradient<inverse>(load(static_cast<const T*>(a.grad_y) + at),
                                                        static_cast<const C*>(a.grad_log_det)[row * a.grad_stride],
                                                        load(static_cast<const T*>(a.x) + at), scale);
    store(static_cast<T*>(a.grad_x) + at, to.input);
    store(static_cast<T*>(a.grad_log_scale) + at, held ? C(0) : to.raw);
  }
};

}  // namespace

int affine_coupling(const AffineCouplingArgs& a, void* stream) {
  return dispatch_coupling(a, [&](auto t, auto bounded, auto masked, auto inverse) {
    typedef decltype(t) T;
    Forward<T, decltype(bounded)::value, decltype(masked)::value, decltype(inverse)::value> term{a};
    return launch_sum_row_terms<compute_t<T>>(term, a.rows, a.columns, a.log_det, stream);
  });
}

int affine_coupling_backward(const AffineCouplingBackwardArgs& a, void* stream) {
  return dispatch_coupling(a, [&](auto t, auto bounded, auto masked, auto inverse) {
    Backward<decltype(t), decltype(bounded)::value, decltype(masked)::value, decltype(inverse)::value> piece{a};
    return launch_for_each(piece, a.rows * a.columns, stream);
  });
}

}  // namespace cuda
}  // namespace genpipe
