#include "genpipe/ball_count.h"

#include "pairs.h"

GENPIPE_DECLARE_KERNEL(ball_count, BallCountArgs)

namespace genpipe {
namespace {

const double* check_radii(const char* op, const char* name, const Tensor& radii, int64_t num, const Tensor& queries) {
  check_same_device(op, name, radii, "queries", queries);
  check_dtype(op, name, radii, ScalarType::Double);
  check(radii.dim() == 1 && radii.size(0) == num, op, name, " must have shape (", num, ",), got ", shape_text(radii));
  return static_cast<const double*>(radii.const_data_ptr());
}

void ball_count_(const Tensor& queries, const Tensor& references, const Tensor& products, const Tensor& query_bounds,
                 const Tensor& reference_bounds, const Tensor& query_radii, const Tensor& reference_radii,
                 Tensor query_counts, Tensor reference_counts) {
  const char* op = "ball_count_";
  PairTensors held = check_pairs(op, queries, references, products, query_bounds, reference_bounds, 4);
  Tensor query_radii_c = dense(query_radii), reference_radii_c = dense(reference_radii);
  BallCountArgs args{};
  args.pairs = held.pairs;
  args.query_radii = check_radii(op, "query_radii", query_radii_c, held.pairs.rows, queries);
  args.reference_radii = check_radii(op, "reference_radii", reference_radii_c, held.pairs.columns, queries);
  check_result(op, "query_counts", query_counts, ScalarType::Long, held.pairs.rows, 2, queries);
  check_result(op, "reference_counts", reference_counts, ScalarType::Long, held.pairs.columns, 2, queries);
  args.query_counts = static_cast<int64_t*>(query_counts.mutable_data_ptr());
  args.reference_counts = static_cast<int64_t*>(reference_counts.mutable_data_ptr());
  if (held.pairs.rows == 0 || held.pairs.columns == 0) return;
  GENPIPE_LAUNCH(ball_count, args, queries.is_cuda(), queries.get_device_index(), held.pairs.rows,
                 row_grain(held.pairs.columns));
}

}  // namespace
}  // namespace genpipe

STABLE_TORCH_LIBRARY_FRAGMENT(genpipe, m) {
  m.def(
      "ball_count_(Tensor queries, Tensor references, Tensor products, Tensor query_bounds, Tensor reference_bounds, "
      "Tensor query_radii, Tensor reference_radii, Tensor(a!) query_counts, Tensor(b!) reference_counts) -> ()");
}

GENPIPE_REGISTER(m) { m.impl("ball_count_", TORCH_BOX(&genpipe::ball_count_)); }
