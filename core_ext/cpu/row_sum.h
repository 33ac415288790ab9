#pragma once

#include "genpipe/row_sum.h"

namespace genpipe {

// The lanes as one value, which stays in registers: 1, 2 or 4 of them, or 8, by the instruction set.
template <class T>
struct LaneVector;
template <>
struct LaneVector<float> {
  typedef float type __attribute__((vector_size(kSumLanes * sizeof(float))));
};
template <>
struct LaneVector<double> {
  typedef double type __attribute__((vector_size(kSumLanes * sizeof(double))));
};

// The sum of a block's first `count` terms; overwrites terms up to the next multiple of kSumLanes.
template <class T>
GENPIPE_FN double sum_block(T* terms, int64_t count) {
  typedef typename LaneVector<T>::type Vector;
  int64_t groups = (count + kSumLanes - 1) / kSumLanes;
  for (int64_t j = count; j < groups * kSumLanes; ++j) terms[j] = T(0);
  Vector sum = {};
  for (int64_t g = 0; g < groups; ++g) {
    Vector next;
    __builtin_memcpy(&next, terms + g * kSumLanes, sizeof(next));
    sum += next;
  }
  T lanes[kSumLanes];
  __builtin_memcpy(lanes, &sum, sizeof(sum));
  for (int width = kSumLanes / 2; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) lanes[i] += lanes[i + width];
  }
  return double(lanes[0]);
}

// Sums columns terms; terms(column, count, out) gives at most kSumBlock of them at a time.
template <class T, class Terms>
GENPIPE_FN double sum_row(int64_t columns, Terms terms) {
  double total = 0;
  T block[kSumBlock];
  for (int64_t column = 0; column < columns; column += kSumBlock) {
    int64_t count = min(columns - column, kSumBlock);
    terms(column, count, block);
    total += sum_block(block, count);
  }
  return total;
}

// out[row] = the sum of its terms, for the rows [begin, end); terms(at, count, out) gives those of the elements at, …,
// at + count - 1 of the array. Short rows share a call, so that loops over its range are long.
template <class C, class Terms>
GENPIPE_FN void sum_rows(void* out, int64_t begin, int64_t end, int64_t columns, Terms terms) {
  C* sums = static_cast<C*>(out);
  if (columns > kSumBlock / 2 || columns == 0) {
    for (int64_t row = begin; row < end; ++row) {
      sums[row] = C(sum_row<C>(columns, [&](int64_t column, int64_t count, C* block) {
        terms(row * columns + column, count, block);
      }));
    }
    return;
  }
  C block[kSumBlock + kSumLanes];
  int64_t group = kSumBlock / columns;
  for (int64_t row = begin; row < end; row += group) {
    int64_t rows = min(group, end - row);
    terms(row * columns, rows * columns, static_cast<C*>(block));
    // From the last to the first: a sum spoils what follows its terms.
    for (int64_t r = rows - 1; r >= 0; --r) sums[row + r] = C(sum_block(block + r * columns, columns));
  }
}

}  // namespace genpipe
