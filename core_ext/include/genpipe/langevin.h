// A step of unadjusted Langevin dynamics (Welling and Teh, 2011, Eq. 4, for an energy), with the noise made on the way
// and what short-run samplers of energy models add: a scale of the noise of its own and two clamps.
#pragma once

#include "genpipe/philox.h"
#include "genpipe/platform.h"

namespace genpipe {

struct LangevinStepArgs {
  const void *x, *grad_energy;  // (rows, columns) of dtype
  void* out;                    // as x, and may be x
  DType dtype;
  int64_t rows, columns;
  double step_size, noise_scale;
  double max_grad, low, high;  // infinite where nothing is to be clamped
  int64_t first_index;
  PhiloxKey key;
  const int64_t* device_key;
};

template <class T>
struct LangevinStep {
  T half_step, noise_scale, max_grad, low, high;

  GENPIPE_FN LangevinStep of(const LangevinStepArgs& a) {
    return {T(0.5 * a.step_size), T(a.noise_scale), T(a.max_grad), T(a.low), T(a.high)};
  }
};

template <class T>
GENPIPE_FN T langevin_move(const LangevinStep<T>& step, T x, T grad, T noise) {
  grad = smaller(larger(grad, -step.max_grad), step.max_grad);
  T moved = fma(step.noise_scale, noise, fma(-step.half_step, grad, x));
  return smaller(larger(moved, step.low), step.high);
}

}  // namespace genpipe
