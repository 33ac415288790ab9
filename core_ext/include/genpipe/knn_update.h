// The k nearest references of each query, taking in one more block of references.
#pragma once

#include "genpipe/pairs.h"

namespace genpipe {

struct KnnUpdateArgs {
  Pairs pairs;
  double* squares;          // (rows, k) squared distances, ascending, infinite where there is no neighbour yet
  int64_t* indices;         // (rows, k) of the references; equal distances in the order of their indices
  void* scratch;            // (rows, k) in the precision of the bounds
  int64_t k;
  int64_t first_query;      // position of the block's first query among all, where self is excluded, or -1
  int64_t first_reference;  // position of the block's first reference among all
  double half_scale_squared;
  double beyond_squared;    // references at this squared distance or nearer do not count; -1: all count
};

// Puts a neighbour into its place among k, if it has one.
GENPIPE_FN void insert_neighbour(double* squares, int64_t* indices, int64_t k, double square, int64_t index) {
  int64_t at = k;
  while (at > 0 && (square < squares[at - 1] || (square == squares[at - 1] && index < indices[at - 1]))) --at;
  if (at == k) return;
  for (int64_t i = k - 1; i > at; --i) {
    squares[i] = squares[i - 1];
    indices[i] = indices[i - 1];
  }
  squares[at] = square;
  indices[at] = index;
}

// The k smallest of the values that come by; `held` of them so far, ascending. Gives how many there are then.
template <class C>
GENPIPE_FN int64_t insert_smallest(C* values, int64_t held, int64_t k, C value) {
  int64_t at = held < k ? held : k - 1;
  for (; at > 0 && value < values[at - 1]; --at) values[at] = values[at - 1];
  values[at] = value;
  return held < k ? held + 1 : k;
}

template <class C>
GENPIPE_FN C infinity() {
  return C(__builtin_inff());
}

// A squared distance in the bounds' units, rounded up.
template <class C>
GENPIPE_FN C in_bound_units(const KnnUpdateArgs& a, double square) {
  const C up = sizeof(C) == sizeof(float) ? C(1.0000005) : C(1.000000000000001);
  return C(square * a.half_scale_squared) * up;
}

}  // namespace genpipe
