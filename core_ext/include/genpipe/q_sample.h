// The forward process of diffusion, x_t = alpha x_0 + sigma eps, with the target that a network learns there.
#pragma once

#include "genpipe/noise_level.h"
#include "genpipe/philox.h"

namespace genpipe {

struct QSampleArgs {
  const void* x0;  // (rows, columns) of dtype
  NoiseLevels levels;
  const void* noise;  // as x0; null where it comes from the key
  void* out;          // as x0
  void* target;       // as x0; null where nobody wants it
  Prediction prediction;
  DType dtype;
  int64_t rows, columns;
  int64_t first_index;
  PhiloxKey key;
  const int64_t* device_key;
};

// Where the target is handed out, x_t is made of the noise that ops.normal gives in T: of the rounded one where T rounds.
GENPIPE_FN float rounded_noise(const float*, float noise) { return noise; }
GENPIPE_FN double rounded_noise(const double*, double noise) { return noise; }
GENPIPE_FN float rounded_noise(const bfloat16*, float noise) {
  bfloat16 given;
  store(&given, noise);
  return load(&given);
}

}  // namespace genpipe
