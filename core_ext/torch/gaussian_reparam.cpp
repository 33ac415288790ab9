#include "genpipe/gaussian_reparam.h"

#include "glue.h"

GENPIPE_DECLARE_KERNEL(gaussian_reparam, GaussianReparamArgs)
GENPIPE_DECLARE_KERNEL(gaussian_reparam_backward, GaussianReparamBackwardArgs)

namespace genpipe {
namespace {

// What both directions check and fill alike.
template <class Args>
void prepare(const char* op, const Tensor& mean, const Tensor& log_var, const Tensor& key, int64_t first_index,
             Args& args) {
  check_device(op, "mean", mean.device());
  check_batched(op, "mean", mean);
  args.dtype = check_floating(op, "mean", mean);
  check_alike(op, "log_var", log_var, "mean", mean);
  KeyArgument checked = check_key(op, key, mean.is_cuda(), mean.get_device_index());
  args.rows = rows_of(mean);
  args.columns = columns_of(mean);
  check_counter(op, first_index, args.rows, args.columns);
  args.first_index = first_index;
  args.key = checked.value;
  args.device_key = checked.device;
}

std::tuple<Tensor, Tensor> gaussian_reparam(const Tensor& mean, const Tensor& log_var, const Tensor& key,
                                            int64_t first_index) {
  GaussianReparamArgs args{};
  prepare("gaussian_reparam", mean, log_var, key, first_index, args);
  Tensor mean_c = dense(mean), log_var_c = dense(log_var);
  Tensor z = empty_contiguous(mean), kl = empty_rows(mean);
  args.mean = mean_c.const_data_ptr();
  args.log_var = log_var_c.const_data_ptr();
  args.z = z.mutable_data_ptr();
  args.kl = kl.mutable_data_ptr();
  if (args.rows == 0) return {z, kl};
  GENPIPE_LAUNCH_ROWS(gaussian_reparam, args, mean);
  return {z, kl};
}

std::tuple<Tensor, Tensor> gaussian_reparam_backward(const Tensor& grad_z, const Tensor& grad_kl, const Tensor& mean,
                                                     const Tensor& log_var, const Tensor& key, int64_t first_index) {
  const char* op = "gaussian_reparam_backward";
  GaussianReparamBackwardArgs args{};
  prepare(op, mean, log_var, key, first_index, args);
  check_same_dtype(op, "grad_z", grad_z, "mean", mean);
  check_same_shape(op, "grad_z", grad_z, "mean", mean);
  check_row_gradient(op, "grad_kl", grad_kl, mean);
  Tensor mean_c = dense(mean), log_var_c = dense(log_var);
  Tensor grad_z_c = dense(grad_z);
  Tensor grad_mean = empty_contiguous(mean), grad_log_var = empty_contiguous(mean);
  args.grad_z = grad_z_c.const_data_ptr();
  args.grad_kl = grad_kl.const_data_ptr();
  args.grad_stride = grad_kl.stride(0);
  args.mean = mean_c.const_data_ptr();
  args.log_var = log_var_c.const_data_ptr();
  args.grad_mean = grad_mean.mutable_data_ptr();
  args.grad_log_var = grad_log_var.mutable_data_ptr();
  if (mean.numel() == 0) return {grad_mean, grad_log_var};
  GENPIPE_LAUNCH_ROWS(gaussian_reparam_backward, args, mean);
  return {grad_mean, grad_log_var};
}

}  // namespace
}  // namespace genpipe

STABLE_TORCH_LIBRARY_FRAGMENT(genpipe, m) {
  m.def("gaussian_reparam(Tensor mean, Tensor log_var, Tensor key, SymInt first_index) -> (Tensor, Tensor)");
  m.def(
      "gaussian_reparam_backward(Tensor grad_z, Tensor grad_kl, Tensor mean, Tensor log_var, Tensor key, "
      "SymInt first_index) -> (Tensor, Tensor)");
}

GENPIPE_REGISTER(m) {
  m.impl("gaussian_reparam", TORCH_BOX(&genpipe::gaussian_reparam));
  m.impl("gaussian_reparam_backward", TORCH_BOX(&genpipe::gaussian_reparam_backward));
}
