// Runs of variates for the CPU kernels: consecutive blocks into a buffer in the first-level cache, and the walks that
// cut a range of blocks, or of rows, into pieces of rows.
#pragma once

#include "genpipe/random.h"
#include "lanes.h"

namespace genpipe {

constexpr int kTileBlocks = 256;
constexpr int kTile = 4 * kTileBlocks;  // elements of a noise buffer

GENPIPE_FN void normal_chunk(PhiloxKey key, uint64_t block, float* out) {
  uint32_t w[4][kChunkBlocks];
  philox_chunk(key, block, w);
  for (int i = 0; i < kChunkBlocks; ++i) {
    float z0, z1, z2, z3;
    box_muller(w[0][i], w[1][i], &z0, &z1);
    box_muller(w[2][i], w[3][i], &z2, &z3);
    out[4 * i] = z0;
    out[4 * i + 1] = z1;
    out[4 * i + 2] = z2;
    out[4 * i + 3] = z3;
  }
}

GENPIPE_FN void normal_chunk(PhiloxKey key, uint64_t block, double* out) {
  uint32_t a[4][kChunkBlocks], b[4][kChunkBlocks];
  philox_chunk(key, block, a);
  philox_chunk(key, block | kSecondPlane, b);
  for (int i = 0; i < kChunkBlocks; ++i) {
    for (int k = 0; k < 4; k += 2) {
      box_muller(join_words(a[k][i], b[k][i]), join_words(a[k + 1][i], b[k + 1][i]), &out[4 * i + k],
                 &out[4 * i + k + 1]);
    }
  }
}

// The normals of `blocks` (at most kTileBlocks) blocks. Writes whole chunks: `out` holds kTile elements. Calls
// meanwhile(i) before the chunk of the elements i, …, i + kChunk - 1: noise keeps the multipliers busy and the memory
// idle, so this is when to fetch what comes after.
template <class T, class Meanwhile>
GENPIPE_FN void normal_tile(PhiloxKey key, uint64_t block, int64_t blocks, T* out, Meanwhile meanwhile) {
  for (int64_t i = 0; i < blocks; i += kChunkBlocks) {
    meanwhile(4 * i);
    normal_chunk(key, block + i, out + 4 * i);
  }
}

template <class T>
GENPIPE_FN void normal_tile(PhiloxKey key, uint64_t block, int64_t blocks, T* out) {
  normal_tile(key, block, blocks, out, [](int64_t) {});
}

// Of lambdas that fetch: GCC drops a call that does nothing else, unless it was inlined before it is judged.
#define GENPIPE_FETCHES __attribute__((always_inline))

// Asks for a chunk's elements, to read or to write them; may reach past the end.
template <class T>
GENPIPE_FN void fetch_chunk(const T* p) {
  for (int j = 0; j < kChunk; j += 64 / int(sizeof(T))) __builtin_prefetch(p + j);
}
template <class T>
GENPIPE_FN void fetch_chunk_to_write(T* p) {
  for (int j = 0; j < kChunk; j += 64 / int(sizeof(T))) __builtin_prefetch(p + j, 1);
}

// Calls piece(row, column, count, offset) for the parts of rows that make up the blocks [begin, end) of an array
// whose rows own `per_row` blocks each; `offset` counts elements from the first block, padding included.
template <class Piece>
GENPIPE_FN void for_each_piece(int64_t begin, int64_t end, int64_t per_row, int64_t columns, Piece piece) {
  int64_t row = begin / per_row, within = begin % per_row;
  for (int64_t b = begin; b < end;) {
    int64_t blocks = min(end - b, per_row - within);
    piece(row, 4 * within, min(4 * blocks, columns - 4 * within), 4 * (b - begin));
    b += blocks;
    row += 1;
    within = 0;
  }
}

// The element where a block begins.
GENPIPE_FN int64_t block_start(int64_t block, int64_t per_row, int64_t columns) {
  return block / per_row * columns + 4 * (block % per_row);
}

// Calls part(row, column, count, noise) for the parts of the rows [begin, end), each part at most a tile and starting
// at a multiple of kTile, with its normals. Short rows share a tile; long ones take tile after tile. Calls fetch(at)
// before the noise of a chunk is made, which begins about at that element.
template <class C, class Part, class Fetch>
GENPIPE_FN void for_each_part(PhiloxKey key, int64_t first_index, int64_t columns, int64_t begin, int64_t end,
                              Part part, Fetch fetch) {
  int64_t per_row = blocks_per_row(columns);
  uint64_t first = uint64_t(first_index) * uint64_t(per_row);
  C tile[kTile];
  if (per_row <= kTileBlocks) {
    int64_t group = kTileBlocks / (per_row > 0 ? per_row : 1);
    for (int64_t row = begin; row < end; row += group) {
      int64_t rows = min(group, end - row);
      normal_tile(key, first + row * per_row, rows * per_row, tile, [&](int64_t i) GENPIPE_FETCHES { fetch(row * columns + i); });
      for (int64_t r = 0; r < rows; ++r) part(row + r, int64_t(0), columns, tile + 4 * per_row * r);
    }
    return;
  }
  for (int64_t row = begin; row < end; ++row) {
    for (int64_t column = 0; column < columns; column += kTile) {
      int64_t count = min(kTile, columns - column);
      normal_tile(key, first + row * per_row + column / 4, blocks_per_row(count), tile,
                  [&](int64_t i) GENPIPE_FETCHES { fetch(row * columns + column + i); });
      part(row, column, count, static_cast<const C*>(tile));
    }
  }
}

template <class C, class Part>
GENPIPE_FN void for_each_part(PhiloxKey key, int64_t first_index, int64_t columns, int64_t begin, int64_t end,
                              Part part) {
  for_each_part<C>(key, first_index, columns, begin, end, part, [](int64_t) {});
}

}  // namespace genpipe
