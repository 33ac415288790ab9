#include "genpipe/gated_activation.h"

#include "pack.cuh"

namespace genpipe {
namespace cuda {
namespace {

// The halves of a sample that belong to a pack of the output.
struct Halves {
  PackPlace a, b;
};
__device__ inline Halves halves(PackPlace place, int64_t columns) {
  Halves both{place, place};
  both.a.at = place.at + place.row * columns;
  both.b.at = both.a.at + columns;
  return both;
}

template <class T>
static __device__ __forceinline__ void load_halves(const void* x, const void* addend, Halves at,
                                                   compute_t<T> a[kPack<T>], compute_t<T> b[kPack<T>]) {
  load_pack<T>(x, at.a, a);
  load_pack<T>(x, at.b, b);
  if (addend == nullptr) return;
  compute_t<T> more_a[kPack<T>], more_b[kPack<T>];
  load_pack<T>(addend, at.a, more_a);
  load_pack<T>(addend, at.b, more_b);
#pragma unroll
  for (int k = 0; k < kPack<T>; ++k) {
    a[k] += more_a[k];
    b[k] += more_b[k];
  }
}

template <class T>
struct Forward {
  GatedActivationArgs args;

  __device__ void operator()(PackPlace place) const {
    compute_t<T> a[kPack<T>], b[kPack<T>];
    load_halves<T>(args.x, args.addend, halves(place, args.columns), a, b);
#pragma unroll
    for (int k = 0; k < kPack<T>; ++k) a[k] = gated(a[k], b[k]);
    store_pack<T>(args.out, place, a);
  }
};

template <class T>
struct Backward {
  GatedActivationBackwardArgs args;

  __device__ void operator()(PackPlace place) const {
    compute_t<T> a[kPack<T>], b[kPack<T>], grad[kPack<T>];
    Halves at = halves(place, args.columns);
    load_halves<T>(args.x, args.addend, at, a, b);
    load_pack<T>(args.grad, place, grad);
#pragma unroll
    for (int k = 0; k < kPack<T>; ++k) gated_backward(grad[k], a[k], b[k], a + k, b + k);
    store_pack<T>(args.grad_x, at.a, a);
    store_pack<T>(args.grad_x, at.b, b);
  }
};

}  // namespace

int gated_activation(const GatedActivationArgs& a, void* stream) {
  return dispatch_dtype(a.dtype, [&](auto t) {
    typedef decltype(t) T;
    return launch_for_each_pack<T>(Forward<T>{a}, a.rows, a.columns, {a.x, a.addend, a.out}, stream);
  });
}

int gated_activation_backward(const GatedActivationBackwardArgs& a, void* stream) {
  return dispatch_dtype(a.dtype, [&](auto t) {
    typedef decltype(t) T;
    return launch_for_each_pack<T>(Backward<T>{a}, a.rows, a.columns, {a.x, a.addend, a.grad, a.grad_x}, stream);
  });
}

}  // namespace cuda
}  // namespace genpipe
