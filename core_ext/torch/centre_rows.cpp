#include "genpipe/centre_rows.h"

#include "glue.h"

GENPIPE_DECLARE_KERNEL(centre_rows, CentreRowsArgs)

namespace genpipe {
namespace {

std::tuple<Tensor, Tensor> centre_rows(const Tensor& x, const Tensor& centre, double scale, ScalarType dtype) {
  const char* op = "centre_rows";
  check_device(op, "x", x.device());
  check(x.dim() == 2, op, "x must have shape (N, D), got ", shape_text(x));
  CentreRowsArgs args{};
  args.dtype = check_floating(op, "x", x);
  args.rows = x.size(0);
  args.columns = x.size(1);
  check_same_device(op, "centre", centre, "x", x);
  check_dtype(op, "centre", centre, ScalarType::Double);
  check(centre.dim() == 1 && centre.size(0) == args.columns, op, "centre must have shape (D,) with x's D = ",
        args.columns, ", got ", shape_text(centre));
  Tensor x_c = dense(x), centre_c = dense(centre);
  Tensor out = torch::stable::empty({args.rows, args.columns}, dtype, std::nullopt, x.device());
  Tensor squares = torch::stable::empty({args.rows}, ScalarType::Double, std::nullopt, x.device());
  args.out_dtype = check_floating(op, "dtype", out);
  args.x = x_c.const_data_ptr();
  args.centre = static_cast<const double*>(centre_c.const_data_ptr());
  args.scale = scale;
  args.out = out.mutable_data_ptr();
  args.squares = static_cast<double*>(squares.mutable_data_ptr());
  if (args.rows == 0) return {out, squares};
  GENPIPE_LAUNCH_ROWS(centre_rows, args, x);
  return {out, squares};
}

}  // namespace
}  // namespace genpipe

STABLE_TORCH_LIBRARY_FRAGMENT(genpipe, m) {
  m.def("centre_rows(Tensor x, Tensor centre, float scale, ScalarType dtype) -> (Tensor, Tensor)");
}

GENPIPE_REGISTER(m) { m.impl("centre_rows", TORCH_BOX(&genpipe::centre_rows)); }
