#include "genpipe/splines.h"

#include <math.h>

#include "glue.h"

GENPIPE_DECLARE_KERNEL(rational_quadratic_spline, RationalQuadraticSplineArgs)
GENPIPE_DECLARE_KERNEL(rational_quadratic_spline_backward, RationalQuadraticSplineBackwardArgs)

namespace genpipe {
namespace {

void check_positive(const char* op, const char* name, double value) {
  check(value > 0 && isfinite(value), op, name, " must be positive and finite, got ", value);
}

void check_share(const char* op, const char* name, double value, int64_t bins) {
  check_positive(op, name, value);
  check(value * double(bins) < 1, op, name, " must be below 1 / K, here 1 / ", bins, ", got ", value);
}

// What both directions check and fill alike.
template <class Args>
void prepare(const char* op, const Tensor& x, const Tensor& params, double bound, bool inverse, double min_width,
             double min_height, double min_slope, Args& args) {
  check_device(op, "x", x.device());
  check_batched(op, "x", x);
  args.dtype = check_floating(op, "x", x);
  check_same_device(op, "params", params, "x", x);
  check_same_dtype(op, "params", params, "x", x);
  bool fits = params.dim() == x.dim() + 1;
  for (int64_t d = 0; fits && d < x.dim(); ++d) fits = params.size(d) == x.size(d);
  check(fits, op, "params must have the shape of x ", shape_text(x), " and a last dimension more, got ",
        shape_text(params));
  int64_t size = params.size(x.dim()), bins = (size + 1) / 3;
  check(size == 3 * bins - 1 && bins >= 1 && bins <= kMaxSplineBins, op,
        "params must have a last dimension of 3 K - 1 for K bins, 1 to ", kMaxSplineBins, ", got ", size);
  check_positive(op, "bound", bound);
  check_share(op, "min_width", min_width, bins);
  check_share(op, "min_height", min_height, bins);
  check_positive(op, "min_derivative", min_slope);
  double length = 2 * bound;
  args.scale = {int32_t(bins),       bound,
                min_width * length,  (1 - double(bins) * min_width) * length,
                min_height * length, (1 - double(bins) * min_height) * length,
                min_slope};
  args.inverse = inverse;
  args.rows = rows_of(x);
  args.columns = columns_of(x);
}

// An element is worth some thirty of the cheap ones that row_grain counts.
int64_t grain(int64_t columns) { return row_grain(32 * columns); }

std::tuple<Tensor, Tensor> rational_quadratic_spline(const Tensor& x, const Tensor& params, double bound, bool inverse,
                                                     double min_width, double min_height, double min_derivative) {
  RationalQuadraticSplineArgs args{};
  prepare("rational_quadratic_spline", x, params, bound, inverse, min_width, min_height, min_derivative, args);
  Tensor x_c = dense(x), params_c = dense(params), y = empty_contiguous(x), log_det = empty_rows(x);
  args.x = x_c.const_data_ptr();
  args.params = params_c.const_data_ptr();
  args.y = y.mutable_data_ptr();
  args.log_det = log_det.mutable_data_ptr();
  if (args.rows == 0) return {y, log_det};
  GENPIPE_LAUNCH(rational_quadratic_spline, args, x.is_cuda(), x.get_device_index(), args.rows, grain(args.columns));
  return {y, log_det};
}

std::tuple<Tensor, Tensor> rational_quadratic_spline_backward(const Tensor& grad_y, const Tensor& grad_log_det,
                                                              const Tensor& x, const Tensor& params, double bound,
                                                              bool inverse, double min_width, double min_height,
                                                              double min_derivative) {
  const char* op = "rational_quadratic_spline_backward";
  RationalQuadraticSplineBackwardArgs args{};
  prepare(op, x, params, bound, inverse, min_width, min_height, min_derivative, args);
  check_alike(op, "grad_y", grad_y, "x", x);
  check_row_gradient(op, "grad_log_det", grad_log_det, x);
  Tensor x_c = dense(x), params_c = dense(params), grad_y_c = dense(grad_y);
  Tensor grad_x = empty_contiguous(x), grad_params = empty_contiguous(params);
  args.grad_y = grad_y_c.const_data_ptr();
  args.grad_log_det = grad_log_det.const_data_ptr();
  args.grad_stride = grad_log_det.stride(0);
  args.x = x_c.const_data_ptr();
  args.params = params_c.const_data_ptr();
  args.grad_x = grad_x.mutable_data_ptr();
  args.grad_params = grad_params.mutable_data_ptr();
  if (x.numel() == 0) return {grad_x, grad_params};
  GENPIPE_LAUNCH(rational_quadratic_spline_backward, args, x.is_cuda(), x.get_device_index(), args.rows,
                 grain(args.columns));
  return {grad_x, grad_params};
}

}  // namespace
}  // namespace genpipe

STABLE_TORCH_LIBRARY_FRAGMENT(genpipe, m) {
  m.def(
      "rational_quadratic_spline(Tensor x, Tensor params, float bound, bool inverse, float min_width, "
      "float min_height, float min_derivative) -> (Tensor, Tensor)");
  m.def(
      "rational_quadratic_spline_backward(Tensor grad_y, Tensor grad_log_det, Tensor x, Tensor params, float bound, "
      "bool inverse, float min_width, float min_height, float min_derivative) -> (Tensor, Tensor)");
}

GENPIPE_REGISTER(m) {
  m.impl("rational_quadratic_spline", TORCH_BOX(&genpipe::rational_quadratic_spline));
  m.impl("rational_quadratic_spline_backward", TORCH_BOX(&genpipe::rational_quadratic_spline_backward));
}
