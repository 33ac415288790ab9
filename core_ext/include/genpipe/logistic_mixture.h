// Mixtures of discretised logistics (Salimans et al., "PixelCNN++", 2017): the data's levels 0, ..., levels - 1 stand at
// 2 level / (levels - 1) - 1 in [-1, 1], and a level's probability under a logistic is the mass of its bin, half_bin =
// 1 / (levels - 1) to either side; the outermost bins reach to infinity.
//
// With u and v a bin's edges, less the mean and over the scale, the mass of an inner bin is
//
//   sigmoid(u) - sigmoid(v) = (1 - exp(v - u)) sigmoid(u) sigmoid(-v)
//
// without cancellation, and the outermost bins leave a factor out. The paper's code takes the difference, and where it
// falls below 1e-5 the density at the bin's middle; this needs no such case, and its bins add up to 1.
#pragma once

#include "genpipe/math.h"

namespace genpipe {

enum class Levels : int32_t { values, u8, i64 };  // x in [-1, 1] in the parameters' dtype, or its level

constexpr int kMaxComponents = 512;
constexpr int kLogisticMixtureScratch = 16384;  // numbers that the CPU kernel packs

struct LogisticMixtureNllArgs {
  const void* params;  // (rows, num_maps, pixels) of dtype
  const void* x;       // (rows, channels, pixels)
  void* nll;           // (rows,), in the precision that dtype computes in; null in a backward pass
  void* pixel_nll;     // CUDA alone: (rows, pixels) in that precision
  void* slope;         // d nll / d params times scale, (rows, num_maps, pixels) in that precision; or null
  const void* grad;    // backward: (rows,) in that precision, grad_stride apart
  void* grad_params;   // backward: (rows, num_maps, pixels) of dtype
  DType dtype;
  Levels x_levels;
  int64_t rows, pixels, channels, components, levels, grad_stride;
  double scale;
};

// The parameters' maps, `components` of each: logits, then means and log-scales for each channel, then coefficients for
// each pair of channels (green from red, blue from red, blue from green), which pass through a tanh.
template <int kChannels>
struct LogisticMaps {
  static constexpr int kPairs = kChannels * (kChannels - 1) / 2;
  static constexpr int kMaps = 1 + 2 * kChannels + kPairs;

  GENPIPE_FN int mean(int channel) { return 1 + channel; }
  GENPIPE_FN int log_scale(int channel) { return 1 + kChannels + channel; }
  GENPIPE_FN int coefficient(int channel, int earlier) {
    return 1 + 2 * kChannels + channel * (channel - 1) / 2 + earlier;
  }
};

template <class T>
struct LevelGrid {
  T highest;             // levels - 1
  T half_bin, log_width;  // 1 / (levels - 1), log(2 half_bin)
};

template <class T>
GENPIPE_FN LevelGrid<T> level_grid(int64_t levels) {
  double half_bin = 1.0 / double(levels - 1);
  return {T(levels - 1), T(half_bin), T(log_positive(2 * half_bin))};
}

// The bin of a level: its middle, and its edges, of which neighbours share the bits. An outermost bin has its edge beyond
// -1 or 1, and none there in truth.
template <class T>
struct LevelBin {
  T value, lower, upper;
};

template <class T>
GENPIPE_FN LevelBin<T> level_bin(LevelGrid<T> grid, T level) {
  T middle = T(2) * level - grid.highest;
  return {middle * grid.half_bin, (middle - T(1)) * grid.half_bin, (middle + T(1)) * grid.half_bin};
}

// The level whose value is nearest to x.
GENPIPE_FN float nearest_level(LevelGrid<float> grid, float x) {
  return smaller(larger(__builtin_rintf(fma(x, 0.5f, 0.5f) * grid.highest), 0.0f), grid.highest);
}
GENPIPE_FN double nearest_level(LevelGrid<double> grid, double x) {
  return smaller(larger(__builtin_rint(fma(x, 0.5, 0.5) * grid.highest), 0.0), grid.highest);
}

// Log of a bin's mass, as log_linear + log(ratio) with ratio in [1e-7, 1], and its derivatives.
template <class T>
struct LogisticBin {
  T log_linear, ratio, by_mean, by_log_scale;
};

template <class T>
GENPIPE_FN LogisticBin<T> logistic_bin(LevelGrid<T> grid, LevelBin<T> x, T mean, T raw_log_scale) {
  bool lowest = x.lower < T(-1), highest = x.upper > T(1), inner = !lowest & !highest;
  T log_scale = larger(raw_log_scale, T(-7));
  T inverse = exp_decay(log_scale);
  T upper = (x.upper - mean) * inverse, lower = (x.lower - mean) * inverse;
  T decay_upper = exp_decay(abs(upper)), decay_lower = exp_decay(abs(lower));
  T width = fma(T(2) * grid.half_bin, inverse, T(1e-18)), decay_width;  // not 0: mass / width keeps its limit
  T mass = select(inner, one_minus_exp_decay(width, &decay_width), T(1));
  // Of logistics far wider than the data the density is left, so that nothing underflows.
  bool wide = width < T(1e-6);
  T unit = select(inner, select(wide, width, T(1)), T(1));

  // sigmoid(-upper) and sigmoid(lower) over their numerators, mass / unit and its inverse, from one division.
  T below = T(1) + select(lowest, T(0), decay_lower), above = T(1) + select(highest, T(0), decay_upper);
  T product = below * above, bin = mass * unit;
  T quotient = T(1) / (product * bin);

  LogisticBin<T> result;
  T linear = select(inner, select(wide, grid.log_width - log_scale, T(0)), T(0));
  linear = linear - select(lowest, T(0), larger(lower, T(0)));
  result.log_linear = linear + select(highest, T(0), smaller(upper, T(0)));
  result.ratio = quotient * mass * mass;
  T by_upper = select(highest, T(0), select(upper < T(0), T(1), decay_upper)) * (quotient * below * bin);
  T by_lower = select(lowest, T(0), select(lower < T(0), decay_lower, T(1))) * (quotient * above * bin);
  T by_width = select(inner, decay_width, T(0)) * (quotient * product * unit * width);
  result.by_mean = inverse * (by_lower - by_upper);
  T by_log_scale = fma(by_lower, lower, -by_upper * upper) - by_width;
  result.by_log_scale = select(raw_log_scale < T(-7), T(0), by_log_scale);
  return result;
}

// The mean of kChannel, shifted by the channels before it, from kEarlier on; slopes get the tanhs' derivatives. (Recursion
// where a loop would do: compilers vectorise over pixels only what they have unrolled before.)
template <int kChannels, int kChannel, int kEarlier, class T>
GENPIPE_FN T shifted_mean(const LevelBin<T>* x, const T* maps, T* slopes, T mean) {
  if constexpr (kEarlier < kChannel) {
    int at = LogisticMaps<kChannels>::coefficient(kChannel, kEarlier);
    mean = fma(tanh_with_slope(maps[at], &slopes[at]), x[kEarlier].value, mean);
    mean = shifted_mean<kChannels, kChannel, kEarlier + 1>(x, maps, slopes, mean);
  }
  return mean;
}

template <int kChannels, int kChannel, int kEarlier, class T>
GENPIPE_FN void coefficient_slopes(const LevelBin<T>* x, T by_mean, T* slopes) {
  if constexpr (kEarlier < kChannel) {
    slopes[LogisticMaps<kChannels>::coefficient(kChannel, kEarlier)] *= by_mean * x[kEarlier].value;
    coefficient_slopes<kChannels, kChannel, kEarlier + 1>(x, by_mean, slopes);
  }
}

// Adds channel kChannel and those after it to a component's log mass, linear + log(ratio).
template <int kChannels, int kChannel, class T>
GENPIPE_FN void add_channels(LevelGrid<T> grid, const LevelBin<T>* x, const T* maps, T* slopes, T* linear, T* ratio) {
  typedef LogisticMaps<kChannels> Maps;
  T mean = shifted_mean<kChannels, kChannel, 0>(x, maps, slopes, maps[Maps::mean(kChannel)]);
  LogisticBin<T> bin = logistic_bin(grid, x[kChannel], mean, maps[Maps::log_scale(kChannel)]);
  *linear = *linear + bin.log_linear;
  *ratio = *ratio * bin.ratio;
  slopes[Maps::mean(kChannel)] = bin.by_mean;
  slopes[Maps::log_scale(kChannel)] = bin.by_log_scale;
  coefficient_slopes<kChannels, kChannel, 0>(x, bin.by_mean, slopes);
  if constexpr (kChannel + 1 < kChannels) {
    add_channels<kChannels, kChannel + 1>(grid, x, maps, slopes, linear, ratio);
  }
}

// A component's logit + log p(x | component) from its maps at one pixel;
// slopes get its derivatives by each of them but the logit, whose is 1.
template <int kChannels, class T>
GENPIPE_FN T component_log_mass(LevelGrid<T> grid, const LevelBin<T>* x, const T* maps, T* slopes) {
  T linear = maps[0], ratio = T(1);
  add_channels<kChannels, 0>(grid, x, maps, slopes, &linear, &ratio);
  return linear + log_positive(ratio);
}

}  // namespace genpipe
