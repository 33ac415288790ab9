// The work unit is a query.
#include "genpipe/knn_update.h"

#include "pairs.h"

namespace genpipe {
namespace {

template <class P>
GENPIPE_FN void update(const KnnUpdateArgs& a, int64_t row) {
  typedef compute_t<P> C;
  const Pairs& p = a.pairs;
  const P* products = static_cast<const P*>(p.products) + row * p.columns;
  const C* query = static_cast<const C*>(p.query_bounds);
  const C *lower = static_cast<const C*>(p.reference_bounds), *upper = lower + p.columns;
  C own_lower = query[row], own_upper = query[p.rows + row];
  double* squares = a.squares + row * a.k;
  int64_t* indices = a.indices + row * a.k;
  int64_t self = a.first_query < 0 ? -1 : a.first_query + row - a.first_reference;
  C farther = a.beyond_squared < 0 ? -infinity<C>() : in_bound_units<C>(a, a.beyond_squared);

  // The k-th smallest upper bound of the block lets no more than a few pairs pass, in whatever order they come.
  C ceiling = in_bound_units<C>(a, squares[a.k - 1]);
  C* smallest = static_cast<C*>(a.scratch) + row * a.k;
  int64_t held = 0;
  C limit = ceiling - own_upper;
  for_interesting(
      p.columns, [&](int64_t j) { return upper[j] - load(products + j) < limit; },
      [&](int64_t j) {
        if (j == self || !(lower[j] + own_lower - load(products + j) > farther)) return;
        held = insert_smallest(smallest, held, a.k, upper[j] - load(products + j));
        if (held == a.k) limit = smallest[a.k - 1];
      });
  if (held == a.k) ceiling = limit + own_upper;

  limit = ceiling - own_lower;
  for_interesting(
      p.columns, [&](int64_t j) { return !(lower[j] - load(products + j) > limit); },
      [&](int64_t j) {
        if (j == self) return;
        double square = squared_distance(p, row, j);
        if (square <= a.beyond_squared) return;
        insert_neighbour(squares, indices, a.k, square, a.first_reference + j);
        C bound = in_bound_units<C>(a, squares[a.k - 1]);
        if (bound < ceiling) {
          ceiling = bound;
          limit = ceiling - own_lower;
        }
      });
}

template <class P>
GENPIPE_FN void update(const KnnUpdateArgs& a, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) update<P>(a, row);
}

}  // namespace

namespace GENPIPE_VARIANT {

void knn_update(const KnnUpdateArgs& a, int64_t begin, int64_t end) {
  dispatch_dtype(a.pairs.product_dtype, [&](auto p) { update<decltype(p)>(a, begin, end); });
}

}  // namespace GENPIPE_VARIANT
}  // namespace genpipe
