// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011), and how genpipe spends its
// counter.
//
// The 64-bit seed is Philox's key. The 128-bit counter is (block, stream): the stream in the upper 64 bits, the block
// in the lower. Sample i of an array with n elements per sample owns the blocks i * ceil(n / 4) to
// (i + 1) * ceil(n / 4) - 1, and its element j is word j % 4 of the (j / 4)th of them. Bit 63 of the block is set for
// the second 32 bits of elements that want 64.
#pragma once

#include "genpipe/platform.h"

namespace genpipe {

struct PhiloxKey {
  uint64_t seed;
  uint64_t stream;
};

constexpr uint64_t kSecondPlane = 1ull << 63;

GENPIPE_FN int64_t blocks_per_row(int64_t columns) { return (columns + 3) / 4; }

// The 64-bit product of the lower halves; the upper half of `a` is ignored.
struct MulWide {
  GENPIPE_FN uint64_t of(uint64_t a, uint32_t b) { return uint64_t(uint32_t(a)) * b; }
};

// V is uint64_t or a vector of them (with its own Mul). Words live in the lower halves: the upper ones fill with what
// the products leave there, which Mul ignores and the caller drops.
template <class Mul, class V>
GENPIPE_FN void philox4x32_10(V& c0, V& c1, V& c2, V& c3, uint64_t seed) {
  uint32_t k0 = uint32_t(seed), k1 = uint32_t(seed >> 32);
#if defined(__CUDA_ARCH__)
#pragma unroll
#elif !defined(__CUDACC__)
#pragma GCC unroll 10
#endif
  for (int round = 0; round < 10; ++round) {
    V p0 = Mul::of(c0, 0xD2511F53u);
    V p1 = Mul::of(c2, 0xCD9E8D57u);
    c0 = (p1 >> 32) ^ c1 ^ uint64_t(k0);
    c1 = p1;
    c2 = (p0 >> 32) ^ c3 ^ uint64_t(k1);
    c3 = p0;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
}

struct Words {
  uint32_t w[4];
};

// The four words of one block.
GENPIPE_FN Words philox_block(PhiloxKey key, uint64_t block) {
  uint64_t c0 = uint32_t(block), c1 = block >> 32, c2 = uint32_t(key.stream), c3 = key.stream >> 32;
  philox4x32_10<MulWide>(c0, c1, c2, c3, key.seed);
  return Words{{uint32_t(c0), uint32_t(c1), uint32_t(c2), uint32_t(c3)}};
}

}  // namespace genpipe
