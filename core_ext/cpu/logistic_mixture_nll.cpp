// The work unit is a row. Pixels go in tiles: their parameters are read once, and what the derivatives are made of waits
// packed in the first-level cache until the mixture's sum is known. (Maps often lie a power of two apart, and so, left
// where they are, would push each other out.)
#include "genpipe/logistic_mixture.h"

#include "row_sum.h"

namespace genpipe {
namespace {

constexpr int kTile = 64;

// The bins of a tile of one channel: middles, lower edges, upper edges, kTile apart.
template <class T>
GENPIPE_FN void load_bins(const LogisticMixtureNllArgs& a, LevelGrid<compute_t<T>> grid, int64_t at, int64_t count,
                          compute_t<T>* x) {
  typedef compute_t<T> C;
  if (a.x_levels == Levels::values) {
    for (int64_t j = 0; j < count; ++j) x[j] = nearest_level(grid, load(static_cast<const T*>(a.x) + at + j));
  } else if (a.x_levels == Levels::u8) {
    for (int64_t j = 0; j < count; ++j) x[j] = C(static_cast<const uint8_t*>(a.x)[at + j]);
  } else {
    for (int64_t j = 0; j < count; ++j) x[j] = C(static_cast<const int64_t*>(a.x)[at + j]);
  }
  for (int64_t j = 0; j < count; ++j) {
    LevelBin<C> bin = level_bin(grid, x[j]);
    x[j] = bin.value;
    x[kTile + j] = bin.lower;
    x[2 * kTile + j] = bin.upper;
  }
}

// -log p of `count` pixels of a row, from `pixel` on, and their slopes times `factor`; tile: the tile's width in scratch.
template <class T, int kChannels, bool kSlopes, class Out>
GENPIPE_FN void pixels_nll(const LogisticMixtureNllArgs& a, LevelGrid<compute_t<T>> grid, int64_t row, int64_t pixel,
                           int64_t count, compute_t<T> factor, Out* out, compute_t<T>* nll, compute_t<T>* scratch,
                           int64_t tile) {
  typedef compute_t<T> C;
  constexpr int kMaps = LogisticMaps<kChannels>::kMaps;
  int64_t map_stride = a.components * a.pixels, map_tile = a.components * tile;
  int64_t first = row * kMaps * map_stride + pixel;

  C x[kChannels * 3 * kTile];
  for (int c = 0; c < kChannels; ++c) load_bins<T>(a, grid, (row * kChannels + c) * a.pixels + pixel, count, x + 3 * kTile * c);

  C logit_top[kTile], mass_top[kTile], logit_sum[kTile], mass_sum[kTile];
  for (int64_t k = 0; k < a.components; ++k) {
    const T* logits = static_cast<const T*>(a.params) + first + k * a.pixels;
    for (int64_t j = 0; j < count; ++j) {
      logit_top[j] = k == 0 ? load(logits + j) : larger(load(logits + j), logit_top[j]);
    }
  }
  for (int64_t k = 0; k < a.components; ++k) {
    const T* in = static_cast<const T*>(a.params) + first + k * a.pixels;
    C* packed = scratch + k * tile;
    C* logits = packed + kMaps * map_tile;
#pragma GCC ivdep
    for (int64_t j = 0; j < count; ++j) {
      LevelBin<C> bins[kChannels];
      C maps[kMaps], slopes[kMaps];
#pragma GCC unroll 3
      for (int c = 0; c < kChannels; ++c) {
        const C* bin = x + 3 * c * kTile + j;
        bins[c] = {bin[0], bin[kTile], bin[2 * kTile]};
      }
#pragma GCC unroll 10
      for (int m = 0; m < kMaps; ++m) maps[m] = load(in + m * map_stride + j);
      maps[0] = maps[0] - logit_top[j];
      logits[j] = maps[0];
      packed[j] = component_log_mass<kChannels>(grid, bins, maps, slopes);
      if (kSlopes) {
#pragma GCC unroll 10
        for (int m = 1; m < kMaps; ++m) packed[m * map_tile + j] = slopes[m];
      }
    }
    for (int64_t j = 0; j < count; ++j) mass_top[j] = k == 0 ? packed[j] : larger(packed[j], mass_top[j]);
  }

  for (int64_t j = 0; j < count; ++j) logit_sum[j] = mass_sum[j] = C(0);
  for (int64_t k = 0; k < a.components; ++k) {
    C* masses = scratch + k * tile;
    C* logits = masses + kMaps * map_tile;
#pragma GCC ivdep
    for (int64_t j = 0; j < count; ++j) {
      logits[j] = relative_weight(logits[j]);
      masses[j] = relative_weight(masses[j] - mass_top[j]);
      logit_sum[j] += logits[j];
      mass_sum[j] += masses[j];
    }
  }
  for (int64_t j = 0; j < count; ++j) {
    nll[j] = (log_positive(logit_sum[j]) - log_positive(mass_sum[j])) - mass_top[j];
    logit_sum[j] = C(1) / logit_sum[j];
    mass_sum[j] = C(-1) / mass_sum[j];
  }
  if (!kSlopes) return;

  for (int64_t k = 0; k < a.components; ++k) {
    const C* packed = scratch + k * tile;
    Out* to = out + first + k * a.pixels;
    for (int64_t j = 0; j < count; ++j) {
      C posterior = packed[j] * mass_sum[j];
      store(to + j, factor * fma(packed[kMaps * map_tile + j], logit_sum[j], posterior));
    }
    for (int m = 1; m < kMaps; ++m) {
      for (int64_t j = 0; j < count; ++j) {
        store(to + m * map_stride + j, factor * (packed[j] * mass_sum[j] * packed[m * map_tile + j]));
      }
    }
  }
}

template <class T, int kChannels, bool kSlopes, class Out>
GENPIPE_FN void run(const LogisticMixtureNllArgs& a, Out* out, int64_t begin, int64_t end) {
  typedef compute_t<T> C;
  C scratch[kLogisticMixtureScratch];
  LevelGrid<C> grid = level_grid<C>(a.levels);
  int64_t tile = kTile, maps = LogisticMaps<kChannels>::kMaps + 1;
  while (tile > 1 && maps * a.components * tile > kLogisticMixtureScratch) tile /= 2;
  for (int64_t row = begin; row < end; ++row) {
    C factor = a.grad != nullptr ? static_cast<const C*>(a.grad)[row * a.grad_stride] : C(a.scale);
    double total = sum_row<C>(a.pixels, [&](int64_t pixel, int64_t count, C* terms) {
      for (int64_t j = 0; j < count; j += tile) {
        pixels_nll<T, kChannels, kSlopes>(a, grid, row, pixel + j, min(tile, count - j), factor, out, terms + j, scratch,
                                          tile);
      }
    });
    if (a.nll != nullptr) static_cast<C*>(a.nll)[row] = C(total);
  }
}

template <class T, int kChannels>
GENPIPE_FN void run(const LogisticMixtureNllArgs& a, int64_t begin, int64_t end) {
  typedef compute_t<T> C;
  if (a.grad_params != nullptr) return run<T, kChannels, true>(a, static_cast<T*>(a.grad_params), begin, end);
  if (a.slope != nullptr) return run<T, kChannels, true>(a, static_cast<C*>(a.slope), begin, end);
  run<T, kChannels, false>(a, static_cast<C*>(nullptr), begin, end);
}

}  // namespace

namespace GENPIPE_VARIANT {

void logistic_mixture_nll(const LogisticMixtureNllArgs& a, int64_t begin, int64_t end) {
  dispatch_dtype(a.dtype, [&](auto t) {
    a.channels == 1 ? run<decltype(t), 1>(a, begin, end) : run<decltype(t), 3>(a, begin, end);
  });
}

}  // namespace GENPIPE_VARIANT
}  // namespace genpipe
