// The noising process x = alpha x_0 + sigma eps at the levels of a table, and what a network predicts of it. Variance
// preserving: alpha^2 = alpha_bar, sigma^2 = 1 - alpha_bar (Ho et al., 2020). Variance exploding: alpha = 1 (Karras et
// al., 2022). Flow matching: alpha = 1 - sigma (Lipman et al., 2023).
#pragma once

#include "genpipe/platform.h"

namespace genpipe {

struct NoiseLevels {
  const void* values;  // (num_levels,) of alpha_bar, or (num_levels, 2) of alpha and sigma
  const int64_t* t;    // (rows,): each row's level; null where row b stands at level b
  int64_t num_levels;
  bool is_double, is_pairs;
};

template <class T>
struct NoiseLevel {
  T alpha, sigma;
};

GENPIPE_FN double level_value(const NoiseLevels& levels, int64_t i) {
  return levels.is_double ? static_cast<const double*>(levels.values)[i]
                          : double(static_cast<const float*>(levels.values)[i]);
}

GENPIPE_FN int64_t level_of(const NoiseLevels& levels, int64_t row) { return levels.t == nullptr ? row : levels.t[row]; }

// In double, whatever the sample is: 1 - alpha_bar cancels.
GENPIPE_FN NoiseLevel<double> noise_level(const NoiseLevels& levels, int64_t level) {
  if (levels.is_pairs) return {level_value(levels, 2 * level), level_value(levels, 2 * level + 1)};
  double alpha_bar = level_value(levels, level);
  return {sqrt(alpha_bar), sqrt(1.0 - alpha_bar)};
}

// Whether x_t exists there. Comparisons with NaN fail.
GENPIPE_FN bool is_a_level(const NoiseLevels& levels, int64_t level) {
  if (!levels.is_pairs) return level_value(levels, level) >= 0.0 && level_value(levels, level) <= 1.0;
  double alpha = level_value(levels, 2 * level), sigma = level_value(levels, 2 * level + 1);
  return abs(alpha) <= 0x1.fffffffffffffp1023 && sigma >= 0.0 && sigma <= 0x1.fffffffffffffp1023;
}

template <class T>
GENPIPE_FN NoiseLevel<T> level_in(NoiseLevel<double> level) {
  return {T(level.alpha), T(level.sigma)};
}

template <class T>
GENPIPE_FN T noised(NoiseLevel<T> level, T x0, T noise) {
  return fma(level.alpha, x0, level.sigma * noise);
}

enum class Prediction : int32_t {
  epsilon,       // eps
  sample,        // x_0
  v_prediction,  // alpha eps - sigma x_0 (Salimans & Ho, 2022)
  velocity,      // eps - x_0, the slope of the straight path from data to noise
};

// A target as a combination of x_0 and eps.
template <class T>
struct Target {
  T x0, noise;
};

template <class T>
GENPIPE_FN Target<T> target_at(Prediction prediction, NoiseLevel<double> level) {
  switch (prediction) {
    case Prediction::sample: return {T(1), T(0)};
    case Prediction::v_prediction: return {T(-level.sigma), T(level.alpha)};
    case Prediction::velocity: return {T(-1), T(1)};
    default: return {T(0), T(1)};
  }
}

template <class T>
GENPIPE_FN T target_value(Target<T> target, T x0, T noise) {
  return fma(target.x0, x0, target.noise * noise);
}

}  // namespace genpipe
