// Vectors as wide as the instruction set, Vector<T>::kWidth numbers of T, with one rounding per multiply-add. A loop
// in which each lane is a result of its own gives the same bits at every width.
#pragma once

#include "genpipe/platform.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace genpipe {

// load_first: the first `count` numbers, and zeros. store_lanes: the lanes whose bits are set, side by side.
template <class T>
struct Vector;

template <class Vec, class T>
GENPIPE_FN void store_lanes_one_by_one(T* p, typename Vec::V x, uint32_t lanes) {
  if (lanes == (1u << Vec::kWidth) - 1) return Vec::store(p, x);
  T numbers[Vec::kWidth];
  Vec::store(numbers, x);
  for (int lane = 0; lane < Vec::kWidth; ++lane) {
    if ((lanes >> lane) & 1u) *p++ = numbers[lane];
  }
}

#if defined(__AVX512F__)

template <>
struct Vector<float> {
  typedef __m512 V;
  static constexpr int kWidth = 16;
  GENPIPE_FN V zero() { return _mm512_setzero_ps(); }
  GENPIPE_FN V fill(float x) { return _mm512_set1_ps(x); }
  GENPIPE_FN V load(const float* p) { return _mm512_loadu_ps(p); }
  GENPIPE_FN V load_first(const float* p, int64_t count) {
    return _mm512_maskz_loadu_ps(__mmask16((1u << count) - 1), p);
  }
  GENPIPE_FN void store(float* p, V x) { _mm512_storeu_ps(p, x); }
  GENPIPE_FN void store_lanes(float* p, V x, uint32_t lanes) {
    __mmask16 low = __mmask16((1u << __builtin_popcount(lanes)) - 1);
    _mm512_mask_storeu_ps(p, low, _mm512_maskz_compress_ps(__mmask16(lanes), x));
  }
  GENPIPE_FN V add(V a, V b) { return _mm512_add_ps(a, b); }
  GENPIPE_FN V fma(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
};

template <>
struct Vector<double> {
  typedef __m512d V;
  static constexpr int kWidth = 8;
  GENPIPE_FN V zero() { return _mm512_setzero_pd(); }
  GENPIPE_FN V fill(double x) { return _mm512_set1_pd(x); }
  GENPIPE_FN V load(const double* p) { return _mm512_loadu_pd(p); }
  GENPIPE_FN V load_first(const double* p, int64_t count) {
    return _mm512_maskz_loadu_pd(__mmask8((1u << count) - 1), p);
  }
  GENPIPE_FN void store(double* p, V x) { _mm512_storeu_pd(p, x); }
  GENPIPE_FN void store_lanes(double* p, V x, uint32_t lanes) {
    __mmask8 low = __mmask8((1u << __builtin_popcount(lanes)) - 1);
    _mm512_mask_storeu_pd(p, low, _mm512_maskz_compress_pd(__mmask8(lanes), x));
  }
  GENPIPE_FN V add(V a, V b) { return _mm512_add_pd(a, b); }
  GENPIPE_FN V fma(V a, V b, V c) { return _mm512_fmadd_pd(a, b, c); }
};

#elif defined(__AVX2__)

template <>
struct Vector<float> {
  typedef __m256 V;
  static constexpr int kWidth = 8;
  GENPIPE_FN V zero() { return _mm256_setzero_ps(); }
  GENPIPE_FN V fill(float x) { return _mm256_set1_ps(x); }
  GENPIPE_FN V load(const float* p) { return _mm256_loadu_ps(p); }
  GENPIPE_FN V load_first(const float* p, int64_t count) {
    __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_maskload_ps(p, _mm256_cmpgt_epi32(_mm256_set1_epi32(int(count)), lane));
  }
  GENPIPE_FN void store(float* p, V x) { _mm256_storeu_ps(p, x); }
  GENPIPE_FN void store_lanes(float* p, V x, uint32_t lanes) { store_lanes_one_by_one<Vector>(p, x, lanes); }
  GENPIPE_FN V add(V a, V b) { return _mm256_add_ps(a, b); }
  GENPIPE_FN V fma(V a, V b, V c) { return _mm256_fmadd_ps(a, b, c); }
};

template <>
struct Vector<double> {
  typedef __m256d V;
  static constexpr int kWidth = 4;
  GENPIPE_FN V zero() { return _mm256_setzero_pd(); }
  GENPIPE_FN V fill(double x) { return _mm256_set1_pd(x); }
  GENPIPE_FN V load(const double* p) { return _mm256_loadu_pd(p); }
  GENPIPE_FN V load_first(const double* p, int64_t count) {
    __m256i lane = _mm256_setr_epi64x(0, 1, 2, 3);
    return _mm256_maskload_pd(p, _mm256_cmpgt_epi64(_mm256_set1_epi64x(count), lane));
  }
  GENPIPE_FN void store(double* p, V x) { _mm256_storeu_pd(p, x); }
  GENPIPE_FN void store_lanes(double* p, V x, uint32_t lanes) { store_lanes_one_by_one<Vector>(p, x, lanes); }
  GENPIPE_FN V add(V a, V b) { return _mm256_add_pd(a, b); }
  GENPIPE_FN V fma(V a, V b, V c) { return _mm256_fmadd_pd(a, b, c); }
};

#else

// 16 bytes, which every 64-bit processor has; each multiply-add is a call where the processor has none.
template <class T>
struct PlainVector {
  typedef T V __attribute__((vector_size(16)));
  static constexpr int kWidth = 16 / int(sizeof(T));
  GENPIPE_FN V zero() { return V{}; }
  GENPIPE_FN V fill(T x) {
    V v;
    for (int lane = 0; lane < kWidth; ++lane) v[lane] = x;
    return v;
  }
  GENPIPE_FN V load(const T* p) {
    V v;
    __builtin_memcpy(&v, p, sizeof(v));
    return v;
  }
  GENPIPE_FN V load_first(const T* p, int64_t count) {
    V v = {};
    for (int lane = 0; lane < int(count); ++lane) v[lane] = p[lane];
    return v;
  }
  GENPIPE_FN void store(T* p, V x) { __builtin_memcpy(p, &x, sizeof(x)); }
  GENPIPE_FN void store_lanes(T* p, V x, uint32_t lanes) { store_lanes_one_by_one<PlainVector>(p, x, lanes); }
  GENPIPE_FN V add(V a, V b) { return a + b; }
  GENPIPE_FN V fma(V a, V b, V c) {
    for (int lane = 0; lane < kWidth; ++lane) c[lane] = genpipe::fma(a[lane], b[lane], c[lane]);
    return c;
  }
};

template <>
struct Vector<float> : PlainVector<float> {};
template <>
struct Vector<double> : PlainVector<double> {};

#endif

}  // namespace genpipe
