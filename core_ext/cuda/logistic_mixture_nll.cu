// A thread is a pixel; neighbours read neighbours of each map. The components' log masses wait in shared memory for their
// sum; the derivatives are made in a second pass over the parameters, which the caches still hold.
#include "genpipe/logistic_mixture.h"

#include <stdio.h>

#include "row_sum.cuh"

namespace genpipe {
namespace cuda {
namespace {

template <class T>
__device__ LevelBin<compute_t<T>> load_bin(const LogisticMixtureNllArgs& a, LevelGrid<compute_t<T>> grid, int64_t i) {
  if (a.x_levels == Levels::values) return level_bin(grid, nearest_level(grid, load(static_cast<const T*>(a.x) + i)));
  int64_t level = a.x_levels == Levels::u8 ? int64_t(static_cast<const uint8_t*>(a.x)[i])
                                           : static_cast<const int64_t*>(a.x)[i];
  if (level < 0 || level >= a.levels) {
    printf("genpipe.discretized_logistic_mixture_nll: x has the level %lld, outside of 0 to %lld\n", (long long)level,
           (long long)(a.levels - 1));
    __trap();
  }
  return level_bin(grid, compute_t<T>(level));
}

template <class T, int kChannels, class Out>
__global__ void pixels_nll(LogisticMixtureNllArgs a, LevelGrid<compute_t<T>> grid, Out* out) {
  typedef compute_t<T> C;
  constexpr int kMaps = LogisticMaps<kChannels>::kMaps;
  GENPIPE_DYNAMIC_SHARED(C, shared);
  C* masses = shared + threadIdx.x;  // blockDim.x apart
  int64_t map_stride = a.components * a.pixels, stride = int64_t(gridDim.x) * blockDim.x;
  for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < a.rows * a.pixels; i += stride) {
    int64_t row = i / a.pixels, pixel = i % a.pixels;
    int64_t first = row * kMaps * map_stride + pixel;
    const T* in = static_cast<const T*>(a.params) + first;
    LevelBin<C> x[kChannels];
    C maps[kMaps], slopes[kMaps];
#pragma unroll
    for (int c = 0; c < kChannels; ++c) x[c] = load_bin<T>(a, grid, (row * kChannels + c) * a.pixels + pixel);

    C logit_top = load(in), mass_top = 0;
    for (int64_t k = 1; k < a.components; ++k) logit_top = larger(load(in + k * a.pixels), logit_top);
    for (int64_t k = 0; k < a.components; ++k) {
#pragma unroll
      for (int m = 0; m < kMaps; ++m) maps[m] = load(in + m * map_stride + k * a.pixels);
      maps[0] = maps[0] - logit_top;
      C mass = component_log_mass<kChannels>(grid, x, maps, slopes);
      masses[k * blockDim.x] = mass;
      mass_top = k == 0 ? mass : larger(mass, mass_top);
    }
    C logit_sum = 0, mass_sum = 0;
    for (int64_t k = 0; k < a.components; ++k) {
      logit_sum += relative_weight(load(in + k * a.pixels) - logit_top);
      mass_sum += relative_weight(masses[k * blockDim.x] - mass_top);
    }
    if (a.nll != nullptr) {
      static_cast<C*>(a.pixel_nll)[i] =
          (log_positive(logit_sum) - log_positive(mass_sum)) - mass_top;
    }
    if (out == nullptr) continue;

    C factor = a.grad != nullptr ? static_cast<const C*>(a.grad)[row * a.grad_stride] : C(a.scale);
    C by_logit = C(1) / logit_sum, by_mass = C(-1) / mass_sum;
    for (int64_t k = 0; k < a.components; ++k) {
#pragma unroll
      for (int m = 0; m < kMaps; ++m) maps[m] = load(in + m * map_stride + k * a.pixels);
      component_log_mass<kChannels>(grid, x, maps, slopes);
      C posterior = relative_weight(masses[k * blockDim.x] - mass_top) * by_mass;
      Out* to = out + first + k * a.pixels;
      store(to, factor * fma(relative_weight(maps[0] - logit_top), by_logit, posterior));
#pragma unroll
      for (int m = 1; m < kMaps; ++m) store(to + m * map_stride, factor * (posterior * slopes[m]));
    }
  }
}

template <class T, int kChannels, class Out>
int launch(const LogisticMixtureNllArgs& a, Out* out, void* stream) {
  typedef compute_t<T> C;
  int threads = a.components <= 64 ? 128 : 32;
  if (a.pixels > 0) {
    GENPIPE_CUDA_LAUNCH((pixels_nll<T, kChannels, Out>), blocks_for(a.rows * a.pixels, threads), threads,
                        a.components * threads * sizeof(C), stream, a, level_grid<C>(a.levels), out);
  }
  int code = int(cudaGetLastError());
  if (code != 0 || a.nll == nullptr) return code;
  return launch_sum_rows<C>(StoredTerms<C>{static_cast<const C*>(a.pixel_nll), a.pixels}, a.rows, a.pixels, a.nll,
                            stream);
}

template <class T, int kChannels>
int launch(const LogisticMixtureNllArgs& a, void* stream) {
  typedef compute_t<T> C;
  if (a.grad_params != nullptr) return launch<T, kChannels>(a, static_cast<T*>(a.grad_params), stream);
  return launch<T, kChannels>(a, static_cast<C*>(a.slope), stream);
}

}  // namespace

int logistic_mixture_nll(const LogisticMixtureNllArgs& a, void* stream) {
  return dispatch_dtype(a.dtype, [&](auto t) {
    typedef decltype(t) T;
    return a.channels == 1 ? launch<T, 1>(a, stream) : launch<T, 3>(a, stream);
  });
}

}  // namespace cuda
}  // namespace genpipe
