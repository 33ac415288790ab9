#include "genpipe/categorical_nll.h"

#include "glue.h"

GENPIPE_DECLARE_KERNEL(categorical_nll, CategoricalNllArgs)

namespace genpipe {
namespace {

const char* kOp = "categorical_nll";

CategoricalNllArgs prepare(const Tensor& logits, const Tensor& x) {
  CategoricalNllArgs args{};
  check_device(kOp, "logits", logits.device());
  args.dtype = check_floating(kOp, "logits", logits);
  check_same_device(kOp, "x", x, "logits", logits);
  args.x_is_u8 = x.scalar_type() == ScalarType::Byte;
  check(args.x_is_u8 || x.scalar_type() == ScalarType::Long, kOp, "x must be uint8 or int64, got ",
        dtype_name(x.scalar_type()));
  // (B, K, *event) for x (B, *event), or (B, C K, *event) for x (B, C, *event).
  int64_t extra = logits.dim() - x.dim();
  bool fits = x.dim() >= 1 && (extra == 1 || (extra == 0 && x.dim() >= 2)) && logits.size(0) == x.size(0);
  for (int64_t d = 2; fits && d < logits.dim(); ++d) fits = logits.size(d) == x.size(d - extra);
  args.channels = fits && extra == 0 ? x.size(1) : 1;
  fits = fits && args.channels > 0 && logits.size(1) > 0 && logits.size(1) % args.channels == 0;
  check(fits, kOp, "logits must have shape (B, K, *event) for x (B, *event), or (B, C K, *event) for x (B, C, *event); got ",
        shape_text(logits), " for x ", shape_text(x));
  args.rows = rows_of(x);
  args.levels = logits.size(1) / args.channels;
  args.pixels = columns_of(x) / args.channels;
  args.scale = 1;
  return args;
}

void launch(CategoricalNllArgs& args, const Tensor& logits, const Tensor& x) {
  Tensor logits_c = dense(logits), x_c = dense(x);
  args.logits = logits_c.const_data_ptr();
  args.x = x_c.const_data_ptr();
  if (args.rows == 0) return;
  int64_t columns = args.channels * args.pixels;
  if (x.is_cpu()) {  // on CUDA the kernel checks: looking from here would wait for the device
    for (int64_t i = 0; i < args.rows * columns; ++i) {
      int64_t level = level_at(args, i);
      check(level >= 0 && level < args.levels, kOp, "x has the level ", level, ", outside of 0 to ", args.levels - 1);
    }
  }
  Tensor pixel_nll;
  if (runs_on_cuda(x) && args.nll != nullptr) {
    ScalarType precision = args.dtype == DType::f64 ? ScalarType::Double : ScalarType::Float;
    pixel_nll = torch::stable::empty({args.rows, columns}, precision, std::nullopt, x.device());
    args.pixel_nll = pixel_nll.mutable_data_ptr();
  }
  GENPIPE_LAUNCH(categorical_nll, args, x.is_cuda(), x.get_device_index(), args.rows, row_grain(columns * args.levels));
}

Tensor categorical_nll(const Tensor& logits, const Tensor& x) {
  CategoricalNllArgs args = prepare(logits, x);
  Tensor nll = empty_rows(logits);
  args.nll = nll.mutable_data_ptr();
  launch(args, logits, x);
  return nll;
}

std::tuple<Tensor, Tensor> categorical_nll_with_slope(const Tensor& logits, const Tensor& x, double scale) {
  CategoricalNllArgs args = prepare(logits, x);
  Tensor nll = empty_rows(logits), slope = empty_in_compute_precision(logits);
  args.nll = nll.mutable_data_ptr();
  args.slope = slope.mutable_data_ptr();
  args.scale = scale;
  launch(args, logits, x);
  return {nll, slope};
}

Tensor categorical_nll_backward(const Tensor& grad, const Tensor& logits, const Tensor& x) {
  CategoricalNllArgs args = prepare(logits, x);
  check_row_gradient("categorical_nll_backward", "grad", grad, logits);
  Tensor grad_logits = empty_contiguous(logits);
  args.grad = grad.const_data_ptr();
  args.grad_stride = grad.stride(0);
  args.grad_logits = grad_logits.mutable_data_ptr();
  launch(args, logits, x);
  return grad_logits;
}

}  // namespace
}  // namespace genpipe

STABLE_TORCH_LIBRARY_FRAGMENT(genpipe, m) {
  m.def("categorical_nll(Tensor logits, Tensor x) -> Tensor");
  m.def("categorical_nll_with_slope(Tensor logits, Tensor x, float scale) -> (Tensor, Tensor)");
  m.def("categorical_nll_backward(Tensor grad, Tensor logits, Tensor x) -> Tensor");
}

GENPIPE_REGISTER(m) {
  m.impl("categorical_nll", TORCH_BOX(&genpipe::categorical_nll));
  m.impl("categorical_nll_with_slope", TORCH_BOX(&genpipe::categorical_nll_with_slope));
  m.impl("categorical_nll_backward", TORCH_BOX(&genpipe::categorical_nll_backward));
}
