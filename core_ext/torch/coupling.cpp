#include "genpipe/coupling.h"

#include <limits>

#include "glue.h"

GENPIPE_DECLARE_KERNEL(affine_coupling, AffineCouplingArgs)
GENPIPE_DECLARE_KERNEL(affine_coupling_backward, AffineCouplingBackwardArgs)

namespace genpipe {
namespace {

// x itself where each of its rows is contiguous, however far they lie apart: the halves of a network's output are.
Tensor dense_rows(const Tensor& x) {
  int64_t expected = 1;
  for (int64_t d = x.dim() - 1; d >= 1; --d) {
    if (x.size(d) != 1 && x.stride(d) != expected) return dense(x);
    expected *= x.size(d);
  }
  return x;
}

// What both directions check and fill alike. The mask, where there is one, lies in mask_c.
template <class Args>
void prepare(const char* op, const Tensor& x, const Tensor& log_scale, const std::optional<Tensor>& mask,
             std::optional<double> limit, bool inverse, Tensor& mask_c, Args& args) {
  check_device(op, "x", x.device());
  check_batched(op, "x", x);
  args.dtype = check_floating(op, "x", x);
  check_alike(op, "log_scale", log_scale, "x", x);
  args.limit = limit.value_or(std::numeric_limits<double>::infinity());
  check(args.limit > 0, op, "limit must be positive, got ", args.limit);
  args.inverse = inverse;
  args.rows = rows_of(x);
  args.columns = columns_of(x);
  if (!mask.has_value()) return;
  check_same_device(op, "mask", *mask, "x", x);
  check_dtype(op, "mask", *mask, ScalarType::Bool);
  bool fits = mask->dim() == x.dim() - 1;
  for (int64_t d = 0; fits && d < mask->dim(); ++d) fits = mask->size(d) == x.size(d + 1);
  check(fits, op, "mask must have the shape of one example of x ", shape_text(x), ", got ", shape_text(*mask));
  mask_c = dense(*mask);
  args.mask = static_cast<const uint8_t*>(mask_c.const_data_ptr());
}

std::tuple<Tensor, Tensor> affine_coupling(const Tensor& x, const Tensor& shift, const Tensor& log_scale,
                                           std::optional<Tensor> mask, std::optional<double> limit, bool inverse) {
  const char* op = "affine_coupling";
  AffineCouplingArgs args{};
  Tensor mask_c;
  prepare(op, x, log_scale, mask, limit, inverse, mask_c, args);
  check_alike(op, "shift", shift, "x", x);
  Tensor x_c = dense(x), shift_c = dense_rows(shift), log_scale_c = dense_rows(log_scale);
  Tensor y = empty_contiguous(x), log_det = empty_rows(x);
  args.x = x_c.const_data_ptr();
  args.shift = shift_c.const_data_ptr();
  args.shift_stride = shift_c.stride(0);
  args.log_scale = log_scale_c.const_data_ptr();
  args.log_scale_stride = log_scale_c.stride(0);
  args.y = y.mutable_data_ptr();
  args.log_det = log_det.mutable_data_ptr();
  if (args.rows == 0) return {y, log_det};
  GENPIPE_LAUNCH_ROWS(affine_coupling, args, x);
  return {y, log_det};
}

std::tuple<Tensor, Tensor> affine_coupling_backward(const Tensor& grad_y, const Tensor& grad_log_det, const Tensor& x,
                                                    const Tensor& log_scale, std::optional<Tensor> mask,
                                                    std::optional<double> limit, bool inverse) {
  const char* op = "affine_coupling_backward";
  AffineCouplingBackwardArgs args{};
  Tensor mask_c;
  prepare(op, x, log_scale, mask, limit, inverse, mask_c, args);
  check_alike(op, "grad_y", grad_y, "x", x);
  check_row_gradient(op, "grad_log_det", grad_log_det, x);
  Tensor x_c = dense(x), grad_y_c = dense(grad_y), log_scale_c = dense_rows(log_scale);
  Tensor grad_x = empty_contiguous(x), grad_log_scale = empty_contiguous(x);
  args.grad_y = grad_y_c.const_data_ptr();
  args.grad_log_det = grad_log_det.const_data_ptr();
  args.grad_stride = grad_log_det.stride(0);
  args.x = x_c.const_data_ptr();
  args.log_scale = log_scale_c.const_data_ptr();
  args.log_scale_stride = log_scale_c.stride(0);
  args.grad_x = grad_x.mutable_data_ptr();
  args.grad_log_scale = grad_log_scale.mutable_data_ptr();
  if (x.numel() == 0) return {grad_x, grad_log_scale};
  GENPIPE_LAUNCH_ROWS(affine_coupling_backward, args, x);
  return {grad_x, grad_log_scale};
}

}  // namespace
}  // namespace genpipe

STABLE_TORCH_LIBRARY_FRAGMENT(genpipe, m) {
  m.def(
      "affine_coupling(Tensor x, Tensor shift, Tensor log_scale, Tensor? mask, float? limit, bool inverse) -> "
      "(Tensor, Tensor)");
  m.def(
      "affine_coupling_backward(Tensor grad_y, Tensor grad_log_det, Tensor x, Tensor log_scale, Tensor? mask, "
      "float? limit, bool inverse) -> (Tensor, Tensor)");
}

GENPIPE_REGISTER(m) {
  m.impl("affine_coupling", TORCH_BOX(&genpipe::affine_coupling));
  m.impl("affine_coupling_backward", TORCH_BOX(&genpipe::affine_coupling_backward));
}
