// Vectors of 64-bit lanes for Philox, as wide as the instruction set, with the 32 by 32 to 64 bit product that no
// compiler finds by itself.
#pragma once

#include "genpipe/philox.h"

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace genpipe {

#if defined(__AVX512F__)
typedef uint64_t Lanes __attribute__((vector_size(64)));
typedef uint32_t Narrow __attribute__((vector_size(32)));
#elif defined(__AVX2__)
typedef uint64_t Lanes __attribute__((vector_size(32)));
typedef uint32_t Narrow __attribute__((vector_size(16)));
#else
typedef uint64_t Lanes __attribute__((vector_size(16)));
typedef uint32_t Narrow __attribute__((vector_size(8)));
#endif

struct MulWideLanes {
  GENPIPE_FN Lanes of(Lanes a, uint32_t b) {
#if defined(__AVX512F__)
    return (Lanes)_mm512_mul_epu32((__m512i)a, _mm512_set1_epi64(b));
#elif defined(__AVX2__)
    return (Lanes)_mm256_mul_epu32((__m256i)a, _mm256_set1_epi64x(b));
#elif defined(__SSE2__)
    return (Lanes)_mm_mul_epu32((__m128i)a, _mm_set1_epi64x(b));
#else
    return (a & 0xffffffffull) * uint64_t(b);
#endif
  }
};

constexpr int kLanes = sizeof(Lanes) / 8;
constexpr int kChunkBlocks = 16;              // blocks that are generated together,
constexpr int kChunk = 4 * kChunkBlocks;      // and their elements

// Words of kChunkBlocks consecutive blocks: w[k][i] is word k of block `block + i`.
GENPIPE_FN void philox_chunk(PhiloxKey key, uint64_t block, uint32_t w[4][kChunkBlocks]) {
  for (int i = 0; i < kChunkBlocks; i += kLanes) {
    Lanes counter;
    for (int lane = 0; lane < kLanes; ++lane) counter[lane] = uint64_t(i + lane);
    counter += block;
    Lanes c0 = counter, c1 = counter >> 32;
    Lanes c2 = Lanes{} + key.stream, c3 = Lanes{} + (key.stream >> 32);
    philox4x32_10<MulWideLanes>(c0, c1, c2, c3, key.seed);
    Narrow n0 = __builtin_convertvector(c0, Narrow), n1 = __builtin_convertvector(c1, Narrow);
    Narrow n2 = __builtin_convertvector(c2, Narrow), n3 = __builtin_convertvector(c3, Narrow);
    __builtin_memcpy(&w[0][i], &n0, sizeof(Narrow));
    __builtin_memcpy(&w[1][i], &n1, sizeof(Narrow));
    __builtin_memcpy(&w[2][i], &n2, sizeof(Narrow));
    __builtin_memcpy(&w[3][i], &n3, sizeof(Narrow));
  }
}

// The words in the order of their elements: those of a block one after the other.
GENPIPE_FN void in_order(const uint32_t w[4][kChunkBlocks], uint32_t out[kChunk]) {
  for (int i = 0; i < kChunkBlocks; ++i) {
    for (int k = 0; k < 4; ++k) out[4 * i + k] = w[k][i];
  }
}

}  // namespace genpipe
