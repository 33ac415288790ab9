// The affine coupling of RealNVP (Dinh et al., 2017, Eqs. 7 and 9): y = x exp(s) + t, log|det| = sum(s), with s as it is
// given or bounded by a tanh; masked elements pass through.
#pragma once

#include "genpipe/math.h"

namespace genpipe {

struct AffineCouplingArgs {
  const void* x;                    // (rows, columns) of dtype
  const void *shift, *log_scale;    // the same, their rows shift_stride and log_scale_stride apart
  const uint8_t* mask;              // (columns,): true where x passes through; null where it nowhere does
  void* y;                          // as x
  void* log_det;                    // (rows,), in the precision that dtype computes in
  DType dtype;
  bool inverse;
  int64_t rows, columns, shift_stride, log_scale_stride;
  double limit;                     // of |s|, through tanh; infinite where s is as given
};

struct AffineCouplingBackwardArgs {
  const void *grad_y, *grad_log_det;  // as y and log_det, the latter grad_stride apart
  const void *x, *log_scale;          // x on the side of the data: what the inverse gave
  const uint8_t* mask;
  void *grad_x, *grad_log_scale;      // grad_x: of the op's input
  DType dtype;
  bool inverse;
  int64_t rows, columns, log_scale_stride, grad_stride;
  double limit;
};

template <class T>
struct CouplingScale {
  T log_scale, slope;  // s, and d s / d raw
};

template <bool bounded, class T>
GENPIPE_FN CouplingScale<T> coupling_scale(T raw, T limit, T per_limit) {
  if (!bounded) return {raw, T(1)};
  T slope, bounded_raw = limit * tanh_with_slope(raw * per_limit, &slope);
  return {bounded_raw, slope};
}

template <class T>
GENPIPE_FN T couple(T x, T shift, T log_scale) {
  return fma(x, exp(log_scale), shift);
}

template <class T>
GENPIPE_FN T uncouple(T y, T shift, T log_scale) {
  return (y - shift) * exp(-log_scale);
}

// Towards the op's input and the raw scale; x is on the side of the data. The shift's is grad_y, of the inverse -input.
template <class T>
struct CouplingGradient {
  T input, raw;
};

template <bool inverse, class T>
GENPIPE_FN CouplingGradient<T> coupling_gradient(T grad_y, T grad_log_det, T x, CouplingScale<T> scale) {
  T input = grad_y * exp(inverse ? -scale.log_scale : scale.log_scale);
  T to_scale = inverse ? fma(-grad_y, x, -grad_log_det) : fma(input, x, grad_log_det);
  return {input, to_scale * scale.slope};
}

template <bool b>
struct Flag {
  static constexpr bool value = b;
};

template <class F>
static inline __attribute__((always_inline)) auto with_flag(bool flag, F f) {
  return flag ? f(Flag<true>()) : f(Flag<false>());
}

// f(T(), bounded, masked, inverse), the last three as Flags. Of the host alone.
template <class Args, class F>
static inline __attribute__((always_inline)) auto dispatch_coupling(const Args& a, F f) {
  return dispatch_dtype(a.dtype, [&](auto t) {
    return with_flag(a.limit < __builtin_inf(), [&](auto bounded) {
      return with_flag(a.mask != nullptr, [&](auto masked) {
        return with_flag(a.inverse, [&](auto inverse) { return f(t, bounded, masked, inverse); });
      });
    });
  });
}

}  // namespace genpipe
