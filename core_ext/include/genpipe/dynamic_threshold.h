// Each sample's limit for dynamic thresholding (Saharia et al., 2022, Sec. 2.3): a quantile of its |x_0|, at least the
// data's limit. The quantile lies between two neighbours in order, which are found exactly, by the digits of their bits:
// numbers that are not negative are ordered as their bits are, and NaN comes last.
#pragma once

#include "genpipe/sampler_step.h"

namespace genpipe {

struct DynamicThresholdArgs {
  DenoisingArgs denoising;
  double ratio;    // of the values, in [0, 1], that lie below the quantile
  double maximum;  // which no limit exceeds
  void* out;       // (rows,), in the computing precision
};

template <class T>
struct Bits;
template <>
struct Bits<float> {
  typedef uint32_t type;
};
template <>
struct Bits<double> {
  typedef uint64_t type;
};
template <class T>
using bits_t = typename Bits<T>::type;

template <class T>
GENPIPE_FN bits_t<T> ordered_bits(T x) {
  return bit_cast<bits_t<T>>(abs(x));
}

// Where among `count` ordered values the quantile lies: `rank`, and `rest` of the way to the next.
struct QuantilePlace {
  int64_t rank;
  double rest;
};
GENPIPE_FN QuantilePlace quantile_place(double ratio, int64_t count) {
  double position = ratio * double(count - 1);
  int64_t rank = int64_t(position);
  return {rank, position - double(rank)};
}

template <class T>
GENPIPE_FN T threshold_between(bits_t<T> low, bits_t<T> high, double rest, const DynamicThresholdArgs& a, double clip) {
  T below = bit_cast<T>(low), above = bit_cast<T>(high);
  T quantile = rest == 0.0 || low == high ? below : fma(T(rest), above - below, below);
  return larger(smaller(quantile, T(a.maximum)), T(clip));
}

}  // namespace genpipe
