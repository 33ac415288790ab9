#include "genpipe/scale_rows.h"

#include "glue.h"

GENPIPE_DECLARE_KERNEL(scale_rows, ScaleRowsArgs)

namespace genpipe {
namespace {

void scale_rows_(const Tensor& x, const Tensor& factors, double assumed) {
  const char* op = "scale_rows_";
  check_device(op, "x", x.device());
  check_batched(op, "x", x);
  check_contiguous(op, "x", x);
  ScaleRowsArgs args{};
  args.dtype = check_floating(op, "x", x);
  check_same_dtype(op, "factors", factors, "x", x);
  check_row_gradient(op, "factors", factors, x);
  args.x = x.mutable_data_ptr();
  args.factors = factors.const_data_ptr();
  args.factor_stride = factors.stride(0);
  args.assumed = assumed;
  args.rows = rows_of(x);
  args.columns = columns_of(x);
  if (x.numel() == 0) return;
  if (x.is_cpu() && args.factor_stride == 0 && args.dtype == DType::f32 &&
      *static_cast<const float*>(args.factors) == float(assumed)) {
    return;  // a mean over the batch: nothing to do, and no threads to wake for it
  }
  GENPIPE_LAUNCH_ROWS(scale_rows, args, x);
}

}  // namespace
}  // namespace genpipe

STABLE_TORCH_LIBRARY_FRAGMENT(genpipe, m) { m.def("scale_rows_(Tensor(a!) x, Tensor factors, float assumed=1.0) -> ()"); }

GENPIPE_REGISTER(m) { m.impl("scale_rows_", TORCH_BOX(&genpipe::scale_rows_)); }
