// Products of a few rows with packed weights, in registers: vectors as wide as the instruction set over outputs, each
// sum a chain of fused multiply-adds in the order of its terms.
#pragma once

#include "genpipe/platform.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace genpipe {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif

typedef float Floats __attribute__((vector_size(kVectorBytes)));
typedef double Doubles __attribute__((vector_size(kVectorBytes)));

template <class T>
struct VectorOf {
  typedef Floats type;
};
template <>
struct VectorOf<double> {
  typedef Doubles type;
};

#if defined(__AVX512F__)
GENPIPE_FN Floats fma_each(Floats a, Floats b, Floats c) {
  return (Floats)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
}
GENPIPE_FN Doubles fma_each(Doubles a, Doubles b, Doubles c) {
  return (Doubles)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c);
}
#elif defined(__AVX2__)
GENPIPE_FN Floats fma_each(Floats a, Floats b, Floats c) {
  return (Floats)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
}
GENPIPE_FN Doubles fma_each(Doubles a, Doubles b, Doubles c) {
  return (Doubles)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
}
#else
template <class V>
GENPIPE_FN V fma_each(V a, V b, V c) {
  for (unsigned i = 0; i < sizeof(V) / sizeof(a[0]); ++i) c[i] = fma(a[i], b[i], c[i]);
  return c;
}
#endif

// sums (rows, num_panels * panel) += a (rows, count) * w (num_panels, ·, panel): rows of `a` lie lda apart, panels of
// `w` ldw, rows of `sums` lds. Each product is one chain from zero.
template <class T, int rows, int vectors, int panel>
GENPIPE_FN void add_products(const T* a, int64_t lda, const T* w, int64_t ldw, int64_t count, T* sums, int64_t lds) {
  typedef typename VectorOf<T>::type V;
  constexpr int width = kVectorBytes / sizeof(T), per_panel = panel / width;
  static_assert(panel % width == 0, "whole vectors make a panel");
  V products[rows][vectors] = {};
  for (int64_t k = 0; k < count; ++k) {
    V weights[vectors];
#pragma GCC unroll 16
    for (int v = 0; v < vectors; ++v) {
      __builtin_memcpy(&weights[v], w + v / per_panel * ldw + k * panel + v % per_panel * width, sizeof(V));
    }
#pragma GCC unroll 16
    for (int r = 0; r < rows; ++r) {
      V x = V{} + a[r * lda + k];
#pragma GCC unroll 16
      for (int v = 0; v < vectors; ++v) products[r][v] = fma_each(x, weights[v], products[r][v]);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 16
    for (int v = 0; v < vectors; ++v) {
      V sum;
      __builtin_memcpy(&sum, sums + r * lds + v * width, sizeof(V));
      sum += products[r][v];
      __builtin_memcpy(sums + r * lds + v * width, &sum, sizeof(V));
    }
  }
}

// The same for any number of rows.
template <class T, int vectors, int panel>
GENPIPE_FN void add_products_of(int64_t rows, const T* a, int64_t lda, const T* w, int64_t ldw, int64_t count, T* sums,
                                int64_t lds) {
  constexpr int most = kVectorBytes == 64 ? 8 : 4;
  int64_t r = 0;
  for (; r + most <= rows; r += most) {
    add_products<T, most, vectors, panel>(a + r * lda, lda, w, ldw, count, sums + r * lds, lds);
  }
  if (most > 4 && r + 4 <= rows) {
    add_products<T, 4, vectors, panel>(a + r * lda, lda, w, ldw, count, sums + r * lds, lds);
    r += 4;
  }
  if (r + 2 <= rows) {
    add_products<T, 2, vectors, panel>(a + r * lda, lda, w, ldw, count, sums + r * lds, lds);
    r += 2;
  }
  if (r < rows) add_products<T, 1, vectors, panel>(a + r * lda, lda, w, ldw, count, sums + r * lds, lds);
}

}  // namespace genpipe
