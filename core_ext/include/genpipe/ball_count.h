// Which queries lie in the balls of which references and the other way round, counted on both sides. A point lies in a
// ball if its distance is strictly less than the radius.
#pragma once

#include "genpipe/pairs.h"

namespace genpipe {

struct BallCountArgs {
  Pairs pairs;                      // with bounds of four rows
  const double* query_radii;        // (rows,)
  const double* reference_radii;    // (columns,)
  // (rows, 2) and (columns, 2), added to: how many balls of the other side contain the point, and how many points of
  // the other side its own ball contains.
  int64_t* query_counts;
  int64_t* reference_counts;
};

// Queries run in parallel and meet in the references' counts. Sums of integers do not depend on the order.
GENPIPE_FN void add_one(int64_t* count) {
#if defined(__CUDA_ARCH__)
  atomicAdd(reinterpret_cast<unsigned long long*>(count), 1ull);
#else
  __atomic_fetch_add(count, 1, __ATOMIC_RELAXED);
#endif
}

}  // namespace genpipe
