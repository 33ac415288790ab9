// The work unit is a Philox block, also where the noise is given.
#include "genpipe/q_sample.h"

#include "noise.h"

namespace genpipe {
namespace {

// x_t, and the target where it is wanted, of a piece of a row. The noise is of T, or the tile's.
template <class T, class E>
GENPIPE_FN void noise_piece(const QSampleArgs& a, int64_t row, int64_t at, int64_t count, const E* noise) {
  typedef compute_t<T> C;
  NoiseLevel<double> exact = noise_level(a.levels, level_of(a.levels, row));
  NoiseLevel<C> level = level_in<C>(exact);
  const T* x0 = static_cast<const T*>(a.x0) + at;
  T* out = static_cast<T*>(a.out) + at;
  if (a.target == nullptr) {
#pragma GCC ivdep  // out may be x0 itself
    for (int64_t j = 0; j < count; ++j) store(out + j, noised(level, load(x0 + j), load(noise + j)));
    return;
  }
  Target<C> wanted = target_at<C>(a.prediction, exact);
  T* target = static_cast<T*>(a.target) + at;
#pragma GCC ivdep
  for (int64_t j = 0; j < count; ++j) {
    C clean = load(x0 + j), e = rounded_noise(target, load(noise + j));
    store(out + j, noised(level, clean, e));
    store(target + j, target_value(wanted, clean, e));
  }
}

template <class T>
GENPIPE_FN void run(const QSampleArgs& a, int64_t begin, int64_t end) {
  int64_t per_row = blocks_per_row(a.columns);
  if (a.noise != nullptr) {
    for_each_piece(begin, end, per_row, a.columns, [&](int64_t row, int64_t column, int64_t count, int64_t) {
      int64_t at = row * a.columns + column;
      noise_piece<T>(a, row, at, count, static_cast<const T*>(a.noise) + at);
    });
    return;
  }
  typedef compute_t<T> C;
  uint64_t first = uint64_t(a.first_index) * uint64_t(per_row);
  C tile[kTile];
  for (int64_t b = begin; b < end; b += kTileBlocks) {
    int64_t stop = min(end, b + kTileBlocks);
    int64_t at = block_start(b, per_row, a.columns);
    normal_tile(a.key, first + b, stop - b, tile, [&](int64_t i) GENPIPE_FETCHES {
      fetch_chunk(static_cast<const T*>(a.x0) + at + i);
      fetch_chunk_to_write(static_cast<T*>(a.out) + at + i);
      if (a.target != nullptr) fetch_chunk_to_write(static_cast<T*>(a.target) + at + i);
    });
    for_each_piece(b, stop, per_row, a.columns, [&](int64_t row, int64_t column, int64_t count, int64_t offset) {
      noise_piece<T>(a, row, row * a.columns + column, count, static_cast<const C*>(tile) + offset);
    });
  }
}

}  // namespace

namespace GENPIPE_VARIANT {

void q_sample(const QSampleArgs& a, int64_t begin, int64_t end) {
  dispatch_dtype(a.dtype, [&](auto t) { run<decltype(t)>(a, begin, end); });
}

}  // namespace GENPIPE_VARIANT
}  // namespace genpipe
