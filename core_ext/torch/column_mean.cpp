#include "genpipe/column_mean.h"

#include "glue.h"

GENPIPE_DECLARE_KERNEL(column_mean, ColumnMeanArgs)

namespace genpipe {
namespace {

Tensor column_mean(const Tensor& x) {
  const char* op = "column_mean";
  check_device(op, "x", x.device());
  check(x.dim() == 2, op, "x must have shape (N, D), got ", shape_text(x));
  check(x.size(0) > 0, op, "x must have at least one row, got ", shape_text(x));
  ColumnMeanArgs args{};
  args.dtype = check_floating(op, "x", x);
  args.rows = x.size(0);
  args.columns = x.size(1);
  Tensor x_c = dense(x), partial;
  Tensor mean = torch::stable::empty({args.columns}, ScalarType::Double, std::nullopt, x.device());
  if (runs_on_cuda(x)) {
    partial = torch::stable::empty({num_chunks(args.rows), args.columns}, ScalarType::Double, std::nullopt, x.device());
    args.partial = static_cast<double*>(partial.mutable_data_ptr());
  }
  args.x = x_c.const_data_ptr();
  args.mean = static_cast<double*>(mean.mutable_data_ptr());
  if (args.columns == 0) return mean;
  int64_t tiles = (args.columns + kMeanTile - 1) / kMeanTile;
  GENPIPE_LAUNCH(column_mean, args, x.is_cuda(), x.get_device_index(), tiles, row_grain(kMeanTile * args.rows));
  return mean;
}

}  // namespace
}  // namespace genpipe

STABLE_TORCH_LIBRARY_FRAGMENT(genpipe, m) { m.def("column_mean(Tensor x) -> Tensor"); }

GENPIPE_REGISTER(m) { m.impl("column_mean", TORCH_BOX(&genpipe::column_mean)); }
