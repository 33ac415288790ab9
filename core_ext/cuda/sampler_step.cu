#include "genpipe/sampler_step.h"

#include "pack.cuh"

namespace genpipe {
namespace cuda {
namespace {

template <class T>
struct Step {
  SamplerStepArgs a;

  __device__ void operator()(PackPlace place) const {
    typedef compute_t<T> C;
    const DenoisingArgs& d = a.denoising;
    StepCoefficients k = d.device_coefficients != nullptr ? *d.device_coefficients : d.coefficients;
    Denoiser<C> denoiser = denoiser_of<C>(k);
    Clip<C> clip = clip_of<C>(k, a.threshold, place.row);
    Shares<C> shares = shares_of<C>(k);
    C x[kPack<T>], x0[kPack<T>], other[kPack<T>];
    // Each tensor is one load, and asked for before the noise is made.
    load_pack<T>(d.x, place, x);
    load_pack<T>(d.prediction, place, x0);
    if (d.unconditional != nullptr) {
      load_pack<T>(d.unconditional, place, other);
      for (int i = 0; i < kPack<T>; ++i) x0[i] = guided(C(k.guidance), x0[i], other[i]);
    }
    if (a.history != nullptr) load_pack<T>(a.history, place, other);
    for (int i = 0; i < kPack<T>; ++i) {
      x0[i] = clipped(clip, denoised(denoiser, x[i], x0[i]));
      x[i] = fma(shares.x, x[i], shares.x0 * x0[i]);
      if (a.history != nullptr) x[i] = fma(shares.history, other[i], x[i]);
    }
    bool noisy = a.noise != nullptr || (a.has_key && shares.noise != C(0));
    if (noisy) {
      if (a.noise != nullptr) {
        load_pack<T>(a.noise, place, other);
      } else {
        uint64_t first = uint64_t(a.first_index + place.row) * uint64_t(blocks_per_row(d.columns));
        normal_pack<T>(read_key(a.key, a.device_key), first, place, other);
      }
      for (int i = 0; i < kPack<T>; ++i) x[i] = fma(shares.noise, other[i], x[i]);
    }
    store_pack<T>(a.out, place, x);
    if (a.x0_out != nullptr) store_pack<T>(a.x0_out, place, x0);
  }
};

}  // namespace

int sampler_step(const SamplerStepArgs& a, void* stream) {
  const DenoisingArgs& d = a.denoising;
  return dispatch_dtype(d.dtype, [&](auto t) {
    typedef decltype(t) T;
    return launch_for_each_pack<T>(Step<T>{a}, d.rows, d.columns,
                                   {d.x, d.prediction, d.unconditional, a.history, a.noise, a.out, a.x0_out}, stream);
  });
}

}  // namespace cuda
}  // namespace genpipe
