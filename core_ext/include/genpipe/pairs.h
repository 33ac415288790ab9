// Decisions about the distances of many pairs of points, taken exactly at the cost of a rounded matrix product.
//
// The distance of two points is, by definition here, the square root of Σ (a − b)² in float64 by the tree of row_sum.h:
// the same bits on every backend. For most pairs it need not be computed. The products of scaled, centred, rounded
// points bound its square from both sides, in units of half a scaled square,
//
//   lower_a + lower_b − product ≤ |a − b|² scale² / 2 ≤ upper_a + upper_b − product,
//
// where lower and upper are (1 ∓ slack) |a|² scale² / 2; genpipe/ops/_pairs.py derives the slack from the precision of
// the product. Only pairs that the bounds leave open are computed, so results depend on neither block sizes, the
// matrix product's order of summation nor its precision.
#pragma once

#include "genpipe/platform.h"

namespace genpipe {

// A block of all pairs of queries and references.
struct Pairs {
  DType dtype;                    // of the points
  DType product_dtype;            // of the products; the bounds are of the precision that it computes in
  const void* queries;            // (rows, dims)
  const void* references;         // (columns, dims)
  const void* products;           // (rows, columns)
  const void* query_bounds;       // (2 or 4, rows): lower, upper, and for balls both less half the squared radius
  const void* reference_bounds;   // (2 or 4, columns)
  int64_t rows, columns, dims;
};

}  // namespace genpipe
