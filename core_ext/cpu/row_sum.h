#pragma once

#include "genpipe/row_sum.h"

namespace genpipe {

// The sum of a block's first `count` terms; overwrites terms up to the next multiple of kSumLanes.
template <class T>
GENPIPE_FN double sum_block(T* terms, int64_t count) {
  int64_t groups = (count + kSumLanes - 1) / kSumLanes;
  for (int64_t j = count; j < groups * kSumLanes; ++j) terms[j] = T(0);
  T lanes[kSumLanes] = {};
  for (int64_t g = 0; g < groups; ++g) {
    for (int i = 0; i < kSumLanes; ++i) lanes[i] += terms[g * kSumLanes + i];
  }
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

}  // namespace genpipe
