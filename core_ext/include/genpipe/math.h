// Elementary functions from polynomials and explicit fused multiply-adds: the same bits on every processor, and loops
// over them vectorise. The coefficients come from fit_polynomials.py; errors are a few units in the last place.
#pragma once

#include "genpipe/platform.h"

namespace genpipe {

// log(1 + f) for f in [sqrt(1/2) - 1, sqrt(2) - 1].
GENPIPE_FN float log1p_near_zero(float f) {
  float p = -0.0790274377f;
  p = fma(p, f, 0.126223198f);
  p = fma(p, f, -0.129981838f);
  p = fma(p, f, 0.142144959f);
  p = fma(p, f, -0.166412815f);
  p = fma(p, f, 0.200010451f);
  p = fma(p, f, -0.250003064f);
  p = fma(p, f, 0.333333307f);
  float square = f * f;
  return fma(square, fma(p, f, -0.5f), f);
}

GENPIPE_FN double log1p_near_zero(double f) {
  double s = f / (2.0 + f);  // log(1 + f) = 2 atanh(s)
  double z = s * s;
  double p = 0.073082248652712999;
  p = fma(p, z, 0.07665860798102661);
  p = fma(p, z, 0.090914445627108575);
  p = fma(p, z, 0.11111105567396128);
  p = fma(p, z, 0.14285714312987755);
  p = fma(p, z, 0.19999999999949752);
  p = fma(p, z, 0.33333333333333348);
  double half_square = 0.5 * f * f;
  return f - (half_square - s * fma(2.0 * z, p, half_square));
}

// log(x) for normal, positive x.
GENPIPE_FN float log_positive(float x) {
  // Subtracting the bits of sqrt(1/2) makes the exponent field count from there.
  int32_t bits = bit_cast<int32_t>(x) - 0x3f3504f3;
  float e = float(bits >> 23);
  float m = bit_cast<float>((bits & 0x007fffff) + 0x3f3504f3);
  float low = fma(e, 1.42860682e-6f, log1p_near_zero(m - 1.0f));
  return fma(e, 0.693145751953125f, low);
}

GENPIPE_FN double log_positive(double x) {
  int64_t bits = bit_cast<int64_t>(x) - 0x3fe6a09e667f3bcdLL;
  double e = double(int32_t(bits >> 52));
  double m = bit_cast<double>((bits & 0x000fffffffffffffLL) + 0x3fe6a09e667f3bcdLL);
  double low = fma(e, 2.7897668087737545e-08, log1p_near_zero(m - 1.0));
  return fma(e, 0.6931471526622772, low);
}

// log(x) for x = 1 - v in (0, 1), each given to its own relative precision: that of the result where x is close to 1.
GENPIPE_FN float log_complement(float x, float v) {
  int32_t bits = bit_cast<int32_t>(x) - 0x3f3504f3;
  float e = float(bits >> 23);
  float m = bit_cast<float>((bits & 0x007fffff) + 0x3f3504f3);
  float low = fma(e, 1.42860682e-6f, log1p_near_zero(select(e == 0.0f, -v, m - 1.0f)));
  return fma(e, 0.693145751953125f, low);
}

GENPIPE_FN double log_complement(double x, double v) {
  int64_t bits = bit_cast<int64_t>(x) - 0x3fe6a09e667f3bcdLL;
  double e = double(int32_t(bits >> 52));
  double m = bit_cast<double>((bits & 0x000fffffffffffffLL) + 0x3fe6a09e667f3bcdLL);
  double low = fma(e, 2.7897668087737545e-08, log1p_near_zero(select(e == 0.0, -v, m - 1.0)));
  return fma(e, 0.6931471526622772, low);
}

// log(1 + x) for x in [0, 1].
GENPIPE_FN float log1p_unit(float x) {
  float p = -0.00317605701f;
  p = fma(p, x, 0.0195425272f);
  p = fma(p, x, -0.0563736127f);
  p = fma(p, x, 0.105436238f);
  p = fma(p, x, -0.152696671f);
  p = fma(p, x, 0.196632743f);
  p = fma(p, x, -0.249516163f);
  p = fma(p, x, 0.333297105f);
  p = fma(p, x, -0.499998926f);
  p = fma(p, x, 1.0f);
  return x * p;
}

GENPIPE_FN double log1p_unit(double x) {
  bool upper = x > 0.41421356237309503;
  double f = select(upper, fma(x, 0.5, -0.5), x);
  return log1p_near_zero(f) + select(upper, 0.69314718055994531, 0.0);
}

// exp(x) as p * 2^i, p near 1, for x within the range that the callers clamp to.
GENPIPE_FN float exp_parts(float x, int32_t* i) {
  const float magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer, left in the low bits
  float shifted = fma(x, 1.44269504f, magic);
  float n = shifted - magic;
  float r = fma(n, -0.693145751953125f, x);
  r = fma(n, -1.42860682e-6f, r);
  float p = 0.00139261761f;
  p = fma(p, r, 0.00836317307f);
  p = fma(p, r, 0.0416665547f);
  p = fma(p, r, 0.16666577f);
  p = fma(p, r, 0.5f);
  *i = bit_cast<int32_t>(shifted) - bit_cast<int32_t>(magic);
  return fma(fma(p, r, 1.0f), r, 1.0f);
}

// exp(x) as 2^i (1 + r slope); the bits of `shifted` end in i.
GENPIPE_FN double exp_slope(double x, double* r_out, double* shifted_out) {
  const double magic = 6755399441055744.0;  // 1.5 * 2^52
  double shifted = fma(x, 1.4426950408889634, magic);
  double n = shifted - magic;
  double r = fma(n, -0.6931471526622772, x);
  r = fma(n, -2.7897668087737545e-08, r);
  *r_out = r;
  *shifted_out = shifted;
  double p = 2.5100375832561234e-8;
  p = fma(p, r, 2.7620075879983367e-7);
  p = fma(p, r, 2.7557268480310026e-6);
  p = fma(p, r, 2.4801521322368693e-5);
  p = fma(p, r, 0.00019841269863040545);
  p = fma(p, r, 0.0013888888917196719);
  p = fma(p, r, 0.0083333333333300644);
  p = fma(p, r, 0.041666666666624162);
  p = fma(p, r, 0.16666666666666667);
  p = fma(p, r, 0.5000000000000001);
  return fma(p, r, 1.0);
}

GENPIPE_FN double exp_parts(double x, int64_t* i) {
  double r, shifted;
  double slope = exp_slope(x, &r, &shifted);
  *i = bit_cast<int64_t>(shifted) - bit_cast<int64_t>(6755399441055744.0);
  return fma(slope, r, 1.0);
}

// 2^i for exponents of normal numbers, and some number for others: those of NaN are anything.
GENPIPE_FN float power_of_two(int32_t i) { return bit_cast<float>(uint32_t(i + 127) << 23); }
GENPIPE_FN double power_of_two(int64_t i) { return bit_cast<double>(uint64_t(i + 1023) << 52); }

// exp(x) over the whole range: 0 below, infinity above, NaN for NaN. The power of two comes in two factors, so that
// results below the normal range round once and those above it overflow.
GENPIPE_FN float exp(float x) {
  x = select(x < -104.0f, -104.0f, x);
  x = select(x > 89.0f, 89.0f, x);
  int32_t i;
  float p = exp_parts(x, &i);
  int32_t half = i >> 1;
  return p * power_of_two(half) * power_of_two(i - half);
}

GENPIPE_FN double exp(double x) {
  x = select(x < -746.0, -746.0, x);
  x = select(x > 710.0, 710.0, x);
  int64_t i;
  double p = exp_parts(x, &i);
  int64_t half = int64_t(uint64_t(i + 2048) >> 1) - 1024;  // arithmetic 64-bit shifts do not vectorise before AVX-512
  return p * power_of_two(half) * power_of_two(i - half);
}

// exp(-x) as 2^i (1 + r slope) for x in [-87, 87], or [-708, 708] for double; the bits of `shifted` end in i.
GENPIPE_FN float exp_decay_parts(float x, float* r, float* shifted) {
  const float magic = 12582912.0f;
  *shifted = fma(x, -1.44269504f, magic);
  *r = fma(x, -1.44269504f, magic - *shifted);  // in powers of two, without ln 2's second part
  float slope = 0.000154531629f;
  slope = fma(slope, *r, 0.00133908634f);
  slope = fma(slope, *r, 0.00961808256f);
  slope = fma(slope, *r, 0.0555035711f);
  slope = fma(slope, *r, 0.240226508f);
  return fma(slope, *r, 0.693147188f);
}

GENPIPE_FN double exp_decay_parts(double x, double* r, double* shifted) { return exp_slope(-x, r, shifted); }

// x 2^i for a normal result.
GENPIPE_FN float shift_exponent(float x, float shifted) {
  return bit_cast<float>(bit_cast<uint32_t>(x) + (bit_cast<uint32_t>(shifted) << 23));
}
GENPIPE_FN double shift_exponent(double x, double shifted) {
  return bit_cast<double>(bit_cast<uint64_t>(x) + (bit_cast<uint64_t>(shifted) << 52));
}

GENPIPE_FN float decay_limit(float) { return 87.0f; }
GENPIPE_FN double decay_limit(double) { return 708.0; }

// exp(-x) for x >= -87 (-708 for double), to an absolute error of the result's rounding where x >= 0: the relative one
// grows with |x| (1e-8 x for float), and anything under the smallest normal number may as well be that number.
template <class T>
GENPIPE_FN T exp_decay(T x) {
  T r, shifted;
  T slope = exp_decay_parts(smaller(x, decay_limit(x)), &r, &shifted);
  return shift_exponent(fma(slope, r, T(1)), shifted);
}

// exp(x) for x <= 0, and 0 where it is lost in a sum with 1: products of numbers near the smallest are slow.
template <class T>
GENPIPE_FN T relative_weight(T x) {
  return select(x < T(-60), T(0), exp_decay(-x));
}

// 1 - exp(-x) for x >= 0, to the relative rounding of a small x, and exp_decay(x) beside it.
template <class T>
GENPIPE_FN T one_minus_exp_decay(T x, T* decay) {
  T r, shifted;
  T slope = exp_decay_parts(smaller(x, decay_limit(x)), &r, &shifted);
  T power = shift_exponent(T(1), shifted);
  *decay = shift_exponent(fma(slope, r, T(1)), shifted);
  return fma(-power, slope * r, T(1) - power);
}

// tanh(x), relative to its own rounding, and its derivative.
template <class T>
GENPIPE_FN T tanh_with_slope(T x, T* slope) {
  T decay, rest = one_minus_exp_decay(T(2) * abs(x), &decay);
  T inverse = T(1) / (T(1) + decay);
  T value = rest * inverse;
  *slope = T(4) * decay * inverse * inverse;
  return select(x < T(0), -value, value);
}

// sin and cos of pi/4 y for y in [-1, 1].
GENPIPE_FN void sincos_eighth(float y, float* sine, float* cosine) {
  float z = y * y;
  float s = -3.59542907e-5f;
  s = fma(s, z, 0.0024900068f);
  s = fma(s, z, -0.0807454347f);
  s = fma(s, z, 0.785398161f);
  *sine = y * s;
  float c = 3.54195273e-6f;
  c = fma(c, z, -0.00032596138f);
  c = fma(c, z, 0.0158543381f);
  c = fma(c, z, -0.308425137f);
  *cosine = fma(c, z, 1.0f);
}

GENPIPE_FN void sincos_eighth(double y, double* sine, double* cosine) {
  double z = y * y;
  double s = 6.8773605731662548e-12;
  s = fma(s, z, -1.7571500746983932e-9);
  s = fma(s, z, 3.1336162254334162e-7);
  s = fma(s, z, -3.6576204158913875e-5);
  s = fma(s, z, 0.0024903945701888438);
  s = fma(s, z, -0.080745512188280539);
  s = fma(s, z, 0.78539816339744831);
  *sine = y * s;
  double c = -3.863156948797854e-13;
  c = fma(c, z, 1.1500679700939365e-10);
  c = fma(c, z, -2.4611366238309728e-8);
  c = fma(c, z, 3.5908604474486118e-6);
  c = fma(c, z, -0.00032599188692719957);
  c = fma(c, z, 0.015854344243815489);
  c = fma(c, z, -0.30842513753404246);
  *cosine = fma(c, z, 1.0);
}

}  // namespace genpipe
