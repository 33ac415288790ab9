// The monotone rational-quadratic spline of Durkan et al. ("Neural Spline Flows", 2019, section 3.1 and appendix A):
// K bins on [-bound, bound], knots from two softmaxes, slopes from a softplus, slope 1 at both ends, and the identity
// outside.
#pragma once

#include "genpipe/math.h"

namespace genpipe {

constexpr int kMaxSplineBins = 64;

// What turns an element's 3 K - 1 numbers (K widths, K heights, K - 1 slopes, all unnormalised) into knots.
struct SplineScale {
  int32_t bins;
  double bound;
  double min_width, width_span;    // a bin's width is min_width + width_span softmax(widths), in the units of x
  double min_height, height_span;  // and its height so
  double min_slope;
};

struct RationalQuadraticSplineArgs {
  const void* x;       // (rows, columns) of dtype
  const void* params;  // (rows, columns, 3 K - 1) of dtype
  void* y;             // as x
  void* log_det;       // (rows,), in the precision that dtype computes in
  DType dtype;
  bool inverse;
  int64_t rows, columns;
  SplineScale scale;
};

struct RationalQuadraticSplineBackwardArgs {
  const void *grad_y, *grad_log_det;  // as y and log_det, the latter grad_stride apart
  const void *x, *params;             // x on the side of the spline's argument: what the inverse gave
  void *grad_x, *grad_params;         // grad_x: of the op's input
  DType dtype;
  bool inverse;
  int64_t rows, columns, grad_stride;
  SplineScale scale;
};

GENPIPE_FN int spline_params(int bins) { return 3 * bins - 1; }

template <class T>
GENPIPE_FN bool within(T x, T bound) {
  return abs(x) <= bound;
}

// Where bin k begins, `before` of the `total` exponentials lying before it; factor = span / total.
template <class T>
GENPIPE_FN T spline_knot(T before, T k, T factor, T smallest, T bound) {
  return fma(before, factor, fma(k, smallest, -bound));
}

template <class T>
GENPIPE_FN T spline_slope(T raw, T smallest) {
  return smallest + (larger(raw, T(0)) + log1p_unit(exp_decay(abs(raw))));
}

// d slope / d raw
template <class T>
GENPIPE_FN T spline_slope_derivative(T raw) {
  T decay = exp_decay(abs(raw));
  return select(raw < T(0), decay, T(1)) / (T(1) + decay);
}

template <class T>
struct SplineBin {
  T x, y;           // its lower left corner
  T width, height;
  T slope0, slope1;  // at its two ends
};

template <class T>
struct SplinePoint {
  T value;
  T log_slope;  // of the direction that was asked for
};

// log of s^2 (d1 xi^2 + 2 s xi (1 - xi) + d0 (1 - xi)^2) / denominator^2 (their Eq. 5), from products that neither
// overflow nor vanish before the slopes do.
template <class T>
GENPIPE_FN T spline_log_slope(T s, T numerator, T inverse_denominator) {
  T slope = (numerator * inverse_denominator) * (s * (s * inverse_denominator));
  return log_positive(slope) + (slope - slope);  // log_positive knows no NaN
}

// The paper's denominator, s + (d1 + d0 - 2 s) xi (1 - xi), as a sum of positive terms.
template <class T>
GENPIPE_FN T spline_denominator(T s, T d0, T d1, T xi, T eta) {
  return fma(s, fma(xi, xi, eta * eta), (d0 + d1) * (xi * eta));
}

template <class T>
GENPIPE_FN T spline_numerator(T s, T d0, T d1, T xi, T eta) {
  return fma(d1, xi * xi, fma(T(2) * s, xi * eta, d0 * (eta * eta)));
}

template <class T>
GENPIPE_FN SplinePoint<T> spline_forward(const SplineBin<T>& b, T x, T bound) {
  T s = b.height / b.width, xi = smaller(larger((x - b.x) / b.width, T(0)), T(1)), eta = T(1) - xi;
  T inverse = T(1) / spline_denominator(s, b.slope0, b.slope1, xi, eta);
  T rise = xi * fma(s, xi, b.slope0 * eta) * inverse;  // Eq. 4
  T y = smaller(fma(b.height, rise, b.y), bound);      // rounding may reach past the last knot
  return {y, spline_log_slope(s, spline_numerator(s, b.slope0, b.slope1, xi, eta), inverse)};
}

// Solves a xi^2 + b xi = s e (Eqs. 6 to 8) for e, the height within the bin. With t = d0 (1 - e) - d1 e, b is t + 2 s e,
// a is s - b, and the discriminant is t^2 + 4 s^2 e (1 - e): nothing in it cancels. Of the two forms of the root,
// the one whose terms are all positive.
template <class T>
GENPIPE_FN SplinePoint<T> spline_inverse(const SplineBin<T>& b, T y, T bound) {
  T s = b.height / b.width, e = smaller(larger((y - b.y) / b.height, T(0)), T(1)), rest = T(1) - e;
  T t = fma(b.slope0, rest, -(b.slope1 * e)), twice = T(2) * s * e;
  T linear = t + twice, root = sqrt(fma(t, t, T(2) * s * twice * rest));
  bool rising = linear >= T(0);
  T xi = smaller(select(rising, twice, root - linear) / select(rising, linear + root, T(2) * (s - linear)), T(1));
  T eta = T(1) - xi, inverse = T(1) / spline_denominator(s, b.slope0, b.slope1, xi, eta);
  T x = smaller(fma(b.width, xi, b.x), bound);
  return {x, -spline_log_slope(s, spline_numerator(s, b.slope0, b.slope1, xi, eta), inverse)};
}

// The gradient of of_value * value + of_log * log_slope towards the direction's argument and what makes up the bin; x is
// on the side of the spline's argument in both directions.
template <class T>
struct SplineGradient {
  T argument;
  T x, y, width, height, slope0, slope1;
};

template <class T>
GENPIPE_FN SplineGradient<T> spline_gradient(const SplineBin<T>& b, T x, T of_value, T of_log, bool inverse) {
  T inverse_width = T(1) / b.width;
  T s = b.height * inverse_width, d0 = b.slope0, d1 = b.slope1;
  T xi = smaller(larger((x - b.x) * inverse_width, T(0)), T(1)), eta = T(1) - xi, both = xi * eta, gap = eta - xi;
  T per_denominator = T(1) / spline_denominator(s, d0, d1, xi, eta);
  T numerator = spline_numerator(s, d0, d1, xi, eta), per_numerator = T(1) / numerator;
  T rise = xi * fma(s, xi, d0 * eta) * per_denominator;
  T curvature = d0 + d1 - T(2) * s;

  // d log_slope / d xi
  T log_by_xi = T(2) * (fma(d1, xi, fma(s, gap, -(d0 * eta))) * per_numerator - gap * curvature * per_denominator);
  T outer = T(0);
  if (inverse) {
    // The inverse's derivative by the implicit function theorem is the spline's own, at what the inverse gave: of
    // the value by -(of_value + of_log d log_slope / d x) / slope, of the logarithm, which has the other sign, by -.
    T slope = (numerator * per_denominator) * (s * (s * per_denominator));
    outer = fma(-of_log, log_by_xi * inverse_width, of_value) / slope;
    of_value = -outer;
    of_log = -of_log;
  }
  T to_rise = of_value * b.height;                  // rise = top / denominator
  T to_top = to_rise * per_denominator;             // top = s xi^2 + d0 xi (1 - xi)
  T to_denominator = fma(-to_rise, rise, T(-2) * of_log) * per_denominator;
  T to_numerator = of_log * per_numerator;
  T to_s = fma(to_top, xi * xi, to_denominator * fma(xi, xi, eta * eta)) +
           fma(T(2) * to_numerator, both, T(2) * of_log / s);
  T to_xi = fma(to_top, fma(T(2) * s, xi, d0 * gap), fma(to_denominator, gap * curvature,
            T(2) * to_numerator * fma(d1, xi, fma(s, gap, -(d0 * eta)))));
  SplineGradient<T> to;
  to.x = -(to_xi * inverse_width);
  to.argument = inverse ? outer : -to.x;
  to.y = of_value;
  to.height = fma(of_value, rise, to_s * inverse_width);
  to.width = fma(-to_s, s, -to_xi * xi) * inverse_width;
  to.slope0 = fma(to_top + to_denominator, both, to_numerator * (eta * eta));
  to.slope1 = fma(to_denominator, both, to_numerator * (xi * xi));
  return to;
}

// Outside of the interval, and where the argument is NaN, the identity.
template <class T>
GENPIPE_FN SplinePoint<T> inside_or_itself(SplinePoint<T> point, T argument, T bound) {
  bool inside = within(argument, bound);
  return {select(inside, point.value, argument),
          select(inside, point.log_slope, select(argument == argument, T(0), argument))};
}

// Towards the logits of a softmax whose share j is what bin j has beyond the smallest size. A bin's place moves with
// the shares before it, its size with its own; to_place and to_size are the gradients towards these in units of a share.
template <class T>
GENPIPE_FN T share_gradient_mean(T to_place, T to_size, T before, T share) {
  return fma(to_place, before, to_size * share);
}

template <class T>
GENPIPE_FN T logit_gradient(T j, T bin, T share, T to_place, T to_size, T mean) {
  return share * (select(j < bin, to_place, select(j == bin, to_size, T(0))) - mean);
}

// Towards the raw slopes of a bin's ends, of which the outermost are fixed.
template <class T>
GENPIPE_FN T raw_slope_gradient(bool fixed, T to_slope, T raw) {
  return select(fixed, T(0), to_slope * spline_slope_derivative(raw));
}

}  // namespace genpipe
