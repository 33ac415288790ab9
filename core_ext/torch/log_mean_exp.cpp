#include "genpipe/log_mean_exp.h"

#include "glue.h"

GENPIPE_DECLARE_KERNEL(log_mean_exp, LogMeanExpArgs)

namespace genpipe {
namespace {

LogMeanExpArgs prepare(const char* op, const Tensor& x) {
  check_device(op, "x", x.device());
  LogMeanExpArgs args{};
  args.dtype = check_floating(op, "x", x);
  check(args.dtype != DType::bf16, op, "x must be float32 or float64, got bfloat16");
  check(x.dim() == 2 && x.size(0) > 0, op, "x must have shape (K, B) with K at least 1, got ", shape_text(x));
  args.samples = x.size(0);
  args.columns = x.size(1);
  return args;
}

Tensor log_mean_exp(const Tensor& x) {
  LogMeanExpArgs args = prepare("log_mean_exp", x);
  Tensor x_c = dense(x), out = torch::stable::empty({args.columns}, x.scalar_type(), std::nullopt, x.device());
  args.x = x_c.const_data_ptr();
  args.out = out.mutable_data_ptr();
  if (args.columns == 0) return out;
  GENPIPE_LAUNCH(log_mean_exp, args, x.is_cuda(), x.get_device_index(), args.columns, row_grain(args.samples));
  return out;
}

Tensor log_mean_exp_backward(const Tensor& grad, const Tensor& x) {
  const char* op = "log_mean_exp_backward";
  LogMeanExpArgs args = prepare(op, x);
  check_same_device(op, "grad", grad, "x", x);
  check_same_dtype(op, "grad", grad, "x", x);
  check(grad.dim() == 1 && grad.size(0) == args.columns, op, "grad must have shape (B,) with x's B = ", args.columns,
        ", got ", shape_text(grad));
  Tensor x_c = dense(x), grad_x = empty_contiguous(x);
  args.x = x_c.const_data_ptr();
  args.grad = grad.const_data_ptr();
  args.grad_stride = grad.stride(0);
  args.grad_x = grad_x.mutable_data_ptr();
  if (args.columns == 0) return grad_x;
  GENPIPE_LAUNCH(log_mean_exp, args, x.is_cuda(), x.get_device_index(), args.columns, row_grain(args.samples));
  return grad_x;
}

}  // namespace
}  // namespace genpipe

STABLE_TORCH_LIBRARY_FRAGMENT(genpipe, m) {
  m.def("log_mean_exp(Tensor x) -> Tensor");
  m.def("log_mean_exp_backward(Tensor grad, Tensor x) -> Tensor");
}

GENPIPE_REGISTER(m) {
  m.impl("log_mean_exp", TORCH_BOX(&genpipe::log_mean_exp));
  m.impl("log_mean_exp_backward", TORCH_BOX(&genpipe::log_mean_exp_backward));
}
