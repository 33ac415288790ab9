// From Philox words to uniform, normal and integer variates. A double refines the float of the same element: its
// leading 32 random bits are the same.
#pragma once

#include "genpipe/math.h"
#include "genpipe/philox.h"

namespace genpipe {

enum class Distribution : int32_t { uniform, normal, integer };

struct RandomArgs {
  void* out;
  DType dtype;  // unused for integers, which are int64
  Distribution distribution;
  int64_t rows, columns;
  int64_t first_index;
  PhiloxKey key;
  const int64_t* device_key;  // where the key lies in device memory; else null
  uint64_t high;              // integers are below this
};

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

// Box-Muller: two normals from two words. The radius takes the midpoint of its word's cell, so it is never infinite
// (|z| <= 6.7 for float, 8.6 for double). The angle's word is split into the nearest quarter turn and the rest,
// within an eighth of a turn, which integers do exactly.
GENPIPE_FN void box_muller(uint32_t radius_word, uint32_t angle_word, float* z0, float* z1) {
  float u = fma(float(int32_t(radius_word >> 1)), 0x1p-31f, 0x1p-32f);
  float radius = sqrt(-2.0f * log_positive(u));
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
  double u = fma(double(int64_t(radius_word >> 12)), 0x1p-52, 0x1p-53);
  double radius = sqrt(-2.0 * log_positive(u));
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

// The four normals of one block, in the precision that T computes in.
GENPIPE_FN void normal_block(PhiloxKey key, uint64_t block, float z[4]) {
  Words a = philox_block(key, block);
  box_muller(a.w[0], a.w[1], &z[0], &z[1]);
  box_muller(a.w[2], a.w[3], &z[2], &z[3]);
}

GENPIPE_FN uint64_t join_words(uint32_t high, uint32_t low) { return (uint64_t(high) << 32) | low; }

GENPIPE_FN void normal_block(PhiloxKey key, uint64_t block, double z[4]) {
  Words a = philox_block(key, block), b = philox_block(key, block | kSecondPlane);
  box_muller(join_words(a.w[0], b.w[0]), join_words(a.w[1], b.w[1]), &z[0], &z[1]);
  box_muller(join_words(a.w[2], b.w[2]), join_words(a.w[3], b.w[3]), &z[2], &z[3]);
}

}  // namespace genpipe
