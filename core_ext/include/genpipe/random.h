// From Philox words to variates. A double refines the float of the same element: its leading 32 random bits are the
// same.
#pragma once

#include "genpipe/math.h"
#include "genpipe/philox.h"

namespace genpipe {

enum class Distribution : int32_t { uniform, normal, integer, gumbel, sign, bernoulli };

struct RandomArgs {
  void* out;
  DType dtype;  // unused for integers, which are int64
  Distribution distribution;
  int64_t rows, columns;
  int64_t first_index;
  PhiloxKey key;
  const int64_t* device_key;  // where the key lies in device memory; else null
  uint64_t high;              // integers are below this
  const void* probs;          // of 1, where the distribution is bernoulli: (rows, columns) of dtype
};

GENPIPE_FN uint64_t join_words(uint32_t high, uint32_t low) { return (uint64_t(high) << 32) | low; }

// Uniform in [0, 1): the leading 24, 53 or 8 bits, so that every value is exact and 1 is never reached by rounding.
GENPIPE_FN float uniform_float(uint32_t word) { return float(int32_t(word >> 8)) * 0x1p-24f; }
GENPIPE_FN float uniform_bfloat16(uint32_t word) { return float(int32_t(word >> 24)) * 0x1p-8f; }
GENPIPE_FN double uniform_double(uint64_t word) { return double(int64_t(word >> 11)) * 0x1p-53; }

// floor(word * high / 2^64): in [0, high), each value's probability within 2^-64 of 1 / high.
GENPIPE_FN int64_t integer_below(uint64_t word, uint64_t high) {
#if defined(__CUDA_ARCH__)
  return int64_t(__umul64hi(word, high));
#else
  return int64_t(uint64_t((static_cast<unsigned __int128>(word) * high) >> 64));
#endif
}

// Uniform in (0, 1): the midpoint of the cell of the leading 31 or 52 bits. Those of word and ~word add up to 1.
GENPIPE_FN float midpoint(uint32_t word) { return fma(float(int32_t(word >> 1)), 0x1p-31f, 0x1p-32f); }
GENPIPE_FN double midpoint(uint64_t word) { return fma(double(int64_t(word >> 12)), 0x1p-52, 0x1p-53); }

// Box-Muller: two normals from two words. The radius takes the midpoint of its word's cell, so it is never infinite
// (|z| <= 6.7 for float, 8.6 for double). The angle's word is split into the nearest quarter turn and the rest,
// within an eighth of a turn, which integers do exactly.
GENPIPE_FN void box_muller(uint32_t radius_word, uint32_t angle_word, float* z0, float* z1) {
  float radius = sqrt(-2.0f * log_positive(midpoint(radius_word)));
  uint32_t quarter = (angle_word + 0x20000000u) >> 30;
  float sine, cosine;
  sincos_eighth(float(int32_t(angle_word - (quarter << 30))) * 0x1p-29f, &sine, &cosine);
  float x = (quarter & 1u) ? sine : cosine;
  float y = (quarter & 1u) ? cosine : sine;
  // Signs by the bit: cos is negative in quarters 1 and 2, sin in 2 and 3.
  x = bit_cast<float>(bit_cast<uint32_t>(x) ^ (((quarter + 1u) & 2u) << 30));
  y = bit_cast<float>(bit_cast<uint32_t>(y) ^ ((quarter & 2u) << 30));
  *z0 = radius * x;
  *z1 = radius * y;
}

GENPIPE_FN void box_muller(uint64_t radius_word, uint64_t angle_word, double* z0, double* z1) {
  double radius = sqrt(-2.0 * log_positive(midpoint(radius_word)));
  uint64_t quarter = (angle_word + (1ull << 61)) >> 62;
  double sine, cosine;
  sincos_eighth(double(int64_t(angle_word - (quarter << 62))) * 0x1p-61, &sine, &cosine);
  double x = (quarter & 1u) ? sine : cosine;
  double y = (quarter & 1u) ? cosine : sine;
  x = bit_cast<double>(bit_cast<uint64_t>(x) ^ (((quarter + 1u) & 2u) << 62));
  y = bit_cast<double>(bit_cast<uint64_t>(y) ^ ((quarter & 2u) << 62));
  *z0 = radius * x;
  *z1 = radius * y;
}

// -log(E) of an exponential E = -log(1 - v): the maxima, which pick the winner of an argmax, come from small v and so
// from the fine end of floating point. In [-3.1, 22.2] for float, [-3.6, 36.8] for double.
GENPIPE_FN float gumbel_from(uint32_t word) { return -log_positive(-log_complement(midpoint(~word), midpoint(word))); }
GENPIPE_FN double gumbel_from(uint64_t word) { return -log_positive(-log_complement(midpoint(~word), midpoint(word))); }

// 1 with probability p, else 0; NaN where p is not in [0, 1]. All 32 or 53 bits decide.
GENPIPE_FN float bernoulli_from(uint32_t word, float p) {
  float one = select(double(word) < double(p) * 0x1p32, 1.0f, 0.0f);
  return select(p >= 0.0f && p <= 1.0f, one, bit_cast<float>(0x7fc00000u));
}
GENPIPE_FN double bernoulli_from(uint64_t word, double p) {
  double one = select(uniform_double(word) < p, 1.0, 0.0);
  return select(p >= 0.0 && p <= 1.0, one, bit_cast<double>(0x7ff8000000000000ull));
}

// What a distribution makes of the words of the element that lies `at` elements from the first. The second word is read
// by 64-bit types alone.
struct UniformOf {
  GENPIPE_FN void make(const RandomArgs&, uint32_t high, uint32_t, int64_t, float* out) { *out = uniform_float(high); }
  GENPIPE_FN void make(const RandomArgs&, uint32_t high, uint32_t low, int64_t, double* out) {
    *out = uniform_double(join_words(high, low));
  }
  GENPIPE_FN void make(const RandomArgs&, uint32_t high, uint32_t, int64_t, bfloat16* out) {
    store(out, uniform_bfloat16(high));
  }
};
struct IntegerOf {
  GENPIPE_FN void make(const RandomArgs& a, uint32_t high, uint32_t low, int64_t, int64_t* out) {
    *out = integer_below(join_words(high, low), a.high);
  }
};
struct GumbelOf {
  GENPIPE_FN void make(const RandomArgs&, uint32_t high, uint32_t low, int64_t, double* out) {
    *out = gumbel_from(join_words(high, low));
  }
  template <class T>
  GENPIPE_FN void make(const RandomArgs&, uint32_t high, uint32_t, int64_t, T* out) {
    store(out, gumbel_from(high));
  }
};
struct SignOf {  // 1 or -1, by the first bit
  template <class T>
  GENPIPE_FN void make(const RandomArgs&, uint32_t high, uint32_t, int64_t, T* out) {
    store(out, compute_t<T>(1 - 2 * int32_t(high >> 31)));
  }
};
struct BernoulliOf {
  GENPIPE_FN void make(const RandomArgs& a, uint32_t high, uint32_t low, int64_t at, double* out) {
    *out = bernoulli_from(join_words(high, low), static_cast<const double*>(a.probs)[at]);
  }
  template <class T>
  GENPIPE_FN void make(const RandomArgs& a, uint32_t high, uint32_t, int64_t at, T* out) {
    store(out, bernoulli_from(high, load(static_cast<const T*>(a.probs) + at)));
  }
};

// The four normals of one block, in the precision that T computes in.
GENPIPE_FN void normal_block(PhiloxKey key, uint64_t block, float z[4]) {
  Words a = philox_block(key, block);
  box_muller(a.w[0], a.w[1], &z[0], &z[1]);
  box_muller(a.w[2], a.w[3], &z[2], &z[3]);
}

GENPIPE_FN void normal_block(PhiloxKey key, uint64_t block, double z[4]) {
  Words a = philox_block(key, block), b = philox_block(key, block | kSecondPlane);
  box_muller(join_words(a.w[0], b.w[0]), join_words(a.w[1], b.w[1]), &z[0], &z[1]);
  box_muller(join_words(a.w[2], b.w[2]), join_words(a.w[3], b.w[3]), &z[2], &z[3]);
}

}  // namespace genpipe
