// Vectors as wide as the instruction set, Vector<T>::kWidth numbers of T, with one rounding per multiply-add. A loop
// in which each lane is a result of its own gives the same bits at every width.
#pragma once

#include "genpipe/platform.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace genpipe {

template <class T>
struct Vector;

#if defined(__AVX512F__)

template <>
struct Vector<float> {
  typedef __m512 V;
  typedef __mmask16 Mask;
  static constexpr int kWidth = 16;
  GENPIPE_FN V zero() { return _mm512_setzero_ps(); }
  GENPIPE_FN V fill(float x) { return _mm512_set1_ps(x); }
  GENPIPE_FN V load(const float* p) { return _mm512_loadu_ps(p); }
  GENPIPE_FN V load(const float* p, Mask mask) { return _mm512_maskz_loadu_ps(mask, p); }
  GENPIPE_FN void store(float* p, V x) { _mm512_storeu_ps(p, x); }
  GENPIPE_FN V add(V a, V b) { return _mm512_add_ps(a, b); }
  GENPIPE_FN V fma(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
  GENPIPE_FN Mask mask(uint32_t lanes) { return Mask(lanes); }
};

template <>
struct Vector<double> {
  typedef __m512d V;
  typedef __mmask8 Mask;
  static constexpr int kWidth = 8;
  GENPIPE_FN V zero() { return _mm512_setzero_pd(); }
  GENPIPE_FN V fill(double x) { return _mm512_set1_pd(x); }
  GENPIPE_FN V load(const double* p) { return _mm512_loadu_pd(p); }
  GENPIPE_FN V load(const double* p, Mask mask) { return _mm512_maskz_loadu_pd(mask, p); }
  GENPIPE_FN void store(double* p, V x) { _mm512_storeu_pd(p, x); }
  GENPIPE_FN V add(V a, V b) { return _mm512_add_pd(a, b); }
  GENPIPE_FN V fma(V a, V b, V c) { return _mm512_fmadd_pd(a, b, c); }
  GENPIPE_FN Mask mask(uint32_t lanes) { return Mask(lanes); }
};

#elif defined(__AVX2__)

template <>
struct Vector<float> {
  typedef __m256 V;
  typedef __m256 Mask;
  static constexpr int kWidth = 8;
  GENPIPE_FN V zero() { return _mm256_setzero_ps(); }
  GENPIPE_FN V fill(float x) { return _mm256_set1_ps(x); }
  GENPIPE_FN V load(const float* p) { return _mm256_loadu_ps(p); }
  GENPIPE_FN V load(const float* p, Mask mask) { return _mm256_and_ps(_mm256_loadu_ps(p), mask); }
  GENPIPE_FN void store(float* p, V x) { _mm256_storeu_ps(p, x); }
  GENPIPE_FN V add(V a, V b) { return _mm256_add_ps(a, b); }
  GENPIPE_FN V fma(V a, V b, V c) { return _mm256_fmadd_ps(a, b, c); }
  GENPIPE_FN Mask mask(uint32_t lanes) {
    __m256i bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    return _mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(int(lanes)), bit), bit));
  }
};

template <>
struct Vector<double> {
  typedef __m256d V;
  typedef __m256d Mask;
  static constexpr int kWidth = 4;
  GENPIPE_FN V zero() { return _mm256_setzero_pd(); }
  GENPIPE_FN V fill(double x) { return _mm256_set1_pd(x); }
  GENPIPE_FN V load(const double* p) { return _mm256_loadu_pd(p); }
  GENPIPE_FN V load(const double* p, Mask mask) { return _mm256_and_pd(_mm256_loadu_pd(p), mask); }
  GENPIPE_FN void store(double* p, V x) { _mm256_storeu_pd(p, x); }
  GENPIPE_FN V add(V a, V b) { return _mm256_add_pd(a, b); }
  GENPIPE_FN V fma(V a, V b, V c) { return _mm256_fmadd_pd(a, b, c); }
  GENPIPE_FN Mask mask(uint32_t lanes) {
    __m256i bit = _mm256_setr_epi64x(1, 2, 4, 8);
    return _mm256_castsi256_pd(_mm256_cmpeq_epi64(_mm256_and_si256(_mm256_set1_epi64x(lanes), bit), bit));
  }
};

#else

// 16 bytes, which every 64-bit processor has; each multiply-add is a call where the processor has none.
template <class T>
struct PlainVector {
  typedef T V __attribute__((vector_size(16)));
  typedef uint32_t Mask;  // a bit for each lane
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
  GENPIPE_FN V load(const T* p, Mask mask) {
    V v = load(p);
    for (int lane = 0; lane < kWidth; ++lane) v[lane] = select((mask >> lane) & 1u, v[lane], T(0));
    return v;
  }
  GENPIPE_FN void store(T* p, V x) { __builtin_memcpy(p, &x, sizeof(x)); }
  GENPIPE_FN V add(V a, V b) { return a + b; }
  GENPIPE_FN V fma(V a, V b, V c) {
    for (int lane = 0; lane < kWidth; ++lane) c[lane] = genpipe::fma(a[lane], b[lane], c[lane]);
    return c;
  }
  GENPIPE_FN Mask mask(uint32_t lanes) { return lanes; }
};

template <>
struct Vector<float> : PlainVector<float> {};
template <>
struct Vector<double> : PlainVector<double> {};

#endif

}  // namespace genpipe
