// The work unit is a Philox block, also where the noise is given.
#include "genpipe/q_sample.h"

#include "noise.h"

namespace genpipe {
namespace {

template <class T>
GENPIPE_FN void with_noise(const QSampleArgs& a, int64_t begin, int64_t end) {
  typedef compute_t<T> C;
  for_each_piece(begin, end, blocks_per_row(a.columns), a.columns,
                 [&](int64_t row, int64_t column, int64_t count, int64_t) {
                   NoiseLevel<C> level = noise_level<C>(a, a.t[row]);
                   int64_t at = row * a.columns + column;
                   const T* x0 = static_cast<const T*>(a.x0) + at;
                   const T* noise = static_cast<const T*>(a.noise) + at;
                   T* out = static_cast<T*>(a.out) + at;
                   for (int64_t j = 0; j < count; ++j) store(out + j, noised(level, load(x0 + j), load(noise + j)));
                 });
}

template <class T>
GENPIPE_FN void with_key(const QSampleArgs& a, int64_t begin, int64_t end) {
  typedef compute_t<T> C;
  int64_t per_row = blocks_per_row(a.columns);
  uint64_t first = uint64_t(a.first_index) * uint64_t(per_row);
  C tile[kTile];
  for (int64_t b = begin; b < end; b += kTileBlocks) {
    int64_t stop = min(end, b + kTileBlocks);
    normal_tile(a.key, first + b, stop - b, tile);
    for_each_piece(b, stop, per_row, a.columns, [&](int64_t row, int64_t column, int64_t count, int64_t offset) {
      NoiseLevel<C> level = noise_level<C>(a, a.t[row]);
      int64_t at = row * a.columns + column;
      const T* x0 = static_cast<const T*>(a.x0) + at;
      T* out = static_cast<T*>(a.out) + at;
      if (a.noise_out != nullptr) {
        // x_t is made of the noise that is handed out: of the rounded one where T rounds.
        T* noise_out = static_cast<T*>(a.noise_out) + at;
        for (int64_t j = 0; j < count; ++j) {
          store(noise_out + j, tile[offset + j]);
          tile[offset + j] = load(noise_out + j);
        }
      }
      for (int64_t j = 0; j < count; ++j) store(out + j, noised(level, load(x0 + j), tile[offset + j]));
    });
  }
}

template <class T>
GENPIPE_FN void run(const QSampleArgs& a, int64_t begin, int64_t end) {
  return a.noise != nullptr ? with_noise<T>(a, begin, end) : with_key<T>(a, begin, end);
}

}  // namespace

namespace GENPIPE_VARIANT {

void q_sample(const QSampleArgs& a, int64_t begin, int64_t end) {
  dispatch_dtype(a.dtype, [&](auto t) { run<decltype(t)>(a, begin, end); });
}

}  // namespace GENPIPE_VARIANT
}  // namespace genpipe
