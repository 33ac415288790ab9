// One step of a diffusion sampler, whichever: with numbers that the solver's table gives per step,
//   prediction = unconditional + guidance (conditional - unconditional)      (Ho & Salimans, 2022, Eq. 6, w = guidance - 1)
//   x_0        = clip(denoise_x x + denoise_prediction prediction)
//   x_next     = x_share x + x0_share x_0 + history_share history + noise_share z
// No eps appears: where a solver speaks of it, it is the one that agrees with the clipped x_0.
#pragma once

#include "genpipe/philox.h"
#include "genpipe/platform.h"

namespace genpipe {

struct StepCoefficients {
  double denoise_x, denoise_prediction, x_share, x0_share, history_share, noise_share, guidance, clip;
};
constexpr int kNumStepCoefficients = sizeof(StepCoefficients) / sizeof(double);

// What x_0 is made of: (rows, columns) of dtype each; unconditional is null where there is no guidance.
struct DenoisingArgs {
  const void *x, *prediction, *unconditional;
  StepCoefficients coefficients;
  const StepCoefficients* device_coefficients;  // where they lie in device memory; else null
  DType dtype;
  int64_t rows, columns;
};

struct SamplerStepArgs {
  DenoisingArgs denoising;
  const void *history, *noise;  // as x; null where there is none
  const void* threshold;        // (rows,) in the computing precision: each sample's own clip; null where there is none
  void* out;                    // as x, and may be x
  void* x0_out;                 // as x, and may be history; null where nobody wants x_0
  bool has_key;
  int64_t first_index;
  PhiloxKey key;
  const int64_t* device_key;
};

template <class T>
GENPIPE_FN T guided(T guidance, T conditional, T unconditional) {
  return fma(guidance, conditional - unconditional, unconditional);
}

template <class T>
struct Denoiser {
  T x, prediction;
};
template <class T>
GENPIPE_FN Denoiser<T> denoiser_of(const StepCoefficients& k) {
  return {T(k.denoise_x), T(k.denoise_prediction)};
}
template <class T>
GENPIPE_FN T denoised(Denoiser<T> d, T x, T prediction) {
  return fma(d.x, x, d.prediction * prediction);
}

// Values beyond the limit are set to it, and the whole is scaled; NaN stays.
template <class T>
struct Clip {
  T limit, scale;
};
// Dynamic thresholding (Saharia et al., 2022, Sec. 2.3): a sample's own limit, scaled back to the data's.
template <class T>
GENPIPE_FN Clip<T> clip_of(const StepCoefficients& k, const void* threshold, int64_t row) {
  T limit = T(k.clip);
  if (threshold == nullptr) return {limit, T(1)};
  T own = static_cast<const T*>(threshold)[row];
  return {own, limit / own};
}
template <class T>
GENPIPE_FN T clipped(Clip<T> clip, T x0) {
  return smaller(larger(x0, -clip.limit), clip.limit) * clip.scale;
}

template <class T>
struct Shares {
  T x, x0, history, noise;
};
template <class T>
GENPIPE_FN Shares<T> shares_of(const StepCoefficients& k) {
  return {T(k.x_share), T(k.x0_share), T(k.history_share), T(k.noise_share)};
}

}  // namespace genpipe
