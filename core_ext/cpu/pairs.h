#pragma once

#include "genpipe/pairs.h"
#include "row_sum.h"

namespace genpipe {

constexpr int kPairGroup = 64;  // columns that are looked at together; in most groups no pair is of interest

template <class T>
GENPIPE_FN double squared_difference(const T* a, const T* b, int64_t dims) {
  return sum_row<double>(dims, [&](int64_t start, int64_t count, double* terms) {
    for (int64_t j = 0; j < count; ++j) {
      double difference = double(load(a + start + j)) - double(load(b + start + j));
      terms[j] = difference * difference;
    }
  });
}

namespace {

double squared_distance(const Pairs& p, int64_t row, int64_t column) {
  int64_t a = row * p.dims, b = column * p.dims;
  return dispatch_dtype(p.dtype, [&](auto t) {
    typedef decltype(t) T;
    return squared_difference(static_cast<const T*>(p.queries) + a, static_cast<const T*>(p.references) + b, p.dims);
  });
}

}  // namespace

// Calls visit(column) for every column in order of which interesting(column) holds, which must be cheap and without
// branches: it is evaluated for whole groups first, and again where a group holds one.
template <class Interesting, class Visit>
GENPIPE_FN void for_interesting(int64_t columns, Interesting interesting, Visit visit) {
  for (int64_t start = 0; start < columns; start += kPairGroup) {
    int64_t stop = min(columns, start + kPairGroup);
    uint32_t any = 0;
    for (int64_t j = start; j < stop; ++j) any |= uint32_t(interesting(j));
    if (any == 0) continue;
    for (int64_t j = start; j < stop; ++j) {
      if (interesting(j)) visit(j);
    }
  }
}

}  // namespace genpipe
