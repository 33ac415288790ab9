#include "genpipe/knn_update.h"

#include "pairs.h"

GENPIPE_DECLARE_KERNEL(knn_update, KnnUpdateArgs)

namespace genpipe {
namespace {

void knn_update_(const Tensor& queries, const Tensor& references, const Tensor& products, const Tensor& query_bounds,
                 const Tensor& reference_bounds, double scale, int64_t first_query, int64_t first_reference,
                 double beyond, Tensor squares, Tensor indices) {
  const char* op = "knn_update_";
  PairTensors held = check_pairs(op, queries, references, products, query_bounds, reference_bounds, 2);
  const Pairs& pairs = held.pairs;
  check(squares.dim() == 2 && squares.size(1) >= 1, op, "squares must have shape (Q, k) with k at least 1, got ",
        shape_text(squares));
  int64_t k = squares.size(1);
  check_result(op, "squares", squares, ScalarType::Double, pairs.rows, k, queries);
  check_result(op, "indices", indices, ScalarType::Long, pairs.rows, k, queries);
  Tensor scratch = torch::stable::empty({pairs.rows, k}, query_bounds.scalar_type(), std::nullopt, queries.device());
  KnnUpdateArgs args{};
  args.pairs = pairs;
  args.squares = static_cast<double*>(squares.mutable_data_ptr());
  args.indices = static_cast<int64_t*>(indices.mutable_data_ptr());
  args.scratch = scratch.mutable_data_ptr();
  args.k = k;
  args.first_query = first_query;
  args.first_reference = first_reference;
  args.half_scale_squared = 0.5 * scale * scale;
  args.beyond_squared = beyond < 0 ? -1 : beyond * beyond;
  if (pairs.rows == 0 || pairs.columns == 0) return;
  GENPIPE_LAUNCH(knn_update, args, queries.is_cuda(), queries.get_device_index(), pairs.rows, row_grain(pairs.columns));
}

}  // namespace
}  // namespace genpipe

STABLE_TORCH_LIBRARY_FRAGMENT(genpipe, m) {
  m.def(
      "knn_update_(Tensor queries, Tensor references, Tensor products, Tensor query_bounds, Tensor reference_bounds, "
      "float scale, SymInt first_query, SymInt first_reference, float beyond, Tensor(a!) squares, Tensor(b!) indices) "
      "-> ()");
}

GENPIPE_REGISTER(m) { m.impl("knn_update_", TORCH_BOX(&genpipe::knn_update_)); }
