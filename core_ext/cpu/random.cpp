// Fills an array with variates; the work unit is a Philox block.
#include "genpipe/random.h"

#include "noise.h"

namespace genpipe {
namespace {

template <class T>
GENPIPE_FN void fill_normal(const RandomArgs& a, int64_t begin, int64_t end) {
  T* out = static_cast<T*>(a.out);
  int64_t per_row = blocks_per_row(a.columns);
  uint64_t first = uint64_t(a.first_index) * uint64_t(per_row);
  compute_t<T> tile[kTile];
  for (int64_t b = begin; b < end; b += kTileBlocks) {
    int64_t stop = min(end, b + kTileBlocks);
    normal_tile(a.key, first + b, stop - b, tile);
    for_each_piece(b, stop, per_row, a.columns, [&](int64_t row, int64_t column, int64_t count, int64_t offset) {
      T* to = out + row * a.columns + column;
      for (int64_t j = 0; j < count; ++j) store(to + j, tile[offset + j]);
    });
  }
}

// Floats whose rows are whole blocks need no buffer.
GENPIPE_FN void fill_normal_whole(const RandomArgs& a, int64_t begin, int64_t end) {
  float* out = static_cast<float*>(a.out);
  uint64_t first = uint64_t(a.first_index) * uint64_t(a.columns / 4);
  int64_t b = begin;
  for (; b + kChunkBlocks <= end; b += kChunkBlocks) normal_chunk(a.key, first + b, out + 4 * b);
  if (b < end) {
    float last[kChunk];
    normal_chunk(a.key, first + b, last);
    for (int64_t j = 0; j < 4 * (end - b); ++j) out[4 * b + j] = last[j];
  }
}

// Elements from their words, 32 or 64 bits of them.
template <class T, class Of>
GENPIPE_FN void fill(const RandomArgs& a, int64_t begin, int64_t end) {
  constexpr bool wide = sizeof(T) == 8;
  T* out = static_cast<T*>(a.out);
  int64_t per_row = blocks_per_row(a.columns);
  uint64_t first = uint64_t(a.first_index) * uint64_t(per_row);
  for (int64_t b = begin; b < end; b += kChunkBlocks) {
    int64_t stop = min(end, b + kChunkBlocks);
    uint32_t words[4][kChunkBlocks], high[kChunk], low[kChunk] = {};
    philox_chunk(a.key, first + b, words);
    in_order(words, high);
    if (wide) {
      philox_chunk(a.key, (first + b) | kSecondPlane, words);
      in_order(words, low);
    }
    for_each_piece(b, stop, per_row, a.columns, [&](int64_t row, int64_t column, int64_t count, int64_t offset) {
      int64_t at = row * a.columns + column;
      for (int64_t j = 0; j < count; ++j) Of::make(a, high[offset + j], low[offset + j], at + j, out + at + j);
    });
  }
}

}  // namespace

namespace GENPIPE_VARIANT {

void random(const RandomArgs& a, int64_t begin, int64_t end) {
  if (a.distribution == Distribution::integer) return fill<int64_t, IntegerOf>(a, begin, end);
  if (a.distribution == Distribution::normal && a.dtype == DType::f32 && a.columns % 4 == 0) {
    return fill_normal_whole(a, begin, end);
  }
  dispatch_dtype(a.dtype, [&](auto type) {
    typedef decltype(type) T;
    switch (a.distribution) {
      case Distribution::normal: return fill_normal<T>(a, begin, end);
      case Distribution::gumbel: return fill<T, GumbelOf>(a, begin, end);
      case Distribution::sign: return fill<T, SignOf>(a, begin, end);
      case Distribution::bernoulli: return fill<T, BernoulliOf>(a, begin, end);
      default: return fill<T, UniformOf>(a, begin, end);
    }
  });
}

}  // namespace GENPIPE_VARIANT
}  // namespace genpipe
