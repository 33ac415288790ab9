// The work unit is a query.
#include "genpipe/ball_count.h"

#include "pairs.h"

namespace genpipe {
namespace {

template <class P>
GENPIPE_FN void count(const BallCountArgs& a, int64_t row) {
  typedef compute_t<P> C;
  const Pairs& p = a.pairs;
  const P* products = static_cast<const P*>(p.products) + row * p.columns;
  const C* query = static_cast<const C*>(p.query_bounds) + row;
  const C *lower = static_cast<const C*>(p.reference_bounds), *upper = lower + p.columns;
  const C *ball_lower = upper + p.columns, *ball_upper = ball_lower + p.columns;
  C own_lower = query[0], own_upper = query[p.rows];
  C own_ball_lower = query[2 * p.rows], own_ball_upper = query[3 * p.rows];
  double own_radius = a.query_radii[row];
  int64_t contained = 0, holds = 0;
  for_interesting(
      p.columns,
      [&](int64_t j) {
        C product = load(products + j);
        return !((product < own_lower + ball_lower[j]) & (product < own_ball_lower + lower[j]));
      },
      [&](int64_t j) {
        C product = load(products + j);
        bool in_reference = product > own_upper + ball_upper[j], in_query = product > own_ball_upper + upper[j];
        bool not_reference = product < own_lower + ball_lower[j], not_query = product < own_ball_lower + lower[j];
        if (!(in_reference || not_reference) || !(in_query || not_query)) {
          double distance = sqrt(squared_distance(p, row, j));
          in_reference = distance < a.reference_radii[j];
          in_query = distance < own_radius;
        }
        if (in_reference) {
          ++contained;
          add_one(a.reference_counts + 2 * j + 1);
        }
        if (in_query) {
          ++holds;
          add_one(a.reference_counts + 2 * j);
        }
      });
  a.query_counts[2 * row] += contained;
  a.query_counts[2 * row + 1] += holds;
}

template <class P>
GENPIPE_FN void count(const BallCountArgs& a, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) count<P>(a, row);
}

}  // namespace

namespace GENPIPE_VARIANT {

void ball_count(const BallCountArgs& a, int64_t begin, int64_t end) {
  dispatch_dtype(a.pairs.product_dtype, [&](auto p) { count<decltype(p)>(a, begin, end); });
}

}  // namespace GENPIPE_VARIANT
}  // namespace genpipe
