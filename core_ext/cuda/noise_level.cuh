// A row's noise level, or a trap where there is none: the host cannot look into the device's t and schedule.
#pragma once

#include <stdio.h>

#include "genpipe/noise_level.h"

namespace genpipe {
namespace cuda {

static __device__ __forceinline__ NoiseLevel<double> checked_level(const char* op, const NoiseLevels& levels,
                                                                   int64_t row) {
  int64_t level = level_of(levels, row);
  if (level < 0 || level >= levels.num_levels) {
    printf("genpipe.%s: t[%lld] = %lld is outside of the schedule's levels, 0 to %lld\n", op, (long long)row,
           (long long)level, (long long)(levels.num_levels - 1));
    __trap();
  }
  if (!is_a_level(levels, level)) {
    printf("genpipe.%s: schedule[%lld] is neither an alpha_bar in [0, 1] nor a finite alpha and sigma\n", op,
           (long long)level);
    __trap();
  }
  return noise_level(levels, level);
}

}  // namespace cuda
}  // namespace genpipe
