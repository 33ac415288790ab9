#include "genpipe/gaussian_nll.h"

#include "glue.h"

GENPIPE_DECLARE_KERNEL(gaussian_nll, GaussianNllArgs)
GENPIPE_DECLARE_KERNEL(gaussian_nll_backward, GaussianNllBackwardArgs)

namespace genpipe {
namespace {

template <class Args>
void prepare(const char* op, const Tensor& mean, const Tensor& log_var, const Tensor& x, Args& args) {
  check_device(op, "mean", mean.device());
  check_batched(op, "mean", mean);
  args.dtype = check_floating(op, "mean", mean);
  check_alike(op, "log_var", log_var, "mean", mean);
  check_alike(op, "x", x, "mean", mean);
  args.rows = rows_of(mean);
  args.columns = columns_of(mean);
}

Tensor gaussian_nll(const Tensor& mean, const Tensor& log_var, const Tensor& x) {
  GaussianNllArgs args{};
  prepare("gaussian_nll", mean, log_var, x, args);
  Tensor mean_c = dense(mean), log_var_c = dense(log_var), x_c = dense(x), nll = empty_rows(mean);
  args.mean = mean_c.const_data_ptr();
  args.log_var = log_var_c.const_data_ptr();
  args.x = x_c.const_data_ptr();
  args.nll = nll.mutable_data_ptr();
  if (args.rows == 0) return nll;
  GENPIPE_LAUNCH_ROWS(gaussian_nll, args, mean);
  return nll;
}

std::tuple<Tensor, Tensor> gaussian_nll_backward(const Tensor& grad, const Tensor& mean, const Tensor& log_var,
                                                 const Tensor& x) {
  GaussianNllBackwardArgs args{};
  prepare("gaussian_nll_backward", mean, log_var, x, args);
  check_row_gradient("gaussian_nll_backward", "grad", grad, mean);
  Tensor mean_c = dense(mean), log_var_c = dense(log_var), x_c = dense(x);
  Tensor grad_mean = empty_contiguous(mean), grad_log_var = empty_contiguous(mean);
  args.grad = grad.const_data_ptr();
  args.grad_stride = grad.stride(0);
  args.mean = mean_c.const_data_ptr();
  args.log_var = log_var_c.const_data_ptr();
  args.x = x_c.const_data_ptr();
  args.grad_mean = grad_mean.mutable_data_ptr();
  args.grad_log_var = grad_log_var.mutable_data_ptr();
  if (mean.numel() == 0) return {grad_mean, grad_log_var};
  GENPIPE_LAUNCH_ROWS(gaussian_nll_backward, args, mean);
  return {grad_mean, grad_log_var};
}

}  // namespace
}  // namespace genpipe

STABLE_TORCH_LIBRARY_FRAGMENT(genpipe, m) {
  m.def("gaussian_nll(Tensor mean, Tensor log_var, Tensor x) -> Tensor");
  m.def("gaussian_nll_backward(Tensor grad, Tensor mean, Tensor log_var, Tensor x) -> (Tensor, Tensor)");
}

GENPIPE_REGISTER(m) {
  m.impl("gaussian_nll", TORCH_BOX(&genpipe::gaussian_nll));
  m.impl("gaussian_nll_backward", TORCH_BOX(&genpipe::gaussian_nll_backward));
}
