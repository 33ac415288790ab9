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

// One element from its words: the leading 32 bits, and the second 32 where Wide.
template <class T, bool Wide, class Convert>
GENPIPE_FN void fill_words(const RandomArgs& a, int64_t begin, int64_t end, Convert convert) {
  T* out = static_cast<T*>(a.out);
  int64_t per_row = blocks_per_row(a.columns);
  uint64_t first = uint64_t(a.first_index) * uint64_t(per_row);
  for (int64_t b = begin; b < end; b += kChunkBlocks) {
    int64_t stop = min(end, b + kChunkBlocks);
    uint32_t high[4][kChunkBlocks], low[4][kChunkBlocks] = {};
    T chunk[kChunk];
    philox_chunk(a.key, first + b, high);
    if (Wide) philox_chunk(a.key, (first + b) | kSecondPlane, low);
    for (int i = 0; i < kChunkBlocks; ++i) {
      for (int k = 0; k < 4; ++k) chunk[4 * i + k] = convert(high[k][i], low[k][i]);
    }
    for_each_piece(b, stop, per_row, a.columns, [&](int64_t row, int64_t column, int64_t count, int64_t offset) {
      T* to = out + row * a.columns + column;
      for (int64_t j = 0; j < count; ++j) to[j] = chunk[offset + j];
    });
  }
}

}  // namespace

namespace GENPIPE_VARIANT {

void random(const RandomArgs& a, int64_t begin, int64_t end) {
  if (a.distribution == Distribution::integer) {
    uint64_t high = a.high;
    return fill_words<int64_t, true>(
        a, begin, end, [=](uint32_t h, uint32_t l) { return integer_below(join_words(h, l), high); });
  }
  if (a.distribution == Distribution::normal) {
    switch (a.dtype) {
      case DType::f32:
        return a.columns % 4 == 0 ? fill_normal_whole(a, begin, end) : fill_normal<float>(a, begin, end);
      case DType::f64: return fill_normal<double>(a, begin, end);
      case DType::bf16: return fill_normal<bfloat16>(a, begin, end);
    }
  }
  switch (a.dtype) {
    case DType::f32:
      return fill_words<float, false>(a, begin, end, [](uint32_t h, uint32_t) { return uniform_float(h); });
    case DType::f64:
      return fill_words<double, true>(
          a, begin, end, [](uint32_t h, uint32_t l) { return uniform_double(join_words(h, l)); });
    case DType::bf16:
      return fill_words<bfloat16, false>(a, begin, end, [](uint32_t h, uint32_t) {
        bfloat16 x;
        store(&x, uniform_bfloat16(h));
        return x;
      });
  }
}

}  // namespace GENPIPE_VARIANT
}  // namespace genpipe
