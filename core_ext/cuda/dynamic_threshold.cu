// A block of threads per row; a pass over the row for each 4 bits of the number, and one more. Every thread counts for
// itself, so that nothing is atomic.
#include "genpipe/dynamic_threshold.h"

#include "launch.cuh"

namespace genpipe {
namespace cuda {
namespace {

constexpr int kDigitBits = 4, kBins = 1 << kDigitBits, kWarp = 32, kWarps = kThreads / kWarp;

template <class T>
__global__ void __launch_bounds__(kThreads) thresholds(DynamicThresholdArgs a) {
  typedef compute_t<T> C;
  typedef bits_t<C> B;
  constexpr int kAllBits = 8 * sizeof(B);
  __shared__ uint32_t counts[kBins][kThreads];
  __shared__ int64_t totals[kBins];
  __shared__ B smallest[kThreads];
  const DenoisingArgs& d = a.denoising;
  StepCoefficients k = d.device_coefficients != nullptr ? *d.device_coefficients : d.coefficients;
  Denoiser<C> denoiser = denoiser_of<C>(k);
  QuantilePlace place = quantile_place(a.ratio, d.columns);
  int thread = threadIdx.x, lane = thread % kWarp, warp = thread / kWarp;
  for (int64_t row = blockIdx.x; row < d.rows; row += gridDim.x) {
    auto bits_at = [&](int64_t column) {
      int64_t at = row * d.columns + column;
      C seen = load(static_cast<const T*>(d.prediction) + at);
      if (d.unconditional != nullptr) {
        seen = guided(C(k.guidance), seen, C(load(static_cast<const T*>(d.unconditional) + at)));
      }
      return ordered_bits(denoised(denoiser, C(load(static_cast<const T*>(d.x) + at)), seen));
    };
    int64_t rank = place.rank, equal = 0;
    B low = 0;
    for (int left = kAllBits; left > 0;) {  // so many bits of low are not known yet
      int shift = left - kDigitBits;
      for (int bin = 0; bin < kBins; ++bin) counts[bin][thread] = 0;
      for (int64_t j = thread; j < d.columns; j += kThreads) {
        B bits = bits_at(j);
        if (left == kAllBits || (bits ^ low) >> left == 0) ++counts[int(bits >> shift) & (kBins - 1)][thread];
      }
      __syncthreads();
      for (int bin = warp; bin < kBins; bin += kWarps) {
        int64_t total = 0;
        for (int i = lane; i < kThreads; i += kWarp) total += counts[bin][i];
        for (int width = kWarp / 2; width > 0; width /= 2) total += __shfl_down_sync(0xffffffffu, total, width);
        if (lane == 0) totals[bin] = total;
      }
      __syncthreads();
      int bin = 0;
      for (; rank >= totals[bin]; ++bin) rank -= totals[bin];
      low |= B(bin) << shift;
      equal = totals[bin];
      left = shift;
      __syncthreads();
    }
    B high = low;
    if (place.rest > 0.0 && rank + 1 >= equal) {  // the next in order is another value
      B own = ~B(0);
      for (int64_t j = thread; j < d.columns; j += kThreads) {
        B bits = bits_at(j);
        own = bits > low && bits < own ? bits : own;
      }
      smallest[thread] = own;
      __syncthreads();
      for (int width = kThreads / 2; width > 0; width /= 2) {
        if (thread < width && smallest[thread + width] < smallest[thread]) smallest[thread] = smallest[thread + width];
        __syncthreads();
      }
      high = smallest[0];
      __syncthreads();
    }
    if (thread == 0) static_cast<C*>(a.out)[row] = threshold_between<C>(low, high, place.rest, a, k.clip);
  }
}

}  // namespace

int dynamic_threshold(const DynamicThresholdArgs& a, void* stream) {
  return dispatch_dtype(a.denoising.dtype, [&](auto t) {
    typedef decltype(t) T;
    GENPIPE_CUDA_LAUNCH((thresholds<T>), blocks_for(a.denoising.rows, 1), kThreads, 0, stream, a);
    return int(cudaGetLastError());
  });
}

}  // namespace cuda
}  // namespace genpipe
