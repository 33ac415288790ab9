// A keyed permutation of 0 … n-1 that is evaluated anywhere in constant memory: a Feistel network on a rectangle of
// a × b >= n numbers, x = left * b + right, whose results from n on are sent through it again until one is below n
// (Black and Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002: the generalised Feistel construction and
// cycle walking). Rounds add to left and to right in turns: ⌊w a / 2^64⌋ or ⌊w b / 2^64⌋, with w the first two words
// of Philox's block (other coordinate, round).
#pragma once

#include "genpipe/philox.h"

namespace genpipe {

struct PermutationArgs {
  int64_t* out;
  int64_t n, start, count;  // out[i] is the image of start + i
  uint64_t a, b;            // a = ⌈√n⌉, b = ⌈n / a⌉; below 2^32
  PhiloxKey key;
  const int64_t* device_key;
};

// Sums rather than exclusive ors, so that odd permutations come about, too. The distance from equally likely
// permutations of 4, 5 and 6 falls to a half with each round; larger rectangles mix faster.
constexpr int64_t kSmallPermutation = 1 << 16;
GENPIPE_FN int permutation_rounds(int64_t n) { return n < kSmallPermutation ? 24 : 8; }

GENPIPE_FN uint64_t permutation_block(int round, uint64_t coordinate) { return uint64_t(round) << 32 | coordinate; }

// ⌊(high 2^32 + low) size / 2^64⌋ for a size below 2^32.
template <class Mul, class V>
GENPIPE_FN V scaled(V high, V low, uint32_t size) {
  return (Mul::of(high, size) + (Mul::of(low, size) >> 32)) >> 32;
}

GENPIPE_FN uint64_t permute_once(const PermutationArgs& a, PhiloxKey key, uint64_t x) {
  uint64_t left = x / a.b, right = x % a.b;
  for (int round = 0; round < permutation_rounds(a.n); round += 2) {
    Words w = philox_block(key, permutation_block(round, right));
    left += scaled<MulWide>(uint64_t(w.w[0]), uint64_t(w.w[1]), uint32_t(a.a));
    left -= left >= a.a ? a.a : 0;
    w = philox_block(key, permutation_block(round + 1, left));
    right += scaled<MulWide>(uint64_t(w.w[0]), uint64_t(w.w[1]), uint32_t(a.b));
    right -= right >= a.b ? a.b : 0;
  }
  return left * a.b + right;
}

// The image of x, once it is known to have come to y.
GENPIPE_FN int64_t walk_below(const PermutationArgs& a, PhiloxKey key, uint64_t y) {
  while (y >= uint64_t(a.n)) y = permute_once(a, key, y);
  return int64_t(y);
}

}  // namespace genpipe
