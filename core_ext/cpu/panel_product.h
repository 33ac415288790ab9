// Products of a few rows with packed weights, in registers: vectors as wide as the instruction set over outputs, each
// sum a chain of fused multiply-adds in the order of its terms.
#pragma once

#include "vector.h"

namespace genpipe {

// sums (rows, num_panels * panel) += a (rows, count) * w (num_panels, ·, panel): rows of `a` lie lda apart, panels of
// `w` ldw, rows of `sums` lds. Each product is one chain from zero.
template <class T, int rows, int vectors, int panel>
GENPIPE_FN void add_products(const T* a, int64_t lda, const T* w, int64_t ldw, int64_t count, T* sums, int64_t lds) {
  typedef Vector<T> Lanes;
  typedef typename Lanes::V V;
  constexpr int width = Lanes::kWidth, per_panel = panel / width;
  static_assert(panel % width == 0, "whole vectors make a panel");
  V products[rows][vectors];
#pragma GCC unroll 16
  for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 16
    for (int v = 0; v < vectors; ++v) products[r][v] = Lanes::zero();
  }
  for (int64_t k = 0; k < count; ++k) {
    V weights[vectors];
#pragma GCC unroll 16
    for (int v = 0; v < vectors; ++v) {
      weights[v] = Lanes::load(w + v / per_panel * ldw + k * panel + v % per_panel * width);
    }
#pragma GCC unroll 16
    for (int r = 0; r < rows; ++r) {
      V x = Lanes::fill(a[r * lda + k]);
#pragma GCC unroll 16
      for (int v = 0; v < vectors; ++v) products[r][v] = Lanes::fma(x, weights[v], products[r][v]);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 16
    for (int v = 0; v < vectors; ++v) {
      T* sum = sums + r * lds + v * width;
      Lanes::store(sum, Lanes::add(Lanes::load(sum), products[r][v]));
    }
  }
}

// The same for any number of rows.
template <class T, int vectors, int panel>
GENPIPE_FN void add_products_of(int64_t rows, const T* a, int64_t lda, const T* w, int64_t ldw, int64_t count, T* sums,
                                int64_t lds) {
  constexpr int most = sizeof(typename Vector<T>::V) == 64 ? 8 : 4;  // by the registers that there are
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
