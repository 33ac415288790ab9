// The work unit is a Philox block, also where there is no noise.
#include "genpipe/sampler_step.h"

#include "noise.h"

namespace genpipe {
namespace {

// Which of the optional tensors there are: one loop each, so that none of them asks while it runs.
template <bool guides, bool remembers, bool keeps>
struct Kind {
  static constexpr bool kGuides = guides, kRemembers = remembers, kKeeps = keeps;
};

template <class F>
GENPIPE_FN void dispatch_kind(const SamplerStepArgs& a, F f) {
  int kind = (a.denoising.unconditional != nullptr ? 4 : 0) + (a.history != nullptr ? 2 : 0) + (a.x0_out != nullptr);
  switch (kind) {
    case 0: return f(Kind<false, false, false>());
    case 1: return f(Kind<false, false, true>());
    case 2: return f(Kind<false, true, false>());
    case 3: return f(Kind<false, true, true>());
    case 4: return f(Kind<true, false, false>());
    case 5: return f(Kind<true, false, true>());
    case 6: return f(Kind<true, true, false>());
    default: return f(Kind<true, true, true>());
  }
}

// The tile of noise has no type of its own where there is none.
struct NoNoise {};
GENPIPE_FN float with_noise(float, const NoNoise*, int64_t, float next) { return next; }
GENPIPE_FN double with_noise(double, const NoNoise*, int64_t, double next) { return next; }
template <class C, class E>
GENPIPE_FN C with_noise(C share, const E* noise, int64_t j, C next) {
  return fma(share, C(load(noise + j)), next);
}

template <class T, class K, class E>
GENPIPE_FN void step_piece(const SamplerStepArgs& a, int64_t row, int64_t at, int64_t count, const E* noise) {
  typedef compute_t<T> C;
  const DenoisingArgs& d = a.denoising;
  const StepCoefficients& k = d.coefficients;
  const T* x = static_cast<const T*>(d.x) + at;
  const T* prediction = static_cast<const T*>(d.prediction) + at;
  const T* unconditional = static_cast<const T*>(d.unconditional) + (K::kGuides ? at : 0);
  const T* history = static_cast<const T*>(a.history) + (K::kRemembers ? at : 0);
  T* out = static_cast<T*>(a.out) + at;
  T* x0_out = static_cast<T*>(a.x0_out) + (K::kKeeps ? at : 0);
  Denoiser<C> denoiser = denoiser_of<C>(k);
  Clip<C> clip = clip_of<C>(k, a.threshold, row);
  Shares<C> shares = shares_of<C>(k);
  C guidance = C(k.guidance);
#pragma GCC ivdep  // out may be x, and x0_out history
  for (int64_t j = 0; j < count; ++j) {
    C now = load(x + j), seen = load(prediction + j);
    if (K::kGuides) seen = guided(guidance, seen, C(load(unconditional + j)));
    C x0 = clipped(clip, denoised(denoiser, now, seen));
    C next = fma(shares.x, now, shares.x0 * x0);
    if (K::kRemembers) next = fma(shares.history, C(load(history + j)), next);
    store(out + j, with_noise(shares.noise, noise, j, next));
    if (K::kKeeps) store(x0_out + j, x0);
  }
}

template <class T, class K>
GENPIPE_FN void run(const SamplerStepArgs& a, int64_t begin, int64_t end) {
  typedef compute_t<T> C;
  int64_t columns = a.denoising.columns, per_row = blocks_per_row(columns);
  if (!a.has_key) {
    for_each_piece(begin, end, per_row, columns, [&](int64_t row, int64_t column, int64_t count, int64_t) {
      int64_t at = row * columns + column;
      if (a.noise != nullptr) {
        step_piece<T, K>(a, row, at, count, static_cast<const T*>(a.noise) + at);
      } else {
        step_piece<T, K>(a, row, at, count, static_cast<const NoNoise*>(nullptr));
      }
    });
    return;
  }
  uint64_t first = uint64_t(a.first_index) * uint64_t(per_row);
  C tile[kTile];
  for (int64_t b = begin; b < end; b += kTileBlocks) {
    int64_t stop = min(end, b + kTileBlocks);
    int64_t at = block_start(b, per_row, columns);
    normal_tile(a.key, first + b, stop - b, tile, [&](int64_t i) GENPIPE_FETCHES {
      fetch_chunk(static_cast<const T*>(a.denoising.x) + at + i);
      fetch_chunk(static_cast<const T*>(a.denoising.prediction) + at + i);
      if (K::kGuides) fetch_chunk(static_cast<const T*>(a.denoising.unconditional) + at + i);
      if (K::kRemembers) fetch_chunk(static_cast<const T*>(a.history) + at + i);
      fetch_chunk_to_write(static_cast<T*>(a.out) + at + i);
    });
    for_each_piece(b, stop, per_row, columns, [&](int64_t row, int64_t column, int64_t count, int64_t offset) {
      step_piece<T, K>(a, row, row * columns + column, count, static_cast<const C*>(tile) + offset);
    });
  }
}

}  // namespace

namespace GENPIPE_VARIANT {

void sampler_step(const SamplerStepArgs& a, int64_t begin, int64_t end) {
  dispatch_dtype(a.denoising.dtype, [&](auto t) {
    dispatch_kind(a, [&](auto kind) { run<decltype(t), decltype(kind)>(a, begin, end); });
  });
}

}  // namespace GENPIPE_VARIANT
}  // namespace genpipe
